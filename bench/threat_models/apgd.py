"""Auto-PGD: projected gradient ascent that finds its step size by itself, directed at the score."""

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


class APGDParams(ThreatParams):
    """Parameters of `APGD`, named as in the paper where it names them.

    Attributes:
        steps: Gradient steps of each restart.
        restarts: Starts: the clean image first, then points uniform in the volume of the ball.
        step_size: Length of the first steps in units of eps (of the box's diameter where eps is larger than that).
        alpha: Share of the projected gradient step in an update; the rest goes on as the update before it did.
        rho: A step size is halved where less than this share of the updates since the last checkpoint were rises.
    """

    steps: int = Field(default=100, ge=1, le=100_000)
    restarts: int = Field(default=5, ge=1, le=1000)
    step_size: float = Field(default=2.0, gt=0, le=100, allow_inf_nan=False)
    alpha: float = Field(default=0.75, gt=0, le=1, allow_inf_nan=False)
    rho: float = Field(default=0.75, ge=0, le=1, allow_inf_nan=False)


class APGD(Threat):
    """Auto-PGD (Croce & Hein 2020, Algorithm 1 and section 3), directed at the detector's objective.

    z = P(y + eta d), y <- P(y + alpha (z - y) + (1 - alpha) (y - y_before)): `apgd` of tests/threat_models/naive.py has
    it in full, and finds the same images bit for bit.

    Steps start at twice eps. At checkpoints that come closer and closer, a sample whose objective rose too rarely, or
    whose best point stayed the same at the same step size, goes back to its best point with half the step size.

    Deviations: no labels and no losses of logits on the sides of the score, where the objective is the detector's. The
    best point is the best by the score, and by the objective only where scores tie. The first start is the clean image
    and the others are uniform in the volume of the ball, while the authors' code draws them from its surface. The
    projection is onto ball and box together. Where the gradient is zero or not finite, a sample goes back to its best
    point with half the step size at once, since there is nothing to follow until the next checkpoint. Of a score that
    has a part for each class, all restarts but the first aim at other classes (see `bench.threat_models.aims`), as
    those of the paper's targeted form do.
    """

    params: APGDParams

    def cost(self, case: Case) -> Cost:
        """A gradient a step; queries: the clean image, the classes to aim at, the last iterate of each restart."""
        return ascent_cost(self.params.steps, self.params.restarts, case)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image from every start; see `bench.threat_models.ascent`."""
        norm, eps = ball_of(budget)
        rule = AutoSteps(norm, eps, self.params, first=geometry.reach(x, norm, eps) * self.params.step_size)
        return climb(
            detector,
            x,
            ids=ids,
            budget=budget,
            context=context,
            rule=rule,
            restarts=self.params.restarts,
            by_class=True,
        )


def checkpoints(steps: int) -> tuple[int, ...]:
    """w_j = ceil(p_j steps) below `steps`, with p_0 = 0, p_1 = 0.22, p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06).

    They are the numbers of steps after which the step size is looked at; section 3.1 of the paper, without w_0.
    """
    found, before, share = [], 0, 22  # in hundredths: sums of floats would round a checkpoint up by one
    while share < 100:
        found.append(math.ceil(share * steps / 100))
        before, share = share, share + max(share - before - 3, 6)
    return tuple(iteration for iteration in dict.fromkeys(found) if iteration < steps)


class AutoSteps(StepRule):
    """The update and the step sizes of Algorithm 1, each row by itself.

    Args:
        norm: The norm of ball and steps.
        eps: Radius.
        params: Steps, alpha and rho.
        first: Length of the first steps in pixel units.
    """

    def __init__(self, norm: Norm, eps: float, params: APGDParams, *, first: float) -> None:
        self.norm = norm
        self.eps = eps
        self.params = params
        self.first = first
        self.steps = params.steps
        iterations = checkpoints(params.steps)
        self._lengths = dict(
            zip(iterations, (b - a for a, b in zip((0, *iterations), iterations, strict=False)), strict=True)
        )

    def memory(self, start: Tensor, restart: Tensor) -> dict[str, Tensor]:
        """Everything that the conditions of section 3.1 ask about."""
        count = len(start)
        return {
            "before": start.clone(),  # the iterate before this one
            "ascent": torch.zeros_like(start),  # the unit direction of ascent at the best iterate
            "blind": start.new_ones(count, dtype=torch.bool),  # that direction is zero
            "objective": start.new_full((count,), torch.inf, dtype=torch.float64),  # at the iterate before this one
            "size": start.new_full((count,), self.first),
            "rises": start.new_zeros(count),  # of the objective since the last checkpoint
            "improved": start.new_zeros(count, dtype=torch.bool),  # the best iterate is younger than the checkpoint
            "halved": start.new_zeros(count, dtype=torch.bool),  # the step size, at the last checkpoint
        }

    def move(self, rows: Rows, found: Found) -> None:
        """Look at the step size where it is time to, then step on from here or from the best iterate."""
        mine, column = rows.memory, (-1, *(1,) * (rows.y.ndim - 1))
        ahead = geometry.unit(found.gradient, found.slope, self.norm)
        self._remember(mine, found, ahead)
        back = found.non_finite | found.flat
        if found.iteration in self._lengths:
            back |= self._fails(mine, self._lengths[found.iteration])
        mine["size"] *= 1.0 - 0.5 * back
        rows.stuck |= found.flat & ~found.non_finite & mine["blind"]
        geometry.choose(back, rows.best, rows.y, out=rows.y)
        geometry.choose(back, mine["ascent"], ahead, out=ahead)
        moved = torch.addcmul(rows.y, ahead, mine["size"].view(column), out=ahead)
        moved = geometry.project_step(moved, rows.ball_bounds, self.norm, self.eps)
        if found.iteration > 0 and self.params.alpha < 1:
            # Nothing is known of where a row that is not finite was, so that it goes on from nowhere.
            share = ((1.0 - self.params.alpha) * ~found.non_finite).to(moved.dtype).view(column)
            moved = torch.lerp(rows.y, moved, self.params.alpha, out=moved)
            moved.addcmul_(torch.sub(rows.y, mine["before"], out=mine["before"]), share)
            moved = geometry.project_step(moved, rows.ball_bounds, self.norm, self.eps)
        mine["before"].copy_(rows.y)
        rows.y.copy_(moved)

    def _remember(self, mine: dict[str, Tensor], found: Found, ahead: Tensor) -> None:
        """Take in what was found at the iterates, from which this is the direction of ascent."""
        geometry.choose(found.better, ahead, mine["ascent"], out=mine["ascent"])
        mine["blind"].copy_(torch.where(found.better, found.flat | found.non_finite, mine["blind"]))
        mine["rises"].add_(found.objective > mine["objective"])
        mine["objective"].copy_(found.objective)
        if found.iteration > 0:
            mine["improved"].logical_or_(found.better)

    def _fails(self, mine: dict[str, Tensor], length: int) -> Tensor:
        """(B,) where one of the paper's two conditions holds; a new interval begins."""
        rarely = mine["rises"] < self.params.rho * length
        stale = ~mine["improved"] & ~mine["halved"]
        failed = rarely | stale
        mine["halved"].copy_(failed)
        mine["improved"].zero_()
        mine["rises"].zero_()
        return failed
