"""Sigma-zero: the image across a threshold or a decision that changes the fewest values."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models import geometry
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.min_norm import NearestParams, NearestSearch
from bench.threat_models.nearest import Nearest

_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8

_LAST_SIZE = 0.1
"""Of the last step, in units of the first one, as in the paper."""

_SWAPPED = (1, 2, 3, 4, 6, 8, 12, 16)
"""How many values are changed for one more, in turn."""

_LEAST_DESCENT = 10
"""Of so many steps, one at most is kept for swaps."""

_REPORTS = 50
"""How often, about, progress is reported."""


class SigmaZeroParams(NearestParams):
    """Parameters of `SigmaZero`.

    Attributes:
        step_size: Of the first step of Adam, which moves every value by about as much; it falls to a tenth of that
            along a cosine.
        sigma: Of the smooth count of changed values, sum of d^2 / (d^2 + sigma).
        threshold: Changes smaller than this are undone after a step; at first.
        threshold_rate: By how much that grows past the line and falls before it, in units of the step size.
        prune_queries: How many scores may be asked for to undo changes that are not needed.
        swaps: How many gradients at the end may tell which other values do more than those that are changed.
    """

    step_size: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)
    sigma: float = Field(default=1e-3, gt=0, le=1, allow_inf_nan=False)
    threshold: float = Field(default=0.3, ge=0, le=1, allow_inf_nan=False)
    threshold_rate: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)
    prune_queries: int = Field(default=60, ge=0, le=100_000)
    swaps: int = Field(default=8, ge=0, le=10_000)


@dataclass
class _Rows:
    """Images under way, one a row."""

    sample: Tensor  # (R,) position of the image in x
    y: Tensor  # (R, C, H, W) iterate
    mean: Tensor  # (R, C, H, W) Adam's first moment
    square: Tensor  # (R, C, H, W) Adam's second moment
    threshold: Tensor  # (R,)
    stuck: Tensor  # (R,) no step can move it any more

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, keep: Tensor) -> "_Rows":
        return replace(self, **{name: value[keep] for name, value in vars(self).items()})


class SigmaZero(NearestSearch):
    r"""Sigma-zero (Cina et al. 2025, algorithm 1) on the score or the classifier.

        argmin ||y - x||_0  with  s(y) > t,  y in [0, 1]

    Adam descends what is missing to the line plus the smooth share of changed values, the gradient scaled to a largest
    value of 1; after each step the changes below a threshold are undone. The threshold grows past the line and falls
    before it. Values count, every channel of a pixel for itself, as in the paper.

    Deviations: the line is a threshold of the score, and on side `fool` the class that is nearest in pixels directs. At
    the end the changed values go on to the walls of the box where the image stays past the line, and in ascending order
    of what they contribute, to first order, changes are undone in blocks and then one by one as long as it stays there.
    Then, as often as that succeeds, a few values that would do most are changed for one more of those that do least.
    """

    norms = (Norm.L0,)
    params: SigmaZeroParams

    def cost(self, case: Case) -> Cost:
        """A gradient a step, the last of them to order and swap the changes, and the queries that judge them."""
        return Cost(self.gradients(case) + 1, 2 + self.params.prune_queries + len(_SWAPPED) * self.params.swaps)

    def search(self, oracle: Oracle, tracker: Nearest, left: Tensor, norm: Norm, steps: int) -> None:
        """The descent, and then as few changes as may be."""
        start, zero = tracker.clean[left], torch.zeros_like(tracker.clean[left])
        first = start.new_full((len(left),), self.params.threshold)
        rows = _Rows(left, start, zero, zero.clone(), first, torch.zeros_like(left, dtype=torch.bool))
        swaps = min(self.params.swaps, steps // _LEAST_DESCENT)
        steps = max(1, steps - 1 - swaps)  # the last gradients order and swap the changes
        every = max(1, steps // _REPORTS)
        for step in range(steps):
            for batch in oracle.batches(len(rows)):
                self._step(oracle, tracker, rows, batch, step, steps)
            if bool(rows.stuck.any()):
                rows = rows.choose(~rows.stuck)
            if len(rows) == 0:
                break
            if step % every == 0:
                tracker.report(step / steps)
        found = (torch.isfinite(tracker.score) & (tracker.score < 0)).nonzero().flatten()
        for batch in oracle.batches(len(found)):
            _prune(oracle, tracker, found[batch], self.params.prune_queries, self.params.steps + 1)
            _swap(oracle, tracker, found[batch], swaps, self.params.steps + 1)

    def _step(self, oracle: Oracle, tracker: Nearest, rows: _Rows, batch: slice, step: int, steps: int) -> None:
        """Judge the iterates of one micro-batch, and take a step of Adam."""
        samples, count, pad = rows.sample[batch], batch.stop - batch.start, oracle.pad
        padded, y = pad(samples), pad(rows.y[batch])
        x, column = tracker.clean[padded], (-1, *(1,) * (y.ndim - 1))
        criterion, direction, gradient = oracle.ascend(y, padded)
        slope = geometry.magnitude(gradient)
        finite = torch.isfinite(criterion) & torch.isfinite(direction) & torch.isfinite(slope)
        reached, flat = finite & (criterion > 0), finite & (slope == 0)
        tracker.gradients[samples] += 1
        tracker.non_finite[samples] += (~finite)[:count].long()
        tracker.flat[samples] += (flat & ~reached)[:count].long()
        changed = geometry.distance(y, x, Norm.L0)
        tracker.found(step + 1, samples, *(part[:count] for part in (reached, changed, criterion, y)))
        d, sigma = y - x, self.params.sigma
        crowd = 2.0 * sigma * d / (d.square() + sigma).square() / d[0].numel()
        pull = torch.where((finite & ~reached).view(column), -gradient.nan_to_num(0.0, 0.0, 0.0), 0.0)
        down = pull + crowd
        down = down / down.flatten(1).abs().amax(dim=1).clamp_min(1e-12).view(column)
        share = 0.5 * (1.0 + math.cos(math.pi * step / steps))
        size = self.params.step_size * (_LAST_SIZE + (1.0 - _LAST_SIZE) * share)
        first, second = _BETAS
        mean = pad(rows.mean[batch]) * first + down * (1.0 - first)
        square = pad(rows.square[batch]) * second + down.square() * (1.0 - second)
        scale = (square / (1.0 - second ** (step + 1))).sqrt() + _ADAM_EPS
        moved = (y - size * (mean / (1.0 - first ** (step + 1))) / scale).clamp_(0.0, 1.0)
        rate = self.params.threshold_rate * size
        threshold = (pad(rows.threshold[batch]) + torch.where(reached, rate, -rate)).clamp_(0.0, 1.0)
        moved = torch.where((moved - x).abs() < threshold.view(column), x, moved)
        rows.y[batch], rows.mean[batch], rows.square[batch] = moved[:count], mean[:count], square[:count]
        rows.threshold[batch] = threshold[:count]
        rows.stuck[batch] = ((flat | ~finite) & (changed == 0) & (step == 0))[:count]


def _prune(oracle: Oracle, tracker: Nearest, samples: Tensor, queries: int, iteration: int) -> None:
    """Undo what is not needed of the nearest images (rows of one micro-batch), one query a turn.

    A block of the changes that contribute least is undone where the image stays past the line; else the block is
    halved, and a single change that is needed is passed over.
    """
    count, padded = len(samples), oracle.pad(samples)
    x, y = tracker.clean[padded], tracker.images[padded]
    ask = partial(_ask, oracle, tracker, samples, padded, iteration)
    everyone = torch.ones(len(padded), dtype=torch.bool, device=x.device)
    column = (-1, *(1,) * (x.ndim - 1))
    walls = torch.where(y > x, 1.0, torch.where(y < x, 0.0, x))
    y = torch.where(ask(walls, everyone).view(column), walls, y)
    _, _, gradient = oracle.ascend(y, padded)
    tracker.gradients[samples] += 1
    effect = (gradient.nan_to_num(0.0, 0.0, 0.0) * (y - x)).flatten(1).masked_fill((y == x).flatten(1), math.inf)
    place = _places(effect)
    left = (y != x).flatten(1).sum(dim=1)
    begin, block = torch.zeros_like(left), (left // 2).clamp_min(1)
    for _ in range(queries):
        asking = begin < left
        if geometry.asking_is_free(x.device) and not bool(asking[:count].any()):
            break
        tried = (place >= begin[:, None]) & (place < (begin + block)[:, None])
        images = torch.where(tried.view_as(y), x, y)
        undone = ask(images, asking)
        y = torch.where(undone.view(column), images, y)
        single = block == 1
        begin = begin + torch.where(undone, block, torch.where(single, 1, 0))
        block = torch.where(undone, torch.minimum(block, (left - begin).clamp_min(1)), (block // 2).clamp_min(1))


def _swap(oracle: Oracle, tracker: Nearest, samples: Tensor, rounds: int, iteration: int) -> None:
    """Change k values that would do most for k + 1 that do least, to first order; again where it works.

    Rows of one micro-batch. Of a linear score, what no swap makes smaller is the least number of values.
    """
    count, padded = len(samples), oracle.pad(samples)
    x, y = tracker.clean[padded], tracker.images[padded]
    column = (-1, *(1,) * (x.ndim - 1))
    going = torch.arange(len(padded), device=x.device) < count
    for _ in range(rounds):
        if geometry.asking_is_free(x.device) and not bool(going.any()):
            break
        _, _, gradient = oracle.ascend(y, padded)
        tracker.gradients[samples] += going[:count].long()
        slope, changed = gradient.nan_to_num(0.0, 0.0, 0.0), y != x
        walls = torch.where(slope > 0, 1.0, torch.where(slope < 0, 0.0, x))
        least = _places((slope * (y - x)).flatten(1).masked_fill(~changed.flatten(1), math.inf)).view_as(y)
        most = _places((slope * (x - walls)).flatten(1).masked_fill(changed.flatten(1), math.inf)).view_as(y)
        swapped = torch.zeros_like(going)
        for number in _SWAPPED:
            asking = going & ~swapped & (changed.flatten(1).sum(dim=1) > number)
            images = torch.where(changed & (least <= number), x, torch.where(~changed & (most < number), walls, y))
            fewer = _ask(oracle, tracker, samples, padded, iteration, images, asking)
            y = torch.where(fewer.view(column), images, y)
            swapped |= fewer
        going = swapped


def _places(values: Tensor) -> Tensor:
    """(R, D) of every value its place in ascending order."""
    return values.argsort(dim=1, stable=True).argsort(dim=1, stable=True)


def _ask(
    oracle: Oracle, tracker: Nearest, samples: Tensor, padded: Tensor, iteration: int, images: Tensor, asking: Tensor
) -> Tensor:
    """(R,) which images of a padded micro-batch, of those that are asked about, are past the line; noted."""
    count = len(samples)
    criterion, direction = oracle.ask(images, padded)
    reached = torch.isfinite(criterion) & torch.isfinite(direction) & (criterion > 0) & asking
    tracker.queries[samples] += asking[:count].long()
    changed = geometry.distance(images, tracker.clean[padded], Norm.L0)
    tracker.found(iteration, samples, *(part[:count] for part in (reached, changed, criterion, images)))
    return reached
