"""Detectors whose optimal attack is known: linear, quadratic, rounded (many ties), NaN for some samples, flat."""

import math

import torch
from torch import Tensor, nn

from bench import randomness
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource

SHAPE = (1, 6, 6)


class ClosedForm(Detector):
    """A score without a network."""

    info = DetectorInfo(classifier=False)

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())


class LinearScore(ClosedForm):
    """<w, x>: its optimum over ball and box is the projection of a point far along w."""

    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(fixed_numbers(1) - 0.5 if weight is None else weight)
        self.dropout = nn.Dropout(0.5)  # shows whether the threat left evaluation mode

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) inner products."""
        kept: Tensor = self.dropout(x)
        return (kept.flatten(1) * self.weight).sum(dim=1)


class QuadraticScore(ClosedForm):
    """-||x - c||^2 with c in the box: its optimum over ball and box is the projection of c."""

    def __init__(self, center: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("center", fixed_numbers(2) if center is None else center)
        self.center: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) negative squared distances."""
        return -(x.flatten(1) - self.center).square().sum(dim=1)


class RoundedScore(LinearScore):
    """A linear score on a coarse grid, so that many images tie; the objective is the smooth one."""

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) rounded inner products."""
        return (super().score(x) * 4.0).round() / 4.0

    def objective(self, x: Tensor) -> Tensor:
        """(N,) inner products."""
        return super().score(x)


class PoisonedScore(LinearScore):
    """NaN for every image whose first pixel is above one half; linear for the others."""

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) inner products or NaN."""
        return torch.where(x[:, 0, 0, 0] > 0.5, torch.nan, super().score(x))


class FlatScore(ClosedForm):
    """The same score everywhere, without any gradient."""

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) zeros."""
        return x.new_zeros(len(x))


def fixed_numbers(draw: int) -> Tensor:
    """(36,) numbers in (0, 1), always the same ones."""
    return randomness.uniform(11, torch.zeros(1, dtype=torch.int64), draw, (math.prod(SHAPE),))[0]
