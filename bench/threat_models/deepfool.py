"""DeepFool: steps to the nearest of the linearised decision boundaries."""

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Loss, Norm
from bench.detectors.base import Detector, DetectorInfo
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.decisions import class_gradients, wrong_classes
from bench.threat_models.gradient import Oracle
from bench.threat_models.nearest import Nearest, labels_to_fool


class DeepFoolParams(ThreatParams):
    """Parameters of `DeepFool`.

    Attributes:
        steps: The most linearisations of an image.
        overshoot: By which share the sum of the steps is lengthened, so that the boundary is crossed; the paper's eta.
        candidates: How many classes besides the true one are considered, the most likely ones of the clean image.
    """

    steps: int = Field(default=50, ge=1, le=10_000)
    overshoot: float = Field(default=0.02, ge=0, le=10, allow_inf_nan=False)
    candidates: int = Field(default=9, ge=1, le=100_000)


class DeepFool(Threat):
    """DeepFool in L2 (Moosavi-Dezfooli, Fawzi and Frossard 2016, algorithm 2).

    Every step goes to the nearest hyperplane at which the linearised classifier takes another class for the true one.
    It ends at the first image that does what the attacker is after. Exact on linear classifiers up to the overshoot,
    as long as no pixel meets the box.

    Deviations: the boundaries are those of the true class instead of the predicted one (an image that is misclassified
    as it is stays as it is). As in the authors' published code, the overshoot is applied to the sum of the steps at
    every step, not only after the last one, and only the most likely classes are considered (all of them on tracks of
    ten classes). Images are clipped to the box, and linearised where they come to lie. Acceptance by the detector does
    not direct the attack; where the goal asks for it, the search goes one step past the first misclassified image.
    """

    params: DeepFoolParams

    def leaves_out(self, info: DetectorInfo, context: Context) -> tuple[str, ...]:
        """Acceptance, whatever the loss: the classifier alone directs."""
        return super().leaves_out(info, replace(context, loss=Loss.MARGIN))

    def cost(self, case: Case) -> Cost:
        """A gradient for each class that is considered, and one query, a step."""
        classes = min(self.params.candidates, case.classes - 1) + 1
        return Cost(self.params.steps * classes, 1 + self.params.steps)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One gradient for each class that is considered, and one query, a step."""
        labels = labels_to_fool("deepfool", context)
        tracker = Nearest(x, iterations=self.params.steps + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        left = tracker.begin(oracle)
        others = wrong_classes(detector, oracle, x, labels)[:, : self.params.candidates]
        classes = torch.cat([labels[:, None], others], dim=1)
        total, y = torch.zeros_like(x), x.clone()
        for step in range(1, self.params.steps + 1):
            going = [
                self._step(oracle, tracker, left[batch], classes, total, y, step) for batch in oracle.batches(len(left))
            ]
            if not going:
                break
            left = torch.cat(going)
            tracker.report(step / self.params.steps)
        tracker.report(1.0)
        return tracker.result(budget)

    def _step(
        self, oracle: Oracle, tracker: Nearest, rows: Tensor, classes: Tensor, total: Tensor, y: Tensor, iteration: int
    ) -> Tensor:
        """One step of a micro-batch of samples; returns those that have to go on."""
        samples = oracle.pad(rows)
        x = tracker.clean[samples]
        logits, gradients = class_gradients(oracle.detector, y[samples], classes[samples])
        step = nearest_boundary(logits, gradients)
        past = logits[:, 1:].amax(dim=1) > logits[:, 0]  # misclassified, and not accepted, or it would have ended
        usable = geometry.magnitude(step)
        non_finite, flat = ~torch.isfinite(usable), usable == 0
        step = torch.where(non_finite.view(-1, 1, 1, 1), 0.0, step)
        moved = total[samples] + step
        images = torch.add(x, moved, alpha=1.0 + self.params.overshoot).clamp_(0.0, 1.0)
        criterion, direction = oracle.ask(images, samples)
        non_finite |= ~(torch.isfinite(criterion) & torch.isfinite(direction))
        count = len(rows)
        total[rows], y[rows] = moved[:count], images[:count]
        tracker.gradients[rows] += classes.shape[1]
        tracker.queries[rows] += 1
        tracker.non_finite[rows] += non_finite[:count].long()
        tracker.flat[rows] += (flat & ~non_finite)[:count].long() * classes.shape[1]
        distance = geometry.distance(images, x, Norm.L2)
        reached = (criterion > 0) & ~non_finite
        tracker.found(iteration, rows, *(part[:count] for part in (reached, distance, criterion, images)))
        return rows[~(non_finite | flat | reached | past)[:count]]


def nearest_boundary(logits: Tensor, gradients: Tensor) -> Tensor:
    """(B, C, H, W) the step to the nearest boundary between the first class and another one (equations 8 and 9).

    Args:
        logits: (B, k) of the true class and of others.
        gradients: (B, k, C, H, W) theirs.

    Returns:
        Zero where no boundary has a gradient; NaN where a logit or gradient is NaN.
    """
    difference = (logits[:, 1:] - logits[:, :1]).abs()
    slopes = (gradients[:, 1:] - gradients[:, :1]).flatten(2)
    lengths = torch.linalg.vector_norm(slopes, dim=2)
    away = torch.where(lengths == 0, torch.inf, difference / lengths)
    nearest = away.argmin(dim=1)
    chosen = torch.arange(len(logits), device=logits.device), nearest
    length = lengths[chosen]
    # A point on the boundary itself is given a length of the order of its rounding, so that the next image is past it.
    reach = torch.maximum(difference[chosen], ROUNDING * logits.abs().amax(dim=1)) / length.square()
    step = torch.where(length[:, None] == 0, 0.0, reach[:, None] * slopes[chosen])
    return step.view_as(gradients[:, 0])


ROUNDING = 1e-6
"""A few roundings of float32, relative to the logits."""
