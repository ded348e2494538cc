"""Detectors whose optimal attack is known or easily found: linear, quadratic, a mixture, and ill-behaved ones.

The ill-behaved are rounded (many ties), NaN for some samples, or flat.
"""

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


class MixtureScore(ClosedForm):
    """Log-density of a mixture of three isotropic Gaussians whose means lie in the box: curved, with several peaks.

    The Gaussians differ in weight and share their deviation, so that the optimum over ball and box is a fixed point of
    x <- project(sum_k a_k m_k), where m_k is a mean and a_k its responsibility for x: the maximisation of a lower bound
    of the log-density, which never lowers it.
    """

    deviation = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.stack([fixed_numbers(draw) for draw in (3, 4, 5)]))
        self.register_buffer("weights", torch.tensor([0.5, 0.3, 0.2]))
        self.means: Tensor
        self.weights: Tensor

    def joint(self, x: Tensor) -> Tensor:
        """(N, 3) log of weight times density of every component."""
        squares = (x.flatten(1)[:, None, :] - self.means).square().sum(dim=2)
        peak = -math.prod(SHAPE) * math.log(self.deviation * math.sqrt(2.0 * math.pi))
        return self.weights.log() + peak - squares / (2.0 * self.deviation**2)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) log-densities."""
        return self.joint(x).logsumexp(dim=1)


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
