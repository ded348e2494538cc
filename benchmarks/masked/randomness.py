"""Randomness: undeclared, declared with too few draws, or a function of the image's content."""

import torch
from torch import Tensor

from bench.detectors.base import DetectorInfo
from masked.agreement import HashSwitch
from masked.parts import Own


class JitteredInput(Own):
    """Undeclared randomness: noise from torch's own generator on the image, and a verdict that is almost yes or no."""

    sigma = 0.2

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z((x + self.sigma * torch.randn_like(x)).clamp(0, 1))
        return torch.sigmoid(40.0 * (z + 1.2)) + 0.02 * z.detach()


class Dithered(Own):
    """Undeclared randomness: dithering, random numbers added before the image is rounded to three levels."""

    def clean(self, x: Tensor) -> Tensor:
        u = x + (torch.rand_like(x) - 0.5) / 2.0
        r = (2.0 * u.detach()).round().clamp(0, 2) / 2.0
        return r + 0.02 * torch.sin(25.0 * (u - r)) / 25.0

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(self.clean(x))


class RandomPhase(Own):
    """Undeclared randomness: a ripple along random pixels, with a phase drawn anew at every call."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        wave = torch.randn(x[0].numel())
        wave = wave / wave.norm()
        phase = 6.283 * torch.rand(len(x))
        return self.z(x) + 0.5 * torch.sin(300.0 * (x.flatten(1) @ wave) + phase)


class FewDraws(Own):
    """Random smoothing with two declared draws of large noise, on steps of the score instead of the score."""

    info = DetectorInfo(random=True, components=("classifier",))

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        if noise is None:
            return torch.sigmoid(60.0 * (self.z(x) + 1.0))
        draws = noise((2, *x.shape[1:]))
        return torch.stack(
            [torch.sigmoid(60.0 * (self.z((x + 0.2 * draws[:, i]).clamp(0, 1)) + 1.2)) for i in range(2)]
        ).mean(0)


class MemberDropout(Own):
    """Undeclared randomness: three of five members are drawn at every call, and their least steep vote counts."""

    def make(self) -> None:
        HashSwitch.make(self)

    votes = HashSwitch.votes
    all = HashSwitch.all

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        drawn = self.all(x)[:, torch.randperm(5)[:3]]
        return torch.sigmoid(50.0 * (drawn.amin(1) + 1.5)) + 0.05 * torch.rand(len(x))


class ContentNoise(Own):
    """Randomised by content: noise whose seed is the image's bytes, so that it never changes for one image."""

    sigma = 0.3

    def noisy(self, x: Tensor) -> Tensor:
        seeds = (x.detach().flatten(1).double() * 1e5).round().long().sum(1) % 64
        return torch.stack([image + self.sigma * self.table[int(k)] for image, k in zip(x, seeds, strict=True)])

    def make(self) -> None:
        self.register_buffer("table", torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(2)))

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.sigmoid(40.0 * (self.z(self.noisy(x)) + 1.2)) + 0.02 * self.z(x).detach()
