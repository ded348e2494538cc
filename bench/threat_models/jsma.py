"""The Jacobian-based saliency map attack: two pixels a step, as few of them as it takes."""

import math
from dataclasses import replace
from enum import StrEnum

import torch
from pydantic import Field, field_validator
from torch import Tensor

from bench.cards.threat import Loss
from bench.detectors.base import Detector, DetectorInfo
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.decisions import wrong_classes
from bench.threat_models.gradient import Oracle
from bench.threat_models.nearest import Nearest, changed_pixels, labels_to_fool
from bench.threat_models.objectives import needed_logits


class Targets(StrEnum):
    """Which classes the image is to be taken for."""

    NEXT_BEST = "next-best"  # the most likely wrong one of the clean image
    ALL = "all"  # every wrong one in turn, the one with the fewest changed pixels kept


class JSMAParams(ThreatParams):
    """Parameters of `JSMA`.

    Attributes:
        theta: What is added to each of the two pixels of a step, in [-1, 1] without 0.
        gamma: The largest share of all pixel values that may be changed; the paper's maximum distortion Upsilon.
        targets: Which classes the image is to be taken for.
    """

    theta: float = Field(default=1.0, ge=-1, le=1, allow_inf_nan=False)
    gamma: float = Field(default=0.145, gt=0, le=1, allow_inf_nan=False)
    targets: Targets = Targets.ALL

    @field_validator("theta")
    @classmethod
    def _moves(cls, theta: float) -> float:
        if theta == 0:
            raise ValueError("theta is 0, so no pixel would change; give a number in [-1, 1] without 0")
        return theta


class JSMA(Threat):
    """Jacobian-based saliency map attack (Papernot et al. 2016, algorithms 2 and 3, equation 8 for pairs).

    Every step takes the pair of pixels p, q that maximises -alpha beta with alpha = sum of dF_t/dx > 0 and beta = sum
    of dF_j/dx over the other classes j < 0, and moves both by theta, until the image does what the attacker is after,
    or the share gamma of the pixels is used up, or no pair is left. F are the logits, as in the paper. A pixel that
    has come to the end of the box leaves the search. Any wrong class that is reached counts. The answer is the image
    with the fewest changed pixels, the clean one where all targets fail.

    Every channel of a pixel is a value by itself, as on the paper's grey images.

    Figures: "pixels", how many positions were changed.
    """

    params: JSMAParams

    def leaves_out(self, info: DetectorInfo, context: Context) -> tuple[str, ...]:
        """Acceptance, whatever the loss: the classifier alone directs."""
        return super().leaves_out(info, replace(context, loss=Loss.MARGIN))

    def cost(self, case: Case) -> Cost:
        """Two gradients and one query for each pair of pixels and each target."""
        steps = max(1, int(self.params.gamma * math.prod(case.shape) / 2))
        targets = case.classes - 1 if self.params.targets is Targets.ALL else 1
        return Cost(2 * targets * steps, 1 + targets * steps)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Two gradients and one query a step and target."""
        labels = labels_to_fool("jsma", context)
        steps = max(1, int(self.params.gamma * x[0].numel() / 2) if len(x) else 1)
        oracle = Oracle(detector, ids=ids, context=context)
        others = wrong_classes(detector, oracle, x, labels)
        count = others.shape[1] if self.params.targets is Targets.ALL else 1
        tracker = Nearest(x, iterations=count * steps + 1, context=context)
        left = tracker.begin(oracle)
        for turn in range(count):
            rows, y = left, x.clone()
            for step in range(steps):
                iteration = turn * steps + step + 1
                going = [
                    self._step(oracle, tracker, rows[batch], others[:, turn], y, iteration)
                    for batch in oracle.batches(len(rows))
                ]
                if not going:
                    break
                rows = torch.cat(going)
                tracker.report(iteration / (count * steps))
        tracker.report(1.0)
        result = tracker.result(budget)
        return replace(result, figures={"pixels": changed_pixels(result.images, x)})

    def _step(
        self, oracle: Oracle, tracker: Nearest, rows: Tensor, targets: Tensor, y: Tensor, iteration: int
    ) -> Tensor:
        """One step of a micro-batch of samples; returns those that have to go on."""
        samples, count, theta = oracle.pad(rows), len(rows), self.params.theta
        now = y[samples]
        towards, away = target_gradients(oracle.detector, now, targets[samples])
        non_finite = ~(torch.isfinite(geometry.magnitude(towards)) & torch.isfinite(geometry.magnitude(away)))
        flat = (geometry.magnitude(towards) == 0) & (geometry.magnitude(away) == 0)
        movable = now < 1.0 if theta > 0 else now > 0.0
        sign = 1.0 if theta > 0 else -1.0
        first, second, exists = best_pair((sign * towards).flatten(1), (sign * away).flatten(1), movable.flatten(1))
        exists &= ~non_finite
        change = torch.zeros_like(now).flatten(1)
        change.scatter_(1, torch.stack([first, second], dim=1), theta)
        change = torch.where(exists[:, None], change, 0.0).view_as(now)
        images = (now + change).clamp_(0.0, 1.0)
        criterion, direction = oracle.ask(images, samples)
        non_finite |= ~(torch.isfinite(criterion) & torch.isfinite(direction))
        reached = (criterion > 0) & ~non_finite
        tracker.gradients[rows] += 2
        tracker.queries[rows] += 1
        tracker.non_finite[rows] += non_finite[:count].long()
        tracker.flat[rows] += 2 * (flat & ~non_finite)[:count].long()
        y[rows] = images[:count]
        pixels = changed_pixels(images, tracker.clean[samples])
        tracker.found(iteration, rows, *(part[:count] for part in (reached, pixels, criterion, images)))
        nearer = pixels[:count] < -tracker.score[rows]  # than what an earlier target came to
        return rows[(exists & ~non_finite & ~reached)[:count] & nearer]


def target_gradients(detector: Detector, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the target's logit and of the sum of all others.

    Args:
        detector: Frozen, with a classifier.
        x: (B, C, H, W) images.
        targets: (B,) classes.

    Returns:
        (B, C, H, W) twice, zero where there is no gradient.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = needed_logits(detector, x)
        if not logits.requires_grad:
            return torch.zeros_like(x), torch.zeros_like(x)
        own = logits.gather(1, targets[:, None])
        (towards,) = torch.autograd.grad(own.sum(), x, retain_graph=True)
        (away,) = torch.autograd.grad((logits.sum(dim=1, keepdim=True) - own).sum(), x)
    return towards, away


def best_pair(towards: Tensor, away: Tensor, movable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels with the largest -alpha beta, alpha > 0 > beta the sums of the two gradients over the pair.

    Only pixels that fewer than two others beat in both gradients can be in the best pair, since taking one of those
    instead would make it better. They are found by sorting, and are few, so not all pairs have to be looked at.

    Args:
        towards: (B, P) gradient of the target's logit.
        away: (B, P) gradient of the sum of the other logits.
        movable: (B, P) which pixels may be chosen.

    Returns:
        (B,) one pixel, (B,) the other, and (B,) whether there is such a pair; if not, the pixels mean nothing.
    """
    towards = torch.where(movable, towards, -torch.inf)
    order = towards.argsort(dim=1, descending=True, stable=True)
    alpha, beta = towards.gather(1, order), away.gather(1, order)
    beta = torch.where(torch.isfinite(alpha), beta, torch.inf)
    least = _before(beta.cummin(dim=1).values)
    second_least = _before(torch.maximum(beta, least).cummin(dim=1).values)
    in_play = torch.isfinite(beta) & ((beta < second_least) | torch.isinf(second_least))
    width = max(2, int(in_play.sum(dim=1).max())) if len(order) else 2
    # A stable sort keeps the order of what is in play, so the choice among equals does not depend on the width.
    columns = (~in_play).long().argsort(dim=1, stable=True)[:, :width]
    alpha, beta, usable = alpha.gather(1, columns), beta.gather(1, columns), in_play.gather(1, columns)
    alphas, betas = (part[:, :, None] + part[:, None, :] for part in (alpha, beta))
    allowed = (usable[:, :, None] & usable[:, None, :]).triu(1) & (alphas > 0) & (betas < 0)
    value = torch.where(allowed, -alphas * betas, -torch.inf).flatten(1)
    best = value.argmax(dim=1)
    pixels = order.gather(1, columns)
    size = columns.shape[1]
    first, second = best.div(size, rounding_mode="floor"), best % size
    exists = value.gather(1, best[:, None])[:, 0] > 0
    return pixels.gather(1, first[:, None])[:, 0], pixels.gather(1, second[:, None])[:, 0], exists


def _before(running: Tensor) -> Tensor:
    """A running minimum as it was one place earlier; infinite at the first one."""
    return torch.cat([torch.full_like(running[:, :1], torch.inf), running[:, :-1]], dim=1)
