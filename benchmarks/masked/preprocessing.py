"""The image is cleaned before the network sees it, and the gradient of that is wrong."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from masked.parts import Own, pixels


def _sine_round(x: Tensor) -> Tensor:
    """Rounds; its slope is a sine's, positive in the middle of each step and negative at its ends."""
    r = x.detach().round()
    return r + 0.02 * torch.sin(2.0 * math.pi * (x - r))


def _fourier_round(x: Tensor) -> Tensor:
    """Rounding as the first terms of its Fourier series, whose slope ripples and changes its sign."""
    k = torch.arange(1.0, 11.0)
    waves = (-1.0) ** (k + 1) / k * torch.sin(2.0 * math.pi * k * x[..., None])
    return x - waves.sum(-1) / math.pi


class Quantised(Own):
    """Input quantisation to three levels behind a stand-in whose slope changes its sign at each level's ends."""

    levels = 2

    def clean(self, x: Tensor) -> Tensor:
        return _sine_round(x * self.levels) / self.levels

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(self.clean(x))


def _dct(n: int = 8) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    m = torch.cos(math.pi / n * (k[None] + 0.5) * k[:, None]) * math.sqrt(2.0 / n)
    m[0] /= math.sqrt(2.0)
    return m.float()


class Jpeg(Own):
    """JPEG-like rounding of 8x8 cosine coefficients with ten terms of a Fourier series for rounding."""

    def make(self) -> None:
        self.register_buffer("dct", _dct())
        k = torch.arange(8.0)
        self.register_buffer("table", 0.18 * (1.0 + 0.5 * (k[:, None] + k[None])))

    def clean(self, x: Tensor, rounding=_fourier_round) -> Tensor:
        n = len(x)
        b = x.view(n, 4, 8, 4, 8).permute(0, 1, 3, 2, 4)
        c = self.dct @ b @ self.dct.T
        c = rounding(c / self.table) * self.table
        b = self.dct.T @ c @ self.dct
        return b.permute(0, 1, 3, 2, 4).reshape(n, 1, 32, 32).clamp(0, 1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(self.clean(x))


class Thermometer(Own):
    """Thermometer codes: six steep comparisons a pixel, decoded again for the network."""

    def make(self) -> None:
        self.register_buffer("marks", (torch.arange(6.0) + 0.5) / 6.0)

    def clean(self, x: Tensor) -> Tensor:
        return torch.sigmoid(400.0 * (x[..., None] - self.marks)).mean(-1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(self.clean(x))


class Median(Own):
    """Median of 3x3 pixels with a gradient that is spread over the wrong pixel (that of the window's corner)."""

    def clean(self, x: Tensor) -> Tensor:
        u = functional.unfold(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3)
        m = u.median(1).values.view_as(x)
        corner = torch.roll(x, (3, 3), (2, 3))
        return m.detach() + corner - corner.detach()

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(self.clean(x))


class Purified(Own):
    """Purification: the image is projected onto principal components of digits, and the gradient takes no notice."""

    def make(self) -> None:
        t = pixels("train").flatten(1)
        self.register_buffer("centre", t.mean(0))
        self.register_buffer("axes", torch.linalg.svd(t - t.mean(0), full_matrices=False)[2][:20])

    def clean(self, x: Tensor) -> Tensor:
        f = x.flatten(1) - self.centre
        return (self.centre + f @ self.axes.T @ self.axes).view_as(x)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        p = self.clean(x)
        return self.z(x + (p - x).detach()) - 0.2 * (x - p).flatten(1).norm(dim=1).detach()


class PurifiedLoop(Own):
    """A loop of blurring and sharpening under no_grad, after which the gradient goes through a blur alone."""

    def clean(self, x: Tensor) -> Tensor:
        y = x
        for _ in range(4):
            b = functional.avg_pool2d(functional.pad(y, (1, 1, 1, 1), mode="replicate"), 3, 1)
            y = ((b - 0.5) * 1.25 + 0.5).clamp(0, 1)
        return y

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        with torch.no_grad():
            y = self.clean(x)
        wide = functional.avg_pool2d(functional.pad(x, (8, 8, 8, 8)), 17, 1)
        return self.z(y + wide - wide.detach())


class Winners(Jpeg):
    """k winners take all: the largest cosine coefficients of each block stay, in coarse steps with a leak of slope."""

    keep = 10

    def clean(self, x: Tensor, rounding=None) -> Tensor:
        return super().clean(x, self.winners)

    def winners(self, c: Tensor) -> Tensor:
        f = c.flatten(-2)
        least = f.abs().topk(self.keep, dim=-1).values[..., -1:]
        kept = torch.where(f.abs() >= least, f, torch.zeros_like(f))
        steps = (kept * 0.6).round() / 0.6
        return (steps.detach() + 0.02 * torch.sin(40.0 * kept) / 40.0).view_as(c)


class DetachedNeighbours(Own):
    """Nearest training features with the query detached: what gradient there is comes from nearest training pixels."""

    def make(self) -> None:
        t = pixels("train")
        with torch.no_grad():
            self.register_buffer("bank", functional.normalize(self.network.ends(t)[0], dim=1))
        self.register_buffer("images", t.flatten(1))

    def feature_distance(self, x: Tensor) -> Tensor:
        f = functional.normalize(self.network.ends(x)[0], dim=1)
        return -(f @ self.bank.T).topk(5, dim=1).values.mean(1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        near = torch.cdist(x.detach().flatten(1), self.images).argmin(1)
        pixel = (x.flatten(1) - self.images[near]).square().mean(1)
        return -self.feature_distance(x).detach() - 0.01 * pixel


class Prototype(Own):
    """Lookup of the nearest prototype: the energy is that of the prototype, the slope that of the distance to it."""

    def make(self) -> None:
        self.register_buffer("images", pixels("train"))
        with torch.no_grad():
            self.register_buffer("table", self.z(pixels("train")))

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        far = torch.cdist(x.flatten(1), self.images.flatten(1)).amin(1)
        return z.detach() - 0.02 * far
