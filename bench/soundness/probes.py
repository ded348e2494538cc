"""What the checks ask of a detector: is it the same twice, has it a gradient, is that right, is the score rough."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.detectors.untouched import untouched
from bench.metrics.scores import Scores
from bench.threat_models import geometry
from bench.threat_models.base import Context
from bench.threat_models.gradient import Oracle

POINTS = 100
"""Random points of the ball that are asked for each image."""

SINGLES = 16
"""How many images are scored one by one."""

STEPS = (1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Lengths of central differences, in units of eps: the shortest may drown in rounding, the longest in curvature."""

INNER = 0.05
"""Central differences are taken at points moved this far inside the box, so that both ends lie in it."""


@dataclass(frozen=True)
class Target:
    """What is probed.

    Attributes:
        detector: On the device on which to compute.
        x: (N, C, H, W) images.
        ids: (N,) their sample ids.
        norm: Of the ball.
        eps: Its radius.
        context: Side, seed, batch shape, draws.
    """

    detector: Detector
    x: Tensor
    ids: Tensor
    norm: Norm
    eps: float
    context: Context

    def points(self, draw: int) -> Tensor:
        """(N, C, H, W) one random point of every image's ball."""
        return geometry.uniform_in_ball(self.x, self.norm, self.eps, ids=self.ids, draw=draw, context=self.context)


@torch.no_grad()
def differences(detector: Detector, x: Tensor, iqr: float, size: int) -> dict[str, float]:
    """Largest differences of scores of the same images, in IQRs: asked twice, in another order, one by one.

    Args:
        detector: Any; a random one is asked for its deterministic form.
        x: (N, C, H, W) images.
        iqr: Of the clean ID scores.
        size: The batch shape to compare with; the last, smaller batch is left out.
    """
    size = min(size, len(x))
    x = x[: len(x) // size * size]

    def scores(images: Tensor) -> Tensor:
        return torch.cat([detector.score(part.clone()) for part in torch.split(images, size)])

    with untouched(detector):
        first, again = scores(x), scores(x)
        order = torch.arange(len(x), device=x.device).flip(0).roll(size // 3)
        permuted = torch.empty_like(first)
        permuted[order] = scores(x[order])
        few = x[:SINGLES]
        alone = torch.cat([detector.score(image.clone()) for image in torch.split(few, 1)])
    pairs = {
        "asked_twice": (again, first),
        "another_order": (permuted, first),
        "one_by_one": (alone, first[: len(few)]),
    }
    return {name: _largest(a, b) / iqr for name, (a, b) in pairs.items()}


def unusable_gradients(target: Target) -> dict[str, float]:
    """Share of the images whose gradient is absent, not finite or zero: at the image, and at a random start."""
    return {
        "at_the_image": float((~_usable(_gradients(target, target.x))).double().mean()),
        "at_a_random_start": float((~_usable(_gradients(target, target.points(1)))).double().mean()),
    }


def gradient_errors(target: Target) -> dict[float, float]:
    """Median relative error of the slope along the gradient against central differences, by step length in eps.

    An image whose gradient is not usable is left out, and so is a step that would leave the box; empty where nothing
    is left.
    """
    inside = target.x * (1.0 - 2.0 * INNER) + INNER
    gradient = _gradients(target, inside)
    kept = _usable(gradient)
    ahead = geometry.direction(torch.where(kept[:, None, None, None], gradient, 0.0), target.norm)
    slope = (gradient * ahead).flatten(1).sum(dim=1)
    found = {}
    with untouched(target.detector):
        for step in STEPS:
            move = step * target.eps * ahead
            fits = kept & (move.flatten(1).abs().amax(dim=1) <= INNER)
            if not bool(fits.any()):
                continue
            ends = (_judged(target, inside + move)[fits], _judged(target, inside - move)[fits])
            measured = (ends[0].double() - ends[1].double()) / (2.0 * step * target.eps)
            error = (measured - slope[fits].double()).abs() / slope[fits].double().abs()
            found[step] = float(torch.nan_to_num(error, nan=torch.inf).median().clamp(max=1e6))
    return found


@dataclass(frozen=True)
class RandomPoints:
    """What random points of the balls came to.

    Attributes:
        images: (N, C, H, W) the best point for the attacker, the image itself among them.
        scores: (N,) their scores, in the detector's sign; those of a random detector by the draws that chose them.
        roughness: Mean over images and points of min(1, |difference to the image's own score| / IQR).
    """

    images: Tensor
    scores: Scores
    roughness: float


def random_points(target: Target, iqr: float) -> RandomPoints:
    """Draw `POINTS` points uniformly in every ball.

    Args:
        target: What is probed.
        iqr: Of the clean ID scores.
    """
    oracle = Oracle(target.detector, ids=target.ids, context=target.context)
    with untouched(target.detector):
        own, _ = oracle.evaluate(target.x)
        best, images, moved = own.clone(), target.x.clone(), 0.0
        for draw in range(POINTS):
            points = target.points(draw + 1)
            judged, _ = oracle.evaluate(points)
            better = (judged > best) | (torch.isnan(best) & ~torch.isnan(judged))
            best = torch.where(better, judged, best)
            images[better] = points[better]
            moved += float(torch.nan_to_num((judged - own).abs() / iqr, nan=1.0).clamp(max=1.0).double().mean())
    return RandomPoints(images, (target.context.sign * best).cpu().numpy(), moved / POINTS)


def _gradients(target: Target, at: Tensor) -> Tensor:
    """(N, C, H, W) gradients of what directs the attack."""
    oracle = Oracle(target.detector, ids=target.ids, context=target.context)
    rows, found = torch.arange(len(at), device=at.device), torch.empty_like(at)
    with untouched(target.detector):
        for batch in oracle.batches(len(at)):
            *_, gradient = oracle.ascend(oracle.pad(at[batch]), oracle.pad(rows[batch]))
            found[batch] = gradient[: len(rows[batch])]
    return found


def _judged(target: Target, at: Tensor) -> Tensor:
    """(N,) what directs the attack, at these points."""
    _, direction = Oracle(target.detector, ids=target.ids, context=target.context).evaluate(at)
    return direction


def _usable(gradient: Tensor) -> Tensor:
    """(N,) whether a gradient is finite and not zero."""
    length = geometry.magnitude(gradient)
    return torch.isfinite(length) & (length > 0)


def _largest(a: Tensor, b: Tensor) -> float:
    return float(torch.nan_to_num((a - b).abs().double(), nan=1e6).max().clamp(max=1e6))
