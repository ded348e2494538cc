"""What an attack with the whole budget would come to, where only a random sample of the images had all of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from bench.metrics.intervals import LEVEL
from bench.metrics.scores import FloatArray

_UNSEEN = 2.0
"""So many changes are thought to have been missed by an audit."""


@dataclass(frozen=True)
class FullBudget:
    """An AUROC at the full budget.

    Attributes:
        auroc: Estimated without bias.
        low: Lower end of the 95 % interval, over which images were drawn for the audit; at 0 at least.
        high: Upper end of it; at 1 at most.
    """

    auroc: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """How far a mean AUROC at the full budget lies from that of a cheaper attack.

    Attributes:
        mean: Estimated without bias; below 0 where the full budget finds more.
        half: Half of its 95 % interval.
    """

    mean: float
    half: float


def full_budget_shift(
    changes: Sequence[FloatArray], sizes: Sequence[int], *, largest: float = 0.0, least: float = 0.0
) -> Shift:
    """The shift of the mean AUROC of K groups of images, of which some of each were attacked in both ways.

    The error is that of a mean of n of N numbers without replacement (Cochran 1977, section 2.5):

        Var = (1 - n / N) s^2 / n

    with s^2 the variance of the changes, to which a few more are added as if they had been missed, half as large as the
    largest one that is known, since of changes that are rare an audit may see none.

    Args:
        changes: For each group the (n,) changes by the full budget in the share of the other side that an image is in
            order with, of its audited images.
        sizes: How many images each group has.
        largest: The largest change that is known from elsewhere: of the same images by other cheap attacks.
        least: Half the interval is no less than this, wherever not every image is audited.
    """
    groups, mean, variance, freedom = len(changes), 0.0, 0.0, 0
    largest = max(largest, *(float(np.max(np.abs(moved), initial=0.0)) for moved in changes))
    for moved, total in zip(changes, sizes, strict=True):
        size, left = len(moved), 1.0 - len(moved) / total
        mean += float(np.mean(moved)) / groups
        if left > 0.0:
            squares = float(np.sum((moved - np.mean(moved)) ** 2)) + _UNSEEN * (largest / 2.0) ** 2
            variance += left * squares / max(1, size - 1) / size / groups**2
            freedom += size - 1
    half = float(stdtrit(max(1, freedom), 0.5 + LEVEL / 2.0)) * math.sqrt(variance)
    return Shift(mean, math.hypot(half, least) if freedom else 0.0)


def at_full_budget(
    cheap: Sequence[FloatArray], changes: Sequence[FloatArray], *, largest: float = 0.0, least: float = 0.0
) -> FullBudget:
    """The mean AUROC of K groups of images by two-phase sampling, the cheaper attack as the control variate.

    That is the mean of the cheap placements of all images plus the shift on the audited ones: the difference estimator
    (Cochran 1977, section 12.2).

    Args:
        cheap: For each group the (N,) shares of the other side that each image is in order with, after the cheap
            attack.
        changes: As in `full_budget_shift`.
        largest: As there.
        least: As there.

    Returns:
        The estimate; where every image is audited, its interval is a point.
    """
    shift = full_budget_shift(changes, [len(placed) for placed in cheap], largest=largest, least=least)
    auroc = sum(float(np.mean(placed)) for placed in cheap) / len(cheap) + shift.mean
    auroc = min(1.0, max(0.0, auroc))
    return FullBudget(auroc, max(0.0, auroc - shift.half), min(1.0, auroc + shift.half))
