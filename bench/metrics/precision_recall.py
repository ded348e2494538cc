"""Area under the precision-recall curve, as average precision."""

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.scores import FloatArray, checked_sides


def aupr_in(id_scores: ArrayLike, ood_scores: ArrayLike, *, name: str = "scores") -> float:
    """Average precision with ID as the positive class: sum over thresholds of precision times rise in recall.

    A step function, never interpolated: tied scores share one threshold.

    Args:
        id_scores: (n,) scores of the ID samples; +-inf are allowed.
        ood_scores: (m,) scores of the OOD samples.
        name: Where the scores come from; error messages start with it.

    Raises:
        MetricError: A side is empty or holds NaN.

    >>> aupr_in([3.0, 1.0], [2.0])  # precision 1 at the first positive, 2 / 3 at the second
    0.8333333333333333
    """
    id_values, ood_values = checked_sides(id_scores, ood_scores, name)
    return _average_precision(id_values, ood_values)


def aupr_out(id_scores: ArrayLike, ood_scores: ArrayLike, *, name: str = "scores") -> float:
    """Average precision with OOD as the positive class, by the negated score.

    It looks at the order within the OOD side: under an early stop, compute it on the scores that
    `clip_beyond_targets` returns. Arguments and errors as in `aupr_in`.
    """
    id_values, ood_values = checked_sides(id_scores, ood_scores, name)
    return _average_precision(-ood_values, -id_values)


def _average_precision(positives: FloatArray, negatives: FloatArray) -> float:
    """Mean over the positives of the precision at their own score: each brings 1 / n of the recall."""
    positives, negatives = np.sort(positives), np.sort(negatives)
    true = positives.size - np.searchsorted(positives, positives, side="left")
    false = negatives.size - np.searchsorted(negatives, positives, side="left")
    return float(np.mean(true / (true + false)))
