"""Whether two shares of images differ: exactly where the images are the same, else by the normal approximation."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.differences import Difference, normal_p_value
from bench.metrics.scores import MetricError


def paired_share_difference(a: ArrayLike, b: ArrayLike, *, name: str = "outcomes") -> Difference:
    """Share of images with an outcome by a, minus that by b, on the same images: the exact test of McNemar (1947).

    Given how many images differ, those that only a has are Binomial(1/2) without a difference; p is the exact
    two-sided one. se is that of the mean of the n paired differences.

    Args:
        a: (n,) outcomes, true or false.
        b: (n,) outcomes of the same images in the same order.
        name: Where the outcomes come from; error messages start with it.

    Raises:
        MetricError: There are none, or they differ in number.

    >>> paired_share_difference([True, True, True, False], [False, False, True, False]).p_value
    0.5
    """
    first, second = _outcomes(a, name), _outcomes(b, name)
    if first.size != second.size:
        raise MetricError(f"{name}: a paired comparison has {first.size} and {second.size} images; give the same ones.")
    only_a, only_b, n = int((first & ~second).sum()), int((second & ~first).sum()), first.size
    difference = (only_a - only_b) / n
    se = math.sqrt(max(0.0, (only_a + only_b) / n - difference**2) / n)
    return Difference(difference, se, _sign_test(min(only_a, only_b), only_a + only_b))


def unpaired_share_difference(a: ArrayLike, b: ArrayLike, *, name: str = "outcomes") -> Difference:
    """The same for different images: the two-sample test of proportions with the pooled variance.

    Arguments as in `paired_share_difference`, but for the images.

    Raises:
        MetricError: There are none of either.
    """
    first, second = _outcomes(a, name), _outcomes(b, name)
    shares = float(first.mean()), float(second.mean())
    pooled = float(np.concatenate([first, second]).mean())
    spread = math.sqrt(pooled * (1.0 - pooled) * (1.0 / first.size + 1.0 / second.size))
    own = math.sqrt(sum(p * (1.0 - p) / part.size for p, part in zip(shares, (first, second), strict=True)))
    return Difference(shares[0] - shares[1], own, normal_p_value(shares[0] - shares[1], spread))


def _outcomes(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    outcomes = np.asarray(values)
    if outcomes.ndim != 1 or outcomes.size == 0 or outcomes.dtype != np.bool_:
        raise MetricError(f"{name}: the outcomes are no vector of true and false; give one an image, and at least one.")
    return outcomes


def _sign_test(fewer: int, total: int) -> float:
    """Two-sided p of a fair coin that shows one side `fewer` times, or fewer still, in `total` throws."""
    term = tail = 1
    for k in range(fewer):
        term = term * (total - k) // (k + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**total))
