"""Projected gradient descent on the score itself, with restarts."""

import math
from enum import StrEnum

from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models.ascent import ascend
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams


class Schedule(StrEnum):
    """How the step size runs over the steps."""

    COSINE = "cosine"
    CONSTANT = "constant"


class PGDParams(ThreatParams):
    """Parameters of `PGD`.

    Attributes:
        steps: Gradient steps of each restart.
        restarts: Starts: the clean image first, then points uniform in the volume of the ball.
        step_size: Length of the first step in units of eps.
        schedule: `cosine` shrinks the step to about zero, `constant` keeps it.
    """

    steps: int = Field(default=100, ge=1, le=100_000)
    restarts: int = Field(default=5, ge=1, le=1000)
    step_size: float = Field(default=2.0, gt=0, le=100, allow_inf_nan=False)
    schedule: Schedule = Schedule.COSINE


class PGD(Threat):
    """Projected gradient descent (Madry et al. 2018, section 2.1), directed at the detector's objective.

    Deviations: the best iterate is returned instead of the last one, since the last one is often worse; the step
    shrinks along a cosine, since a constant step circles the optimum; L2 steps have unit gradients; the first start is
    the clean image; the first steps span the ball (on small networks that gained more than steps of a tenth to the whole
    of eps at the same cost), which the cosine makes up for at the end; the projection is onto ball and box together, which clipping after a projection onto the ball is
    not.
    """

    Params = PGDParams
    params: PGDParams

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image from every start; see `bench.threat_models.ascent`."""
        return ascend(
            detector, x, ids=ids, budget=budget, context=context, sizes=step_sizes(self.params),
            restarts=self.params.restarts,
        )  # fmt: skip


def step_sizes(params: PGDParams) -> tuple[float, ...]:
    """The length of every step in units of eps; along the cosine their mean is half the first one."""
    if params.schedule is Schedule.CONSTANT:
        return (params.step_size,) * params.steps
    return tuple(
        params.step_size * 0.5 * (1.0 + math.cos(math.pi * step / params.steps)) for step in range(params.steps)
    )
