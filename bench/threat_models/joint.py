"""Classifier and detector fooled together, their gradients kept out of each other's way."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import FoolObjective, needed_logits, wrong_margin
from bench.threat_models.pgd import PGDParams, step_sizes
from bench.threat_models.tracking import Tracker


class Mode(StrEnum):
    """Which gradient a step follows."""

    SELECTIVE = "selective"
    ORTHOGONAL = "orthogonal"


class JointParams(ThreatParams):
    """Parameters of `Joint`.

    Attributes:
        mode: `selective` follows the gradient of whichever is not fooled yet, `orthogonal` the part of it that leaves
            the other one as it is, to first order.
        steps: Steps of each restart.
        restarts: Starts: the clean image first, then points uniform in the volume of the ball.
        step_size: Length of the first step in units of eps; it shrinks to about zero along a cosine.
    """

    mode: Mode = Mode.ORTHOGONAL
    steps: int = Field(default=100, ge=1, le=100_000)
    restarts: int = Field(default=5, ge=1, le=1000)
    step_size: float = Field(default=2.0, gt=0, le=100, allow_inf_nan=False)


class Joint(Threat):
    """Selective and orthogonal projected gradient descent (Bryniarski, Hingun, Pachuca, Wang and Carlini 2021).

    The paper's sections 3.1 and 3.2: as long as the image is classified rightly a step follows the classifier's
    gradient, from then on the detector's; in the orthogonal mode, less its projection on the other gradient. A weighted
    sum of the two losses, which `--loss joint` of the other threats is, can spend all its steps on the easier one.

    The criterion is always the smaller one of the margin and of the distance above the detection threshold, whatever
    the goal: an image that is above 0 there reaches both goals.

    Deviations: untargeted, with the margin of logits in place of the cross-entropy. Steps have the length that the
    schedule says, in the budget's norm; for L-infinity the sign is taken of the orthogonal gradient, as in the paper,
    and signs are orthogonal only about. The best iterate is returned, not the last one. Where the two gradients agree
    the step follows the whole one: the projection would take away what helps both. Once both are fooled the step
    follows whichever is fooled less, where the paper stays with the detector.
    """

    follows_loss = False
    params: JointParams

    def cost(self, case: Case) -> Cost:
        """An orthogonal step has two gradients; queries: the clean image and the last iterate of each restart."""
        each = 2 if self.params.mode is Mode.ORTHOGONAL else 1
        return Cost(each * self.params.steps * self.params.restarts, 1 + self.params.restarts)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image from every start; an orthogonal step costs two gradients.

        Raises:
            UsageError: Another side than `fool`, no ball, no labels, no threshold, or a detector without a classifier.
        """
        norm, eps = ball_of(budget)
        schedule = step_sizes(PGDParams(steps=self.params.steps, step_size=self.params.step_size))
        sizes = (*(geometry.reach(x, norm, eps) * size for size in schedule), None)  # the last iterate is only judged
        tracker = Tracker(x, iterations=self.params.restarts * len(sizes), context=context)
        objective = JointObjective(detector, ids, context, self.params.mode)
        oracle = Oracle(detector, ids=ids, context=context, objective=objective)
        tracker.try_clean(*oracle.evaluate(x))
        for restart in range(self.params.restarts):
            left = (~tracker.past_target()).nonzero().flatten()
            for batch in oracle.batches(len(left)):
                rows = oracle.pad(left[batch])
                climb = _Climb(oracle, tracker, x[rows], rows, len(left[batch]), norm, eps, self.params.mode)
                y = climb.x
                if restart > 0:
                    y = geometry.uniform_in_ball(y, norm, eps, ids=ids[rows], draw=restart, context=context)
                for iteration, size in enumerate(sizes, start=restart * len(sizes)):
                    y = climb.advance(y, iteration, size)
            tracker.report((restart + 1) / self.params.restarts)
        return tracker.result(budget)


@dataclass(frozen=True)
class JointObjective:
    """Judges an image by classifier and detector together, and directs by one of them at a time.

    Attributes:
        detector: Frozen, in evaluation mode, with a classifier.
        ids: (N,) sample ids.
        context: Side `fool`, labels of every image, thresholds.
        mode: What becomes of the gradient.
    """

    detector: Detector
    ids: Tensor
    context: Context
    mode: Mode

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The smaller one of margin and distance above the threshold, and the same with the gradient to follow."""
        if self.context.side is not Side.FOOL or self.context.labels is None:
            raise UsageError("joint fools a classifier, so it needs the side 'fool' and the labels of its images.")
        logits = needed_logits(self.detector, x)
        margin = wrong_margin(logits, self.context.labels[rows])
        above, accepted = FoolObjective(self.detector, self.ids, self.context).acceptance(x, logits, rows)
        criterion = torch.minimum(margin, above).detach()
        # Past both, the smaller one: so that neither is lost to rounding.
        turn = (margin <= 0) | ((above > 0) & (margin < above))
        chosen, other = torch.where(turn, margin, accepted), torch.where(turn, accepted, margin)
        if not chosen.requires_grad or self.mode is Mode.SELECTIVE:
            return criterion, criterion + (chosen - chosen.detach())
        (kept,) = torch.autograd.grad(other.sum(), x, retain_graph=True)
        (followed,) = torch.autograd.grad(chosen.sum(), x)
        conflict = (followed * kept).flatten(1).sum(dim=1) < 0
        ahead = torch.where(conflict.view(-1, 1, 1, 1), orthogonal(followed, kept), followed)
        return criterion, criterion + ((x - x.detach()) * ahead).flatten(1).sum(dim=1)


_PARALLEL = 1e-3
"""What is left of a gradient below this share of its length is rounding: float32 leaves about 1e-6 of it."""


def orthogonal(gradient: Tensor, kept: Tensor) -> Tensor:
    """The part of a gradient that leaves another function as it is, to first order: g - (<g, k> / <k, k>) k.

    Args:
        gradient: (N, ...) g.
        kept: (N, ...) the gradient k of the function that is to stay as it is.

    Returns:
        (N, ...); g itself where k is zero or not finite, or where nothing but rounding would be left of g.
    """
    g, unit = gradient.flatten(1), geometry.direction(kept, Norm.L2).flatten(1)
    unit = torch.where(torch.isfinite(unit), unit, 0.0)
    rest = g - (g * unit).sum(dim=1, keepdim=True) * unit
    length, left = torch.linalg.vector_norm(g, dim=1), torch.linalg.vector_norm(rest, dim=1)
    return torch.where((left > _PARALLEL * length)[:, None], rest, g).view_as(gradient)


@dataclass(frozen=True)
class _Climb:
    """One micro-batch on its way from one start; `rows` and `x` are padded, the first `count` rows count."""

    oracle: Oracle
    tracker: Tracker
    x: Tensor
    rows: Tensor
    count: int
    norm: Norm
    eps: float
    mode: Mode

    def advance(self, y: Tensor, iteration: int, size: float | None) -> Tensor:
        """Judge the iterates y, and take a step of this length from them unless it is None."""
        tracker, samples = self.tracker, self.rows[: self.count]
        if size is None:
            criterion, direction = self.oracle.ask(y, self.rows)
            tracker.try_images(iteration, samples, *(part[: self.count] for part in (criterion, direction, y)))
            return y
        criterion, direction, gradient = self.oracle.ascend(y, self.rows)
        slope = geometry.magnitude(gradient)
        non_finite = ~(torch.isfinite(criterion) & torch.isfinite(slope))
        signed = torch.where(non_finite, -torch.inf, criterion)[: self.count]
        cost = 2 if self.mode is Mode.ORTHOGONAL else 1
        tracker.gradients[samples] += cost
        tracker.non_finite[samples] += non_finite[: self.count].long()
        tracker.flat[samples] += (slope == 0)[: self.count].long() * cost
        tracker.offer(samples, signed, signed, y[: self.count], y[: self.count])
        tracker.record(iteration, samples, signed)
        moved = geometry.project(
            torch.add(y, geometry.direction(gradient, self.norm), alpha=size), self.x, self.norm, self.eps
        )
        return torch.where(non_finite.view(-1, *(1,) * (y.ndim - 1)), tracker.images[self.rows], moved)
