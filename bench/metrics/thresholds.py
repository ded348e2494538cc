"""Thresholds on the score, and what they let through. Always order statistics, never interpolated."""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.scores import FloatArray, MetricError, checked, checked_sides


def threshold_at_tpr(scores: ArrayLike, tpr: float = 0.95, *, name: str = "scores") -> float:
    """The largest score that accepts at least ceil(tpr * n) of these ID samples; score >= threshold is accepted.

    Args:
        scores: (n,) ID scores; +-inf are allowed.
        tpr: Share of ID samples to accept, in (0, 1].
        name: Where the scores come from; error messages start with it.

    Raises:
        MetricError: There are no scores, some are NaN, or `tpr` lies outside (0, 1].

    >>> threshold_at_tpr([0.1, 0.2, 0.3, 0.4], tpr=0.75)
    0.2
    """
    return _order_statistic(checked(scores, "ID scores", name), _exact_share(tpr, name))


def fpr_at_tpr(id_scores: ArrayLike, ood_scores: ArrayLike, tpr: float = 0.95, *, name: str = "scores") -> float:
    """Share of OOD samples that are accepted at `threshold_at_tpr` of the ID samples.

    Arguments and errors as in `threshold_at_tpr`, and both sides must be present.

    >>> fpr_at_tpr([0.1, 0.2, 0.3, 0.4], [0.0, 0.2, 0.3], tpr=0.75)  # 0.2 and 0.3 are accepted
    0.6666666666666666
    """
    id_values, ood_values = checked_sides(id_scores, ood_scores, name)
    return float(np.mean(ood_values >= _order_statistic(id_values, _exact_share(tpr, name))))


def thresholds_by_class(
    scores: ArrayLike,
    predicted: ArrayLike,
    *,
    tpr: float | None = None,
    percentile: float | None = None,
    name: str = "scores",
) -> dict[int, float]:
    """One threshold for each predicted class, from the ID samples that are predicted to be of it.

    Args:
        scores: (n,) ID scores.
        predicted: (n,) the classes predicted for them.
        tpr: Share of each class to accept, in (0, 1].
        percentile: Instead of `tpr`: at most this percentage of each class is rejected, in [0, 100). Papers that set
            thresholds at the p-th percentile interpolate; here it is the order statistic at 1 - p / 100.
        name: As in `threshold_at_tpr`.

    Returns:
        Class -> threshold, for the classes that occur in `predicted`.

    Raises:
        MetricError: Scores as above; `predicted` does not match them; not exactly one of `tpr` and `percentile`.
    """
    if (tpr is None) == (percentile is None):
        raise MetricError(f"{name}: tpr is {tpr} and percentile is {percentile}; give exactly one of them.")
    share = _exact_share(tpr, name) if tpr is not None else _share_above(percentile, name)
    values = checked(scores, "ID scores", name)
    classes = _checked_classes(predicted, values, name)
    return {int(c): _order_statistic(values[classes == c], share) for c in np.unique(classes)}


def detection_rate(ood_scores: ArrayLike, threshold: float, *, name: str = "scores") -> float:
    """Share of OOD samples strictly below the threshold.

    Raises:
        MetricError: There are no scores, some are NaN, or the threshold is.

    >>> detection_rate([0.0, 0.2, 0.3, 0.1], threshold=0.2)
    0.5
    """
    values = checked(ood_scores, "OOD scores", name)
    if np.isnan(threshold):
        raise MetricError(f"{name}: the threshold is NaN; take it from clean ID scores.")
    return float(np.mean(values < threshold))


def detection_rate_by_class(
    ood_scores: ArrayLike,
    predicted: ArrayLike,
    thresholds: Mapping[int, float],
    *,
    otherwise: float | None = None,
    name: str = "scores",
) -> float:
    """Share of OOD samples strictly below the threshold of the class predicted for them.

    Args:
        ood_scores: (m,) OOD scores.
        predicted: (m,) the classes predicted for them.
        thresholds: Class -> threshold, as `thresholds_by_class` returns.
        otherwise: Threshold of classes that have none of their own, as those that no ID sample was predicted to be.
        name: As in `detection_rate`.

    Raises:
        MetricError: Scores as above; `predicted` does not match them; a class has no threshold.
    """
    values = checked(ood_scores, "OOD scores", name)
    classes = _checked_classes(predicted, values, name)
    known = {int(c): thresholds.get(int(c), otherwise) for c in np.unique(classes)}
    if missing := sorted(c for c, threshold in known.items() if threshold is None or np.isnan(threshold)):
        raise MetricError(f"{name}: classes {missing} have no threshold; give one for the others too.")
    each = np.array([known[int(c)] for c in classes], dtype=np.float64)
    return float(np.mean(values < each))


def _order_statistic(values: FloatArray, share: Fraction) -> float:
    """The largest value that at least ceil(share * n) of the values reach."""
    accepted = max(1, math.ceil(share * values.size))
    return float(np.partition(values, values.size - accepted)[values.size - accepted])


def _exact_share(tpr: float, name: str) -> Fraction:
    """The number as it was written: 0.07 of 100 samples is 7, where binary floats make it 8."""
    if not 0.0 < tpr <= 1.0:
        raise MetricError(f"{name}: tpr is {tpr}; allowed is a share above 0 and up to 1.")
    return Fraction(repr(float(tpr)))


def _share_above(percentile: float | None, name: str) -> Fraction:
    if percentile is None or not 0.0 <= percentile < 100.0:
        raise MetricError(f"{name}: percentile is {percentile}; allowed is 0 up to below 100.")
    return 1 - Fraction(repr(float(percentile))) / 100


def _checked_classes(predicted: ArrayLike, values: FloatArray, name: str) -> NDArray[np.int64]:
    """The predicted classes as integers, one a score."""
    classes = np.asarray(predicted)
    if classes.shape != values.shape or not np.issubdtype(classes.dtype, np.integer):
        raise MetricError(
            f"{name}: the predicted classes are {classes.dtype} of shape {classes.shape}; "
            f"give one integer for each of the {values.size} scores."
        )
    return classes.astype(np.int64)
