"""Several tests at once: p-values that hold for all of them together."""

from collections.abc import Sequence

import numpy as np

from bench.metrics.scores import FloatArray, MetricError


def holm(p_values: Sequence[float]) -> FloatArray:
    """Adjusted p-values by Holm (1979): one that is at most alpha is significant at alpha over the whole family.

    The i-th smallest of n is multiplied by n - i + 1, none falls below a smaller one's, and all are cut at 1. The
    chance that any true hypothesis is rejected is at most alpha, however the tests depend on each other.

    Args:
        p_values: (n,) each in [0, 1]; n may be 0.

    Returns:
        (n,) in the order given.

    Raises:
        MetricError: A value is not in [0, 1].

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not bool(np.all((values >= 0.0) & (values <= 1.0))):
        raise MetricError("p-values must be numbers between 0 and 1.")
    order = np.argsort(values)
    factors = np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted
