"""Directions of ascent where a score's own gradient is absent, wrong or too rough: the score itself still judges."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.randomness import normal
from bench.threat_models import geometry
from bench.threat_models.base import Context
from bench.threat_models.objectives import ScoreObjective, mean_score_and_objective, wrong_margin
from bench.threat_models.straight_through import StraightThrough

_DRAWS = 1 << 50
"""Far from the draws of starts and of random detectors, so that no number serves twice."""

_STRIDE = -7046029254386353131  # the golden ratio in 64 bits
"""What tells the numbers of one step of an image from those of its other steps."""

GUIDES = 3
"""Gradients that differences are taken along: of score, objective, and logits."""

_COARSEST = 4
"""Directions are as coarse as so many pixels a side, then twice as many, and so on up to the image's own."""


@dataclass(frozen=True)
class Surrogate(ABC):
    """Judged by the score, directed by something else.

    Attributes:
        detector: Frozen, in evaluation mode.
        ids: (N,) sample ids of the attacked batch.
        context: A side of the score.
        norm: Of ball and steps.
        eps: Radius.
    """

    detector: Detector
    ids: Tensor
    context: Context
    norm: Norm
    eps: float
    turns: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", torch.zeros_like(self.ids))

    @property
    def gradients(self) -> int:
        """What a step costs in gradients, of the score or of logits."""
        return 1

    @property
    def queries(self) -> int:
        """What it costs in scores beside them: that of the image itself, which judges."""
        return 1

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The signed score, and the same with the gradient that is to be followed."""
        with torch.no_grad():
            criterion, _ = self._of(x, rows)
        if not x.requires_grad:
            return criterion, criterion
        ahead = self.ahead(x.detach(), rows)
        self.turns[rows] += 1
        return criterion, criterion + ((x - x.detach()) * ahead).flatten(1).sum(dim=1)

    @abstractmethod
    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """(B, C, H, W) a direction in which the signed score is expected to rise; zero where none is known."""

    def _of(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return ScoreObjective(self.detector, self.ids, self.context)(x, rows)

    def _slope(self, x: Tensor, rows: Tensor, which: int) -> Tensor:
        """The gradient of the signed score (0) or of the signed objective (1)."""
        return _gradient(lambda y: self._of(y, rows)[which], x)

    def noise(self, rows: Tensor, draw: int, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) standard normal: of the seed, the image, its step and the draw alone."""
        return normal(self.context.seed, self.ids[rows] ^ (self.turns[rows] * _STRIDE), _DRAWS + draw, shape)

    def _moves(self, rows: Tensor, draw: int, shape: tuple[int, ...]) -> Tensor:
        """(B, C, H, W) random directions of length 1 in the norm, smooth ones and pixel by pixel in turn."""
        channels, height, width = shape
        levels = 1
        while _COARSEST << (levels - 1) < max(height, width):
            levels += 1
        side = _COARSEST << (draw % levels)
        if side >= max(height, width):
            drawn = self.noise(rows, draw, shape)
        else:
            coarse = self.noise(rows, draw, (channels, min(side, height), min(side, width)))
            drawn = functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
        return geometry.direction(drawn, self.norm)


@dataclass(frozen=True)
class Plain(Surrogate):
    """The detector's own objective."""

    @property
    def queries(self) -> int:
        """None: one pass judges and directs."""
        return 0

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Signed score and signed objective."""
        return self._of(x, rows)

    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """The objective's gradient."""
        return self._slope(x, rows, 1)


@dataclass(frozen=True)
class Straight(Surrogate):
    """The objective with a backward pass that goes straight through what has no gradient; see `StraightThrough`."""

    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """Its gradient; zero where the code of a detector cannot be run so."""

        def objective(y: Tensor) -> Tensor:
            with StraightThrough():
                return self._of(y, rows)[1]

        try:
            return _gradient(objective, x)
        except RuntimeError:
            return torch.zeros_like(x)


@dataclass(frozen=True)
class LowPass(Straight):
    """The same with the fine part of the gradient left out (Guo, Frank and Weinberger 2019).

    What is added stays smooth, so that a gate which looks for roughness has nothing to close for.
    """

    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """The gradient of `Straight`, averaged over blocks of which a quarter of the side makes one, and bilinear."""
        return smooth_part(super().ahead(x, rows), 0.25, least=_COARSEST)


@dataclass(frozen=True)
class Smoothed(Surrogate):
    """The mean gradient at points around the image (expectation over transformation: Athalye et al. 2018, section 4).

    A ripple, a step that is steep, a gate that opens somewhere: what is hidden at one point shows in the neighbourhood.
    Half of the points ask for the gradient of the score itself, in place of that of an objective that may be a decoy.

    Attributes:
        draws: Points a step.
        spread: Their distances from the image in units of eps, in turn.
    """

    draws: int = 4
    spread: tuple[float, ...] = (0.3, 0.1)

    @property
    def gradients(self) -> int:
        """One a point."""
        return self.draws

    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """The mean of the gradients that are finite."""
        total = torch.zeros_like(x)
        for draw in range(self.draws):
            reach = self.eps * self.spread[draw % len(self.spread)]
            near = (x + reach * self._moves(rows, draw, tuple(x.shape[1:]))).clamp(0.0, 1.0)
            directing = 1 - draw // len(self.spread) % 2
            total += self._slope(near, rows, directing).nan_to_num(0.0, 0.0, 0.0)
        return total


@dataclass(frozen=True)
class Differences(Surrogate):
    """Differences of scores along gradients, whatever these are worth, and along random smooth directions.

    Natural evolution strategies on images (Ilyas, Engstrom, Athalye and Lin 2018, "Black-box adversarial attacks with
    limited queries and information", section 2.2) with the steps so long that roundings and stairs are crossed. The
    gradients of the score, of its objective and of an undefended score are tried as directions beside them: one that
    points the wrong way shows which way is right. On a plateau the search wanders.

    Attributes:
        pairs: Random directions a step, each of which is tried forth and back.
        guided: Gradients are tried too.
        spread: How far, in units of eps, in turn.
    """

    pairs: int = 8
    guided: bool = True
    spread: tuple[float, ...] = (0.7, 0.2)

    @property
    def gradients(self) -> int:
        """One a guide."""
        return GUIDES if self.guided else 0

    @property
    def queries(self) -> int:
        """Two a direction, and that of the image itself."""
        return 2 * (self.pairs + self.gradients) + 1

    @torch.no_grad()
    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """The directions, weighted by how far the score rises along each."""
        total = torch.zeros_like(x)
        moves = [self._moves(rows, draw, tuple(x.shape[1:])) for draw in range(self.pairs)]
        moves += self._guides(x, rows) if self.guided else []
        for turn, move in enumerate(moves):
            reach = self.eps * self.spread[turn % len(self.spread)]
            forth, back = (self._of((x + way * reach * move).clamp(0.0, 1.0), rows) for way in (1.0, -1.0))
            score, objective = (forth[i] - back[i] for i in (0, 1))
            rise = torch.where(score == 0, objective, score).nan_to_num(0.0, 0.0, 0.0).to(x.dtype)
            total += (rise / reach).view(-1, *(1,) * (x.ndim - 1)) * move
        level = (total == 0).flatten(1).all(dim=1).view(-1, *(1,) * (x.ndim - 1))
        return torch.where(level, self._moves(rows, self.pairs, tuple(x.shape[1:])), total)

    def _guides(self, x: Tensor, rows: Tensor) -> list[Tensor]:
        """Directions of the gradients of score, objective and undefended score; zero where there is none."""
        plain = Undefended(self.detector, self.ids, self.context, self.norm, self.eps)
        found = [self._slope(x, rows, which) for which in (0, 1)]
        found.append(plain.ahead(x, rows))
        return [geometry.direction(each.nan_to_num(0.0, 0.0, 0.0), self.norm) for each in found]


@dataclass(frozen=True)
class Undefended(Surrogate):
    """A plain score of the same network's logits, which no defence of the score has touched.

    Attributes:
        margin: The distance of the largest logit from the next, in place of the logarithm of their summed exponentials.
    """

    margin: bool = False

    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """Its gradient; zero where the detector has no logits."""
        return self.context.sign * _gradient(self._plain, x)

    def _plain(self, y: Tensor) -> Tensor:
        logits = self.detector.logits(y)
        if logits is None:
            return y.new_zeros(len(y))
        return -wrong_margin(logits, logits.argmax(dim=1)) if self.margin else logits.logsumexp(dim=1)


@dataclass(frozen=True)
class FreshNoise(Surrogate):
    """The gradient of a random detector's objective, its mean over draws that are new at every step.

    The mean over one set of draws has optima of its own, which other draws do not share. It is judged by the same
    draws at every step, as all else is.

    Attributes:
        draws: Draws a step.
    """

    draws: int = 8

    @property
    def gradients(self) -> int:
        """One a draw."""
        return self.draws

    def ahead(self, x: Tensor, rows: Tensor) -> Tensor:
        """The gradient of their mean."""
        fresh = replace(self.context, draws=self.draws)
        ids = self.ids[rows] ^ (self.turns[rows] + 1) * _STRIDE

        def objective(y: Tensor) -> Tensor:
            return mean_score_and_objective(self.detector, y, ids, fresh, first=1 << 20)[1]

        return self.context.sign * _gradient(objective, x)


def _gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(B, C, H, W) the gradient of the sum of (B,) values at x; zero where there is none."""
    with torch.enable_grad():
        y = x.detach().requires_grad_(True)
        values = function(y)
        if not values.requires_grad:
            return torch.zeros_like(x)
        (found,) = torch.autograd.grad(values.sum(), y, allow_unused=True)
    return torch.zeros_like(x) if found is None else found.contiguous()


def smooth_part(x: Tensor, share: float, *, least: int = 1) -> Tensor:
    """(N, C, H, W) means over blocks, bilinear between their centres.

    Args:
        x: (N, C, H, W).
        share: Blocks a side, as a share of its pixels.
        least: At least so many blocks, where a side has as many pixels.
    """
    height, width = (max(1, min(side, max(least, int(side * share)))) for side in x.shape[2:])
    blocks = functional.adaptive_avg_pool2d(x, (height, width))
    return functional.interpolate(blocks, size=x.shape[2:], mode="bilinear", align_corners=False)
