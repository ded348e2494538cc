"""What Carlini and Wagner's attack minimises beside the distance: how much the goal is still missed by."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from bench.cards.threat import Goal
from bench.threat_models.decisions import class_gradients
from bench.threat_models.gradient import Oracle
from bench.threat_models.nearest import Nearest
from bench.threat_models.objectives import FoolObjective, needed_logits, wrong_margin


class Rejection(StrEnum):
    """When the detection threshold counts, where acceptance is asked for."""

    ALWAYS = "always"  # as in the paper
    ONCE_MISCLASSIFIED = "once-misclassified"


ROUNDING = 1e-5
"""Some tens of roundings of float32, relative to the logits: other batch shapes must not undo a success."""


@dataclass(frozen=True)
class Hinge:
    """What is still missing, as an `Objective`: the criterion is above 0 where nothing is, -f is the direction.

    Attributes:
        fool: Detector, context, and acceptance.
        classes: (N, k) classes to be taken for.
        units: (N, k) by which the margin of each is multiplied in the direction.
        confidence: kappa.
        targeted: Whether the class has to win against all others, or against the true one alone.
        rejection: When the detection threshold counts.
    """

    fool: FoolObjective
    classes: Tensor
    units: Tensor
    confidence: float
    targeted: bool
    rejection: Rejection

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Judge and direction, (B,) each."""
        logits, classes = needed_logits(self.fool.detector, x), self.classes[rows]
        assert self.fool.context.labels is not None
        labels = self.fool.context.labels[rows]
        if self.targeted:
            margins = -wrong_margin(logits, classes[:, 0])[:, None]
            criterion = margins[:, 0]
        else:
            margins = logits.gather(1, classes) - logits.gather(1, labels[:, None])
            criterion = wrong_margin(logits, labels)
        # What is asked for is exceeded by a few roundings, and the hinge by as much again, so that images settle there.
        rounding = ROUNDING * logits.detach().abs().amax(dim=1)
        asked = self.confidence + rounding
        missing = torch.minimum(margins - asked[:, None], rounding[:, None]) * self.units[rows]
        criterion, direction = criterion - asked, missing.amax(dim=1)
        if self.fool.context.goal is Goal.ACCEPT:
            above, slope = self.fool.acceptance(x, logits, rows)
            term = (slope - 2 * ROUNDING).clamp(max=0.0)
            direction = direction + (term if self.rejection is Rejection.ALWAYS else _once(criterion > 0, term))
            criterion = torch.minimum(criterion, above - ROUNDING)
        return criterion, direction


def _once(past: Tensor, term: Tensor) -> Tensor:
    """The gradient of the term (at most 0) where an image is past the decision, and a value that then always rises."""
    value = torch.where(past, term / (1.0 - term), -1.0).detach()
    return value + torch.where(past, term - term.detach(), 0.0)


def pixel_units(
    oracle: Oracle, tracker: Nearest, rows: Tensor, classes: Tensor, confidence: float
) -> tuple[Tensor, Tensor]:
    """What the clean images' gradients say about margins and distances.

    Args:
        oracle: Whose detector and batch shape are used.
        tracker: Counts the gradients.
        rows: (R,) positions of the samples that are attacked.
        classes: (N, k) the true class and others.
        confidence: kappa.

    Returns:
        (N, k - 1) by which the margin of each class over the first one is multiplied to be told in pixel units (where
        a gradient is of no use the largest of the others stands in, and 1 where all are of none), and (N,) how far the
        nearest class then is, infinite where that is not known.
    """
    distances = tracker.clean.new_full((len(classes),), torch.inf)
    units = tracker.clean.new_ones(len(classes), classes.shape[1] - 1)
    for batch in oracle.batches(len(rows)):
        samples, count = rows[batch], batch.stop - batch.start
        padded = oracle.pad(samples)
        x = tracker.clean[padded]
        logits, gradients = class_gradients(oracle.detector, x, classes[padded])
        slopes = (gradients[:, 1:] - gradients[:, :1]).flatten(2)
        missing = confidence + logits[:, :1] - logits[:, 1:]
        found = pixels_a_unit(x.flatten(1), slopes, missing)
        usable = torch.isfinite(found) & (found > 0)
        smallest = torch.where(usable, found, torch.inf).amin(dim=1, keepdim=True)
        units[samples] = torch.where(usable, found, torch.where(torch.isinf(smallest), 1.0, smallest))[:count]
        away = torch.where(usable & (missing > 0), found * missing, torch.inf).amin(dim=1)
        distances[samples] = away[:count]
        tracker.gradients[samples] += classes.shape[1]
        tracker.flat[samples] += (~usable.any(dim=1))[:count].long() * classes.shape[1]
    return units, distances


def pixels_a_unit(x: Tensor, slopes: Tensor, missing: Tensor) -> Tensor:
    """(B, k) how far the nearest image in the box is that a linear margin needs, for every unit that is missing.

    Without the box this is one over the length of the slope.

    Args:
        x: (B, D) images.
        slopes: (B, k, D) gradients of some margins.
        missing: (B, k) by how much each has to rise; not above 0 asks for no image.

    Returns:
        Infinite or NaN where the slope is zero or not finite.
    """
    lengths = torch.linalg.vector_norm(slopes, dim=2)
    free = 1.0 / lengths
    low = high = missing / lengths.square()
    room = torch.where(slopes > 0, 1.0 - x[:, None], x[:, None])
    for turn in range(_DOUBLINGS + _BISECTIONS):
        middle = high if turn < _DOUBLINGS else (low + high) / 2
        moved = torch.minimum(middle[:, :, None] * slopes.abs(), room)
        enough = (moved * slopes.abs()).sum(dim=2) >= missing * (1.0 - 1e-6)
        if turn < _DOUBLINGS:
            low, high = torch.where(enough, low, high), torch.where(enough, high, 2.0 * high)
        else:
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    moved = torch.minimum(high[:, :, None] * slopes.abs(), room)
    reached = (moved * slopes.abs()).sum(dim=2) >= missing * (1.0 - 1e-6)
    boxed = torch.linalg.vector_norm(moved, dim=2) / missing
    return torch.where(reached & (missing > 0), boxed, free)


_DOUBLINGS, _BISECTIONS = 8, 12
"""A margin that needs more than 2^8 times the step that it needs without the box is as good as out of reach."""
