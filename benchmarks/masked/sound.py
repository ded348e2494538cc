"""Honest detectors: smooth scores, or smooth in pieces, whose gradient is right and whose randomness is declared."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.detectors.base import DetectorInfo
from masked.parts import Own, pixels, shipped, track


class PlainEnergy(Own):
    """The energy in units of its ID spread."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x)


class Energy100(Own):
    """A hundred times the energy."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return 100.0 * torch.logsumexp(self.network(x), 1)


class EnergyMilli(Own):
    """A thousandth of the energy."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return 1e-3 * torch.logsumexp(self.network(x), 1)


class LogEnergy(Own):
    """The logarithm of the energy, which is positive."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.log(functional.softplus(torch.logsumexp(self.network(x), 1)))


class WarmEnergy(Own):
    """The energy at temperature 10."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return 10.0 * torch.logsumexp(self.network(x) / 10.0, 1)


class LogOdds(Own):
    """Log-odds of the most probable class."""

    base = "msp"

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x)


class MaxLogit(Own):
    """The largest logit."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.network(x).amax(1)


class Entropy(Own):
    """Minus the entropy of the probabilities at temperature 6, where they do not saturate."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        p = torch.log_softmax(self.network(x) / 6.0, 1)
        return (p.exp() * p).sum(1)


class Float64Energy(Own):
    """The energy in float64 from the first layer on."""

    def make(self) -> None:
        import copy

        self.wide = copy.deepcopy(shipped("energy").network).double()

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.logsumexp(self.wide(x.double()), 1)


class MeanOfFive(Own):
    """The mean energy of five networks."""

    def make(self) -> None:
        self.committee = shipped("deep-ensemble").network

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.logsumexp(self.committee.network.member_logits(self.committee.own_input(x)), -1).mean(0)


class LeastOfTwo(Own):
    """The smaller of two standardised energies, of the plain classifier and of one trained with outliers."""

    def make(self) -> None:
        self.second = shipped("oe").network
        self.register_buffer("at", self.other(pixels("calibration")).mean())
        self.register_buffer("by", self.other(pixels("calibration")).std())

    def other(self, x: Tensor) -> Tensor:
        return torch.logsumexp(self.second(x), 1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.minimum(self.z(x), (self.other(x) - self.at) / self.by)


class FeatureGaussian(Own):
    """Mahalanobis distance of penultimate features to the nearest class, with a shrunk tied covariance."""

    def make(self) -> None:
        data = track().training_data()
        x, y = pixels("train"), torch.as_tensor(track().set("train").labels)
        with torch.no_grad():
            f = self.network.ends(x)[0]
        means = torch.stack([f[y == k].mean(0) for k in range(10)])
        c = torch.cov((f - means[y]).T)
        c = c + 0.1 * c.diagonal().mean() * torch.eye(len(c))
        self.register_buffer("root", torch.linalg.cholesky(torch.linalg.inv(c)))
        self.register_buffer("means", means @ self.root)
        del data

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        f = self.network.ends(x)[0] @ self.root
        return -(f[:, None] - self.means).square().sum(-1).amin(1)


class Neighbours(Own):
    """Minus the mean distance to the 10 nearest training images in feature space."""

    def make(self) -> None:
        with torch.no_grad():
            self.register_buffer("bank", self.network.ends(pixels("train"))[0])

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        f = self.network.ends(x)[0]
        return -(f[:, None] - self.bank).square().sum(-1).topk(10, dim=1, largest=False).values.sqrt().mean(1)


class Residue(Own):
    """Minus the share of the image outside 40 principal components of digits."""

    def make(self) -> None:
        t = pixels("train").flatten(1)
        self.register_buffer("centre", t.mean(0))
        self.register_buffer("axes", torch.linalg.svd(t - t.mean(0), full_matrices=False)[2][:40])

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        f = x.flatten(1) - self.centre
        return -(f - f @ self.axes.T @ self.axes).square().sum(1)


class Hardened(Own):
    """The shipped adversarially trained discriminator, as it is."""

    def make(self) -> None:
        self.inner = shipped("gat")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.inner.score(x)


class HardenedTail(Own):
    """The adversarially trained discriminator plus a tenth of the energy."""

    def make(self) -> None:
        self.inner = shipped("gat")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.inner.score(x) + 0.1 * self.z(x)


class HardenedClassifier(Own):
    """Energy of the classifier trained against attacks on outliers."""

    def make(self) -> None:
        self.inner = shipped("aoe")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.inner.score(x)


class FixedShifts(Own):
    """The energy averaged over nine fixed shifts by up to a pixel."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        p = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return torch.stack([self.z(p[..., a : a + 32, b : b + 32]) for a in range(3) for b in range(3)]).mean(0)


class FixedNoise(Own):
    """The energy averaged over eight noise patterns that never change."""

    def make(self) -> None:
        self.register_buffer("patterns", 0.1 * torch.randn(8, *self.shape, generator=torch.Generator().manual_seed(1)))

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.stack([self.z(x + p) for p in self.patterns]).mean(0)


class DeclaredNoise(Own):
    """The energy averaged over four declared draws of small noise."""

    info = DetectorInfo(random=True, components=("classifier",))
    draws, sigma = 4, 0.05

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        if noise is None:
            return self.z(x)
        found = noise((self.draws, *self.shape))
        return torch.stack([self.z(x + self.sigma * found[:, i]) for i in range(self.draws)]).mean(0)


class ReluNet(Own):
    """The log-odds of a small network of rectified units, trained on digits against outliers when it is made."""

    def make(self) -> None:
        data = track().training_data()
        x, o = pixels("train"), data.outliers.pixels()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(4)
            net = nn.Sequential(
                nn.Conv2d(1, 12, 5, 2, 2), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(24 * 64, 48), nn.ReLU(), nn.Linear(48, 1),
            )  # fmt: skip
            step = torch.optim.Adam(net.parameters(), 2e-3)
            both = torch.cat([x, o])
            label = torch.cat([torch.ones(len(x)), torch.zeros(len(o))])
            for _ in range(120):
                pick = torch.randint(len(both), (128,))
                step.zero_grad()
                functional.binary_cross_entropy_with_logits(net(both[pick])[:, 0], label[pick]).backward()
                step.step()
        self.net = net

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.net(x)[:, 0]
