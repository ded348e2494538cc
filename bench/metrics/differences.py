"""Whether two AUROCs differ: on the same samples by swapping them (Bandos et al. 2005), else by their errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.roc import AurocEstimate, combined_variance, components_over_sets, id_vectors, mean_over_sets
from bench.metrics.scores import FloatArray, MetricError, checked
from bench.metrics.swapping import swapping_p_value

_ZERO = 1e-12
"""AUROCs differ by at least 1 / (2 n m) or not at all: what is smaller is rounding."""

_TWO_SIDED_95 = 1.96
"""At an AUROC of 0 or 1 the interval lies to one side: its width counts as so many standard errors."""


@dataclass(frozen=True)
class Difference:
    """A figure of a minus that of b.

    Attributes:
        difference: In [-1, 1].
        se: Its standard error over samples; says nothing of the spread over an attack's seeds.
        p_value: Two-sided, of the hypothesis that there is no difference.
    """

    difference: float
    se: float
    p_value: float


def paired_difference(
    id_a: ArrayLike, ood_a: ArrayLike, id_b: ArrayLike, ood_b: ArrayLike, *, name: str = "scores"
) -> Difference:
    """Difference of two AUROCs on the same samples, with its paired DeLong error (1988, equations 7 and 8).

    The p-value is that of swaps (Bandos, Rockette and Gur 2005; see `bench.metrics.swapping`): of the hypothesis that
    it makes no difference which of the two detectors ranked a sample. It is sharper than DeLong's near an AUROC of 1.

    Args:
        id_a: (n,) ID scores by a.
        ood_a: (m,) OOD scores by a.
        id_b: (n,) scores of the same ID samples, in the same order, by b.
        ood_b: (m,) scores of the same OOD samples, in the same order, by b.
        name: Where the scores come from; error messages start with it.

    Raises:
        MetricError: A side is empty, holds NaN, or differs in length between a and b.
    """
    return paired_mean_difference(np.asarray(id_a), [ood_a], np.asarray(id_b), [ood_b], name=name)


def paired_mean_difference(
    id_a: ArrayLike | Sequence[ArrayLike],
    ood_sets_a: Sequence[ArrayLike],
    id_b: ArrayLike | Sequence[ArrayLike],
    ood_sets_b: Sequence[ArrayLike],
    *,
    name: str = "scores",
) -> Difference:
    """Difference of two mean AUROCs over the same OOD sets, which share their ID samples.

    Args:
        id_a: (n,) ID scores by a, or one such vector a set (see `mean_over_sets`).
        ood_sets_a: K vectors of OOD scores by a.
        id_b: As `id_a`, for the same samples in the same order, by b.
        ood_sets_b: As `ood_sets_a`, for the same samples in the same order, by b.
        name: As in `paired_difference`.

    Raises:
        MetricError: A side is empty, holds NaN, or differs in length between a and b.
    """
    v10_a, v01_a = components_over_sets(id_a, ood_sets_a, name)
    v10_b, v01_b = components_over_sets(id_b, ood_sets_b, name)
    _check_same_samples(v10_a, v01_a, v10_b, v01_b, name)
    v10 = v10_a - v10_b
    v01 = [a - b for a, b in zip(v01_a, v01_b, strict=True)]
    difference = math.fsum(math.fsum(part) / part.size for part in v01) / len(v01)
    difference = 0.0 if abs(difference) < _ZERO else difference
    se = math.sqrt(combined_variance(v10, v01, lowest=-1.0))
    sides_a, sides_b = (
        (id_vectors(i, len(v01), name), [checked(o, "OOD scores", name) for o in ood])
        for i, ood in ((id_a, ood_sets_a), (id_b, ood_sets_b))
    )
    return Difference(difference, se, swapping_p_value(*sides_a, *sides_b) if difference else 1.0)


def unpaired_mean_difference(
    id_a: ArrayLike | Sequence[ArrayLike],
    ood_sets_a: Sequence[ArrayLike],
    id_b: ArrayLike | Sequence[ArrayLike],
    ood_sets_b: Sequence[ArrayLike],
    *,
    name: str = "scores",
) -> Difference:
    """Difference of two mean AUROCs on different samples: the variances of both add up.

    An AUROC of 0 or 1 has no variance of its own; the width of its interval stands for it. For samples that overlap
    the error is too large rather than too small, as long as both sides rank them alike.

    Args:
        id_a: As in `mean_over_sets`.
        ood_sets_a: As in `mean_over_sets`.
        id_b: Other samples.
        ood_sets_b: Other samples; the sets may be others, too.
        name: Where the scores come from; error messages start with it.

    Raises:
        MetricError: As in `mean_over_sets`.
    """
    a, b = mean_over_sets(id_a, ood_sets_a, name=name), mean_over_sets(id_b, ood_sets_b, name=name)
    difference = a.auroc - b.auroc
    difference = 0.0 if abs(difference) < _ZERO else difference
    se = math.hypot(_error(a), _error(b))
    return Difference(difference, se, normal_p_value(difference, se))


def normal_p_value(difference: float, se: float) -> float:
    """Two-sided p of a difference that is normal with this error: 1 at no difference, 0 at one without an error."""
    if difference == 0.0:
        return 1.0
    return 0.0 if se == 0.0 else math.erfc(abs(difference) / se / math.sqrt(2.0))


def _error(estimate: AurocEstimate) -> float:
    return estimate.se if estimate.se > 0.0 else (estimate.high - estimate.low) / _TWO_SIDED_95


def _check_same_samples(
    v10_a: FloatArray, v01_a: list[FloatArray], v10_b: FloatArray, v01_b: list[FloatArray], name: str
) -> None:
    """Raise unless both detectors saw equally many samples on either side of every set."""
    sizes_a = [v10_a.shape[1], *(part.size for part in v01_a)]
    sizes_b = [v10_b.shape[1], *(part.size for part in v01_b)]
    if sizes_a != sizes_b:
        raise MetricError(
            f"{name}: a paired comparison has {sizes_a} and {sizes_b} samples (ID, then each OOD set);"
            " give scores of the same samples in the same order."
        )
