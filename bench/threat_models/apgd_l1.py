"""Auto-PGD in L1: sparse steps along the steepest values, whose number and length adapt to each image."""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of, climb
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost, ascent_cost
from bench.threat_models.stepping import Found, Rows, StepRule

_FIRST_SHARE = 0.2
"""Of the values that the first steps change."""

_CHECKED_EVERY = 0.04
"""Share of the steps after which sparsity and length are looked at."""

_SPARSER = 0.95
"""The best point has settled once its changed values number more than this share of those at the last look."""

_SHRINK = 1.5
"""By which steps become sparser than the best point, and shorter once it has settled."""

_SHORTEST = 0.1
"""The shortest step, in units of eps."""


class APGDL1Params(ThreatParams):
    """Parameters of `APGDL1`.

    Attributes:
        steps: Of each restart.
        restarts: Number of starts, the clean image first.
    """

    steps: int = Field(default=100, ge=1, le=100_000)
    restarts: int = Field(default=5, ge=1, le=1000)


class APGDL1(Threat):
    """L1-APGD (Croce and Hein 2021, "Mind the box", section 3 and algorithm 1) on the score.

        argmax s(y)  with  ||y - x||_1 <= eps,  y in [0, 1]

    A step goes along the signs of the k steepest values, in equal parts, and is projected exactly onto ball and box. At
    set iterations k becomes the number of values that the best point changes, over 1.5. Where that number has fallen by
    a twentieth, the step has its first length again, eps, and goes on from the best point; else it becomes shorter by
    1.5, down to eps / 10.

    Deviations: values at a wall that their gradient leads out through are passed over, since a step along them changes
    nothing; the score chooses the best point, which need not be the objective's; restart 0 starts at the clean image.
    The paper's phases of larger radii are left out.
    """

    params: APGDL1Params

    def cost(self, case: Case) -> Cost:
        """A gradient a step and restart."""
        return ascent_cost(self.params.steps, self.params.restarts, case)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """As `bench.threat_models.ascent.climb`, by sparse steps."""
        _, eps = ball_of(budget, (Norm.L1,))
        rule = SparseSteps(geometry.reach(x, Norm.L1, eps), self.params.steps)
        return climb(detector, x, ids=ids, budget=budget, context=context, rule=rule, restarts=self.params.restarts)


class SparseSteps(StepRule):
    """The update of Algorithm 1, each row by itself.

    Args:
        eps: Radius in L1.
        steps: Of a restart.
    """

    norm = Norm.L1

    def __init__(self, eps: float, steps: int) -> None:
        self.eps = eps
        self.steps = steps
        self._every = max(1, int(_CHECKED_EVERY * steps))

    def memory(self, start: Tensor, restart: Tensor) -> dict[str, Tensor]:
        """How many values a step changes, how long it is, and the direction at the best point."""
        rows, values = len(start), math.prod(start.shape[1:])
        return {
            "share": start.new_full((rows,), _FIRST_SHARE),
            "size": start.new_full((rows,), self.eps),
            "changed": start.new_full((rows,), float(values)),  # by the best point, at the last look
            "ascent": torch.zeros_like(start),  # the gradient at the best point
        }

    def move(self, rows: Rows, found: Found) -> None:
        """Look at sparsity and length where it is time to, then step on from here or from the best point."""
        mine, (x,) = rows.memory, rows.ball_bounds
        column = (-1, *(1,) * (x.ndim - 1))
        usable = (~(found.non_finite | found.flat)).view(column)
        gradient = torch.where(usable, found.gradient, 0.0)
        geometry.choose(found.better, gradient, mine["ascent"], out=mine["ascent"])
        back = found.non_finite | found.flat
        if found.iteration > 0 and found.iteration % self._every == 0:
            back = back | self._look(mine, rows.best, x)
        rows.stuck |= found.flat & ~found.non_finite & (mine["ascent"].flatten(1) == 0).all(dim=1)
        y = torch.where(back.view(column), rows.best, rows.y)
        ahead = sparse_direction(torch.where(back.view(column), mine["ascent"], gradient), y, mine["share"])
        moved = torch.addcmul(y, ahead, mine["size"].view(column))
        rows.y.copy_(geometry.project_step(moved, rows.ball_bounds, self.norm, self.eps))

    def _look(self, mine: dict[str, Tensor], best: Tensor, x: Tensor) -> Tensor:
        """(B,) which rows go on from their best point."""
        changed = (best != x).flatten(1).sum(dim=1).to(x.dtype)
        sparser = changed < _SPARSER * mine["changed"]
        mine["share"].copy_(changed / (_SHRINK * math.prod(x.shape[1:])))
        shorter = (mine["size"] / _SHRINK).clamp_min(_SHORTEST * self.eps)
        mine["size"].copy_(torch.where(sparser, self.eps, shorter))
        mine["changed"].copy_(changed)
        return sparser


def sparse_direction(gradient: Tensor, y: Tensor, share: Tensor) -> Tensor:
    """(B, ...) the signs of the steepest values over their number, so that its L1 norm is 1; zero without a gradient.

    Args:
        gradient: (B, ...) of the objective.
        y: (B, ...) where it was taken; values at a wall that it leads out through do not count.
        share: (B,) of the values that take part, at least one of them.
    """
    out = ((y <= 0.0) & (gradient < 0)) | ((y >= 1.0) & (gradient > 0))
    slopes = gradient.masked_fill(out, 0.0).flatten(1)
    size, values = slopes.abs(), slopes.shape[1]
    count = (share * values).long().clamp(min=1, max=values)
    most = int(count.max()) if geometry.asking_is_free(y.device) and len(y) else values
    least = size.topk(most, dim=1).values.gather(1, count[:, None] - 1)
    signs = torch.where((size >= least) & (size > 0), slopes.sign(), 0.0)
    length = signs.abs().sum(dim=1, keepdim=True).clamp_min(1.0)
    return (signs / length).view_as(gradient)
