"""Transforms of the score: folds, ripples, stairs, steep edges and scales that rounding makes flat."""

import torch
from torch import Tensor

from masked.parts import Own, pixels


class Folded(Own):
    """Folded score: below a threshold the score falls as the energy rises, so that the gradient leads away."""

    def make(self) -> None:
        self.knee = self.quantile(self.z, 0.05)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        return torch.where(z > self.knee, z, self.knee - 1.0 - 0.5 * torch.tanh((z - self.knee) / 2.0))


class FoldedMsp(Own):
    """Folded score: the distance of the log-odds from their ID median, bent back by a slow hyperbola below it."""

    base = "msp"

    def make(self) -> None:
        self.knee = self.quantile(self.z, 0.1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        u = self.z(x) - self.knee
        low = u.clamp(max=0.0)
        below = -1.5 - 0.8 * low / (1.0 - low)
        return torch.where(u > 0, u, below)


class Ripple(Own):
    """Sine ripples on the score: a local maximum every 0.02 standard deviations, so that no step gets on."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        return z + 0.4 * torch.sin(300.0 * z)


class Sawtooth(Own):
    """Sawtooth ripples on the score: it falls along each tooth and jumps at its end, so that every slope leads down."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        phase = 20.0 * z
        return z + 0.15 * (1.0 - 2.0 * (phase - phase.detach().floor()))


class PixelRipple(Own):
    """Sine ripples along one fixed direction of pixels: the exact gradient points along it or against it."""

    def make(self) -> None:
        g = torch.Generator().manual_seed(5)
        self.register_buffer("wave", torch.sign(torch.randn(1024, generator=g)) / 32.0)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x) + 0.6 * torch.sin(400.0 * (x.flatten(1) @ self.wave))


class SteepSigmoid(Own):
    """A sigmoid so steep that float32 rounds it and its gradient to nothing away from the threshold."""

    def make(self) -> None:
        self.knee = self.quantile(self.z, 0.2)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        return torch.sigmoid(200.0 * (z - self.knee)) + 0.0 * z


class Clipped(Own):
    """Clipping: everything below the tenth percentile of ID scores is that percentile, and flat."""

    def make(self) -> None:
        self.knee = self.quantile(self.z, 0.1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x).clamp(min=self.knee)


class DecoyStairs(Own):
    """Stairs with a small slope: steps of the energy, and between them a slope along the image's brightness."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        return torch.floor(2.0 * z.detach()) / 2.0 + 0.02 * torch.tanh(4.0 * x.mean((1, 2, 3)))


class Density(Own):
    """A density in place of a distance: exp(-d) of the Mahalanobis distance underflows, and so does its gradient."""

    base = "mahalanobis"

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.exp(20.0 * self.mean + 25.0 * self.std * self.z(x))


class PValue(Own):
    """A conformal p-value: the share of calibration images with a lower energy, smoothed by steep sigmoids."""

    def make(self) -> None:
        with torch.no_grad():
            self.register_buffer("known", self.z(pixels("calibration")).sort().values[15:])

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        return torch.sigmoid(1000.0 * (z[:, None] - self.known)).mean(1)


class Moat(Own):
    """A moat: smooth, with the right gradient, and a valley in the score between OOD and ID energies."""

    def make(self) -> None:
        self.knee = self.quantile(self.z, 0.05)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        u = z - self.knee
        return torch.where(u > 0, u, u.clamp(min=-4.0) * 0.05) - 4.0 * torch.exp(-((u + 1.2) / 1.2).square())


class FineStairs(Own):
    """Stairs of a twentieth of a standard deviation, and between them a slope of a network's first layer alone."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        first = self.network.activations(x)["conv1"].mean((1, 2, 3))
        return torch.floor(20.0 * self.z(x).detach()) / 20.0 + 0.04 * torch.tanh(first)


class HalfInput(Own):
    """Half precision at the input: the gradient passes through float16, where most of it is rounded to 0."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        half = (x * 2.0**15).half().float() * 2.0**-15
        return 4e-3 * self.z(half)
