"""Projected gradient descent on the score itself, with restarts."""

import math
from enum import StrEnum
from typing import Annotated

from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.ascent import ascend, ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost, ascent_cost

Momentum = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Schedule(StrEnum):
    """How the step size runs over the steps."""

    COSINE = "cosine"
    CONSTANT = "constant"


class PGDParams(ThreatParams):
    """Parameters of `PGD`.

    Attributes:
        steps: Gradient steps of each restart.
        restarts: Starts: the clean image first, then points uniform in the volume of the ball.
        step_size: Length of the first step in units of eps (of the box's diameter where eps is larger than that).
        schedule: `cosine` shrinks the step to about zero, `constant` keeps it.
        momentum: Share of the earlier steps' direction in the next one, for each restart in turn; 0 is plain steepest
            ascent.
    """

    steps: int = Field(default=100, ge=1, le=100_000)
    restarts: int = Field(default=5, ge=1, le=1000)
    step_size: float = Field(default=2.0, gt=0, le=100, allow_inf_nan=False)
    schedule: Schedule = Schedule.COSINE
    momentum: tuple[Momentum, ...] = Field(default=(0.9, 0.0), min_length=1, max_length=100)


class PGD(Threat):
    """Projected gradient descent (Madry et al. 2018, section 2.1), directed at the detector's objective.

    y <- P(y + eta m), m <- mu m + (1 - mu) d, where d is the steepest ascent at y: `pgd` of
    tests/threat_models/naive.py has it in full, and finds the same images bit for bit.

    Deviations: the best iterate is returned instead of the last one, which is often worse. L2 steps have unit
    gradients. The projection is onto ball and box together, which clipping after a projection onto the ball is not. The
    first start is the clean image. Steps shrink along a cosine, since a constant step circles the optimum. Every second
    restart, the first one included, follows a running mean of the directions (momentum, after Dong et al. 2018): on
    scores that are narrow valleys, such as Mahalanobis distances, steepest ascent turns back and forth across the
    valley and stays far above the AUROC that the same budget reaches with momentum. The others are steepest ascent,
    whose large first steps visit more of the local optima of a network's score. Of a score of the predicted class, all
    restarts but the first aim at other classes (see `bench.threat_models.aims`).
    """

    params: PGDParams

    def cost(self, case: Case) -> Cost:
        """A gradient a step; queries: the clean image, the classes to aim at, the last iterate of each restart."""
        return ascent_cost(self.params.steps, self.params.restarts, case)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image from every start; see `bench.threat_models.ascent`."""
        reach = geometry.reach(x, *ball_of(budget))
        sizes = tuple(reach * size for size in step_sizes(self.params))
        return ascend(
            detector,
            x,
            ids=ids,
            budget=budget,
            context=context,
            sizes=sizes,
            momentum=self.params.momentum,
            restarts=self.params.restarts,
        )


def step_sizes(params: PGDParams) -> tuple[float, ...]:
    """The length of every step in units of eps; along the cosine their mean is half the first one."""
    if params.schedule is Schedule.CONSTANT:
        return (params.step_size,) * params.steps
    return tuple(
        params.step_size * 0.5 * (1.0 + math.cos(math.pi * step / params.steps)) for step in range(params.steps)
    )
