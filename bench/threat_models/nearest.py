"""What attacks share that look for the nearest image past a line, instead of the best one in a ball."""

import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.base import Context, Status
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker


class Nearest(Tracker):
    """The nearest image of every sample that does what the attacker is after; the clean one where none was found.

    Scores are distances with a minus sign, so the trace says how near the search has come, NaN while nothing is found.
    A sample whose clean image does it already is done, at distance 0.
    """

    def begin(self, oracle: Oracle) -> Tensor:
        """One query for every clean image.

        Returns:
            (R,) positions of the samples that are to be attacked: all but those that need nothing, and those whose
            clean image has no finite answer.
        """
        criterion, direction = oracle.evaluate(self.clean)
        self.queries += 1
        finite = torch.isfinite(criterion) & torch.isfinite(direction)
        self.non_finite += (~finite).long()
        everyone = torch.arange(len(self.clean), device=self.clean.device)
        done = finite & (criterion > 0)
        self.found(0, everyone, done, torch.zeros_like(criterion), criterion, self.clean)
        return everyone[finite & ~done]

    def found(
        self, iteration: int, samples: Tensor, reached: Tensor, distance: Tensor, criterion: Tensor, images: Tensor
    ) -> None:
        """Keep those images (rows, C, H, W) of distinct samples (rows,) that reached it and are nearer than before.

        Args:
            iteration: Of the attack, for the trace.
            samples: (rows,) positions.
            reached: (rows,) bool: whether the image does what the attacker is after.
            distance: (rows,) from the clean image, however the threat measures it.
            criterion: (rows,) decides between images of the same distance.
            images: (rows, C, H, W).
        """
        score = torch.where(reached, -distance, -torch.inf)
        self.offer(samples, score, torch.where(reached, criterion, -torch.inf), images, images)
        self.record(iteration, samples, score)

    def _statuses(self) -> list[Status]:
        # No image found is a failure, and one that has a reason where there was no gradient to follow.
        flat = (self.gradients > 0) & (self.flat == self.gradients) & (self.non_finite == 0)
        return [
            Status.NO_GRADIENT if status is Status.FAILED and blind else status
            for status, blind in zip(super()._statuses(), flat.tolist(), strict=True)
        ]


def shrink(oracle: Oracle, tracker: Nearest, norm: Norm, *, steps: int, iteration: int) -> None:
    """Bisect the segment from each clean image to the nearest one found; what is nearer and still past is kept.

    Args:
        oracle: Judges.
        tracker: Holds what was found.
        norm: Of the distances.
        steps: Bisections, one query each.
        iteration: Of the attack, for the trace.
    """
    rows = (torch.isfinite(tracker.score) & (tracker.score < 0)).nonzero().flatten()
    best = tracker.images[rows]
    low, high = best.new_zeros(len(rows)), best.new_ones(len(rows))
    for _ in range(steps):
        middle = (low + high) / 2
        for batch in oracle.batches(len(rows)):
            samples = rows[batch]
            x, share = tracker.clean[samples], middle[batch].view(-1, *(1,) * (best.ndim - 1))
            images = x + share * (best[batch] - x)
            criterion, direction = (part[: len(samples)] for part in oracle.evaluate(images, samples))
            reached = torch.isfinite(direction) & (criterion > 0)
            distance = geometry.distance(images, x, norm)
            tracker.queries[samples] += 1
            tracker.found(iteration, samples, reached, distance, criterion, images)
            high[batch] = torch.where(reached, middle[batch], high[batch])
            low[batch] = torch.where(reached, low[batch], middle[batch])


def labels_to_fool(threat: str, context: Context) -> Tensor:
    """(N,) the true labels of the attacked images.

    Raises:
        UsageError: The side is another one than `fool`, or labels are missing.
    """
    if context.side is not Side.FOOL:
        raise UsageError(f"{threat} fools classifiers and has no side '{context.side}'; choose --side fool.")
    if context.labels is None:
        raise UsageError(f"{threat} needs the labels of its images; the harness gives them.")
    return context.labels


def changed_pixels(images: Tensor, x: Tensor) -> Tensor:
    """(N,) float: at how many positions an image differs from the clean one, in any channel."""
    return (images != x).any(dim=1).flatten(1).sum(dim=1).float()
