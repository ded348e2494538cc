"""AUROC, its standard error, and both for the mean over OOD sets that share their ID samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.intervals import interval
from bench.metrics.scores import FloatArray, MetricError, checked, checked_sides

_ROUNDING = 1e-12
"""Components are multiples of 1 / (2 n): a spread below this is rounding, and stands for 0."""


@dataclass(frozen=True)
class AurocEstimate:
    """An AUROC and what is known of its sampling error.

    Attributes:
        auroc: In [0, 1].
        se: Standard error over samples, by DeLong et al. (1988).
        low: Lower end of the 95 % interval.
        high: Upper end of it.
    """

    auroc: float
    se: float
    low: float
    high: float


def auroc(id_scores: ArrayLike, ood_scores: ArrayLike, *, name: str = "scores") -> float:
    """Probability that an ID sample scores above an OOD sample, ties counted half.

    Exact: the ratio of two integers. Takes O((n + m) log(n + m)).

    Args:
        id_scores: (n,) scores of the ID samples, the positives; +-inf are allowed.
        ood_scores: (m,) scores of the OOD samples.
        name: Where the scores come from; error messages start with it.

    Raises:
        MetricError: A side is empty or holds NaN.

    >>> auroc([0.9, 0.8, 0.4], [0.5, 0.4])  # of six pairs four are in order, and one is a tie
    0.75
    """
    id_values, ood_values = checked_sides(id_scores, ood_scores, name)
    below, not_above = _counts(np.sort(id_values), np.sort(ood_values))  # sorted queries stay in the cache
    return int(below.sum() + not_above.sum()) / (2 * id_values.size * ood_values.size)


def conservative_auroc(id_scores: ArrayLike, ood_scores: ArrayLike, *, name: str = "scores") -> float:
    """Probability that an ID sample scores strictly above an OOD sample: ties count against the defender.

    Arguments and errors as in `auroc`.

    >>> round(conservative_auroc([0.9, 0.8, 0.4], [0.5, 0.4]), 3)
    0.667
    """
    id_values, ood_values = checked_sides(id_scores, ood_scores, name)
    below = np.searchsorted(np.sort(ood_values), np.sort(id_values), side="left")
    return int(below.sum()) / (id_values.size * ood_values.size)


def delong(id_scores: ArrayLike, ood_scores: ArrayLike, *, name: str = "scores") -> AurocEstimate:
    """AUROC with the standard error of DeLong, DeLong and Clarke-Pearson (1988).

    The interval is that of `bench.metrics.intervals`: it covers at AUROCs near 0 and 1 too, where 1.96 errors to
    either side do not. A side with one sample has no sample variance: the largest that is possible at its mean stands
    for it (Bhatia and Davis 2000).

    Arguments and errors as in `auroc`.

    >>> found = delong(range(10, 30), range(20))
    >>> [round(value, 3) for value in (found.auroc, found.se, found.low, found.high)]
    [0.875, 0.052, 0.707, 0.966]
    """
    return mean_over_sets(np.asarray(id_scores), [ood_scores], name=name)


def delong_components(
    id_scores: ArrayLike, ood_scores: ArrayLike, *, name: str = "scores"
) -> tuple[FloatArray, FloatArray]:
    """Each sample's own part in the AUROC: the structural components of DeLong et al. (1988).

    Counted by sorting, as midranks are (Sun and Xu 2014). Arguments and errors as in `auroc`.

    Returns:
        V10: (n,) for each ID sample the share of OOD samples below it; ties count half.
        V01: (m,) for each OOD sample the share of ID samples above it; ties count half.
    """
    id_values, ood_values = checked_sides(id_scores, ood_scores, name)
    n, m = id_values.size, ood_values.size
    # Values are looked up in their order, so that the search stays in the cache: five times faster than as they come.
    id_order, ood_order = np.argsort(id_values), np.argsort(ood_values)
    id_sorted, ood_sorted = id_values[id_order], ood_values[ood_order]
    v10, v01 = np.empty(n), np.empty(m)
    below, not_above = _counts(id_sorted, ood_sorted)
    v10[id_order] = (below + not_above) / (2 * m)
    below, not_above = _counts(ood_sorted, id_sorted)
    v01[ood_order] = (2 * n - below - not_above) / (2 * n)
    return v10, v01


def mean_over_sets(
    id_scores: ArrayLike | Sequence[ArrayLike], ood_sets: Sequence[ArrayLike], *, name: str = "scores"
) -> AurocEstimate:
    """Unweighted mean AUROC over OOD sets whose ID samples are the same.

    Var = var_i(mean_k V10_ik) / n + sum_k var(V01_k) / (m_k K^2): the ID samples enter every AUROC, so their parts
    are averaged before the variance is taken. Adding the sets' own variances would miss those covariances.

    Args:
        id_scores: (n,) ID scores that face every set; or K vectors of length n, where the scores of the same samples
            differ from set to set (as under an alarm against each set).
        ood_sets: K vectors of OOD scores, of any lengths.
        name: As in `auroc`.

    Returns:
        Mean, its error and its interval, as in `delong`.

    Raises:
        MetricError: A side is empty or holds NaN, or the vectors of ID scores do not match the sets.

    >>> mean_over_sets([3.0, 4.0], [[1.0, 2.0], [3.5]]).auroc
    0.75
    """
    v10, v01 = components_over_sets(id_scores, ood_sets, name)
    n = v10.shape[1]
    # 2 n V01 are integers: summed as such, the AUROC is bit-equal to that of `auroc`.
    mean = math.fsum(float(np.rint(part * (2 * n)).sum()) / (2 * n * part.size) for part in v01) / len(v01)
    variance = combined_variance(v10, v01, lowest=0.0)
    low, high = interval(mean, variance, v10, v01)
    return AurocEstimate(mean, math.sqrt(variance), low, high)


def components_over_sets(
    id_scores: ArrayLike | Sequence[ArrayLike], ood_sets: Sequence[ArrayLike], name: str
) -> tuple[FloatArray, list[FloatArray]]:
    """DeLong components of K sets: V10 as (K, n), and K vectors V01; arguments and errors as in `mean_over_sets`."""
    if len(ood_sets) == 0:
        raise MetricError(f"{name}: there are no OOD sets; give at least one.")
    vectors = id_vectors(id_scores, len(ood_sets), name)
    parts = [delong_components(i, o, name=name) for i, o in zip(vectors, ood_sets, strict=True)]
    return np.stack([v10 for v10, _ in parts]), [v01 for _, v01 in parts]


def combined_variance(v10: FloatArray, v01: Sequence[FloatArray], *, lowest: float) -> float:
    """Variance of a mean over K sets of AUROCs, or of differences of AUROCs, from its components.

    Args:
        v10: (K, n) components of the shared ID samples.
        v01: K vectors, the components of each set's own samples.
        lowest: The components lie in [lowest, 1].
    """
    shared: float = _variance(v10.mean(axis=0), lowest) / v10.shape[1]
    own = math.fsum(_variance(part, lowest) / part.size for part in v01)
    return shared + own / len(v01) ** 2


def id_vectors(id_scores: ArrayLike | Sequence[ArrayLike], sets: int, name: str) -> list[FloatArray]:
    """One vector of ID scores a set, whichever of the two forms was given."""
    several = isinstance(id_scores, list | tuple) or np.ndim(cast(ArrayLike, id_scores)) == 2
    entries = list(cast(Sequence[ArrayLike], id_scores)) if several else []
    if all(np.ndim(entry) == 0 for entry in entries):
        return [checked(cast(ArrayLike, id_scores), "ID scores", name)] * sets
    vectors = [checked(entry, "ID scores", name) for entry in entries]
    if len(vectors) != sets:
        raise MetricError(
            f"{name}: there are {len(vectors)} vectors of ID scores for {sets} OOD sets; give one, or one a set."
        )
    if len({vector.size for vector in vectors}) > 1:
        lengths = ", ".join(str(vector.size) for vector in vectors)
        raise MetricError(f"{name}: the ID scores have lengths {lengths}; every set must face the same ID samples.")
    return vectors


def _counts(values: FloatArray, ordered: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each value how many of `ordered` lie strictly below it, and how many not above it."""
    return np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")


def _variance(values: FloatArray, lowest: float) -> float:
    """Unbiased sample variance; the largest possible one for one value, 0 where values differ by rounding alone."""
    if values.size == 1:
        return (1.0 - float(values[0])) * (float(values[0]) - lowest)
    if float(np.ptp(values)) < _ROUNDING:
        return 0.0
    return float(np.var(values, ddof=1))
