"""The walk of attacks that look for the nearest image: out until it has crossed the line, and back in, step by step."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.crossing import Boundaries, Crossing
from bench.threat_models.cw_hinge import pixel_units
from bench.threat_models.decisions import wrong_classes
from bench.threat_models.gradient import Oracle
from bench.threat_models.nearest import Nearest, labels_to_fool, shrink

_REPORTS = 50
"""How often, about, progress is reported."""

_LAST_STEP, _LAST_GAMMA = 0.01, 0.001
"""The last step in units of the first one, and the last gamma, as in both papers' code."""


class NearestParams(ThreatParams):
    """Parameters of every search.

    Attributes:
        steps: Gradients of an image.
        candidates: On side `fool`, how many wrong classes may direct, the most likely ones of the clean image; their
            gradients there count among the steps.
    """

    steps: int = Field(default=500, ge=1, le=1_000_000)
    candidates: int = Field(default=9, ge=1, le=100_000)


class MinNormParams(NearestParams):
    """Parameters of every such walk.

    Attributes:
        step_size: Of the first step, in units that the subclass names; it falls to a hundredth of that along a cosine.
        gamma: By which share the radius at hand shrinks past the line and grows before it, at first; it falls to 0.001
            along a cosine.
        shrink_steps: Bisections of the segment from the clean image to the nearest one found.
    """

    step_size: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    gamma: float = Field(default=0.05, gt=0, lt=1, allow_inf_nan=False)
    shrink_steps: int = Field(default=10, ge=0, le=100)


class NearestSearch(Threat):
    """Base of attacks that find for every image the smallest radius at which it crosses the line; see `Crossing`.

    The answer is the nearest point found past the line; the clean image where none was found, and where it is past the
    line as it is. No image feels its batch mates. A point whose score or gradient is not finite is never kept.
    """

    follows_loss = False
    norms: ClassVar[tuple[Norm, ...]]
    params: NearestParams

    @abstractmethod
    def search(self, oracle: Oracle, tracker: Nearest, left: Tensor, norm: Norm, steps: int) -> None:
        """Look for points past the line, and tell the tracker.

        Args:
            oracle: Asks about the line; above 0 is past it.
            tracker: Keeps what is nearest; its last iterations are one a gradient and one for what comes after them.
            left: (R,) positions of the images that are not across as they are.
            norm: Of the distances.
            steps: Gradients that each may take.
        """

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """The search, from the clean images that are not across.

        Raises:
            UsageError: The norm is another one, or what the line is told by is missing.
        """
        norm = self._norm(budget)
        context = replace(context, stop_target=None)  # which would be one of scores
        tracker = Nearest(x, iterations=self.params.steps + 2, context=context)
        if context.side is Side.FOOL:
            oracle, left, spent = self._at_boundaries(detector, x, ids, context, tracker)
        else:
            oracle, spent = Oracle(detector, ids=ids, context=context, objective=Crossing(detector, ids, context)), 0
            left = tracker.begin(oracle)
        self.search(oracle, tracker, left, norm, max(1, self.params.steps - spent))
        tracker.report(1.0)
        return tracker.result(replace(budget, norm=norm))

    def gradients(self, case: Case) -> int:
        """The most that an image takes: on side `fool` those at the boundaries count too."""
        boundaries = min(self.params.candidates, case.classes - 1) + 1 if case.side is Side.FOOL else 0
        return max(self.params.steps, boundaries + 1)

    def _at_boundaries(
        self, detector: Detector, x: Tensor, ids: Tensor, context: Context, tracker: Nearest
    ) -> tuple[Oracle, Tensor, int]:
        """What to ask on side `fool`, the images that are not misclassified yet, and gradients that it took to know."""
        labels = labels_to_fool(_name(self), context)
        plain = Oracle(detector, ids=ids, context=context)
        left = tracker.begin(plain)
        classes = wrong_classes(detector, plain, x, labels)[:, : self.params.candidates]
        both = torch.cat([labels[:, None], classes], dim=1)
        units, _ = pixel_units(plain, tracker, left, both, 0.0)
        crossing = Crossing(detector, ids, context, Boundaries(classes, units))
        return Oracle(detector, ids=ids, context=context, objective=crossing), left, both.shape[1]

    def _norm(self, budget: Budget) -> Norm:
        norm = budget.norm or self.norms[0]
        if norm not in self.norms:
            allowed = " or ".join(self.norms)
            raise UsageError(f"{_name(self)} works in {allowed}, not in {norm}; take another threat for that norm.")
        return norm


@dataclass
class Walk:
    """Images under way, one a row.

    Attributes:
        sample: (R,) position of the image in x.
        y: (R, C, H, W) current iterate.
        eps: (R,) the radius at hand.
        crossed: (R,) whether any iterate has crossed the line.
        stuck: (R,) no step can move it any more.
    """

    sample: Tensor
    y: Tensor
    eps: Tensor
    crossed: Tensor
    stuck: Tensor

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, keep: Tensor) -> "Walk":
        """Some of the rows."""
        return replace(self, **{name: value[keep] for name, value in vars(self).items()})


class MinNorm(NearestSearch):
    """Base of walks with a radius for every image.

    Before the line has been crossed once the radius is how far away the line is if the objective goes on as here; then
    it shrinks by gamma past the line, at most to the smallest one found, and grows by gamma before it. A step goes
    along the gradient, and the subclass brings the point to that radius. At the end the nearest point is moved back
    along the segment to the clean image as far as it stays past the line. From a point that is not finite the walk goes
    on half as far out.
    """

    params: MinNormParams

    overshoot: ClassVar[float] = 1.0
    """By which the distance of the line is multiplied as long as it has not been crossed."""

    @abstractmethod
    def project(self, moved: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        """(B, C, H, W) points in the box, at the radius at hand or within it.

        Args:
            moved: (B, C, H, W) displacements of the iterates after the step.
            x: (B, C, H, W) clean images.
            eps: (B,) radii.
        """

    def unit_of_steps(self, eps: Tensor) -> Tensor:
        """(B,) L2 lengths of steps of size 1, at these radii."""
        return eps

    def cost(self, case: Case) -> Cost:
        """A gradient a step, and `shrink_steps` + 1 queries."""
        return Cost(self.gradients(case), 1 + self.params.shrink_steps)

    def search(self, oracle: Oracle, tracker: Nearest, left: Tensor, norm: Norm, steps: int) -> None:
        """The walk, and the way back."""
        self._walk(oracle, tracker, left, norm, steps)
        shrink(oracle, tracker, norm, steps=self.params.shrink_steps, iteration=self.params.steps + 1)

    def _walk(self, oracle: Oracle, tracker: Nearest, left: Tensor, norm: Norm, steps: int) -> None:
        start = tracker.clean[left]
        none = torch.zeros_like(left, dtype=torch.bool)
        rows = Walk(left, start, start.new_full((len(left),), torch.inf), none, none.clone())
        every = max(1, steps // _REPORTS)
        for step in range(steps):
            for batch in oracle.batches(len(rows)):
                self._step(oracle, tracker, rows, batch, step, norm, steps)
            if bool(rows.stuck.any()):
                rows = rows.choose(~rows.stuck)
            if len(rows) == 0:
                break
            if step % every == 0:
                tracker.report(step / steps)

    def _step(
        self, oracle: Oracle, tracker: Nearest, rows: Walk, batch: slice, step: int, norm: Norm, steps: int
    ) -> None:
        """Judge the iterates of one micro-batch, and step on."""
        samples, count = rows.sample[batch], batch.stop - batch.start
        padded, y = oracle.pad(samples), oracle.pad(rows.y[batch])
        x, column = tracker.clean[padded], (-1, *(1,) * (y.ndim - 1))
        criterion, direction, gradient = oracle.ascend(y, padded)
        slope = geometry.dual_norm(gradient, norm)
        finite = torch.isfinite(criterion) & torch.isfinite(direction) & torch.isfinite(slope)
        reached, flat = finite & (criterion > 0), finite & (slope == 0)
        distance = geometry.distance(y, x, norm)
        tracker.gradients[samples] += 1
        tracker.non_finite[samples] += (~finite)[:count].long()
        tracker.flat[samples] += (flat & ~reached)[:count].long()
        tracker.found(step + 1, samples, *(part[:count] for part in (reached, distance, criterion, y)))
        share = 0.5 * (1.0 + math.cos(math.pi * step / steps))
        gamma = _LAST_GAMMA + (self.params.gamma - _LAST_GAMMA) * share
        size = self.params.step_size * (_LAST_STEP + (1.0 - _LAST_STEP) * share)
        crossed = oracle.pad(rows.crossed[batch]) | reached
        before = oracle.pad(rows.eps[batch])
        ahead = distance + self.overshoot * ((-direction).clamp_min(0.0) / slope).to(distance.dtype)
        further = before * (1.0 + gamma)
        ahead = torch.where(before < math.inf, torch.maximum(ahead, further), ahead)  # walls slow down what is ahead
        eps = torch.where(crossed, further, ahead)
        eps = torch.where(reached, torch.minimum(before * (1.0 - gamma), -tracker.score[padded].to(eps.dtype)), eps)
        eps = torch.where(finite & ~flat, eps, distance / 2).clamp(max=geometry.reach(x, norm, math.inf))
        lengths = geometry.magnitude(gradient)
        ascent = geometry.unit(gradient, lengths.masked_fill(~finite | flat, math.inf), Norm.L2)
        moved = torch.addcmul(y - x, ascent, (size * self.unit_of_steps(eps)).view(column))
        rows.y[batch] = self.project(moved, x, eps)[:count]
        rows.eps[batch], rows.crossed[batch] = eps[:count], crossed[:count]
        rows.stuck[batch] = ((flat | ~finite) & (distance == 0))[:count]


def _name(threat: Threat) -> str:
    return type(threat).__name__.lower()
