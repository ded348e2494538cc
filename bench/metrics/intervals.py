"""The interval of an AUROC, or of a mean of AUROCs: one that covers where good detectors live, near 1.

A standard error to either side covers too little there: of 100 images a handful is out of order, so the error is small
by chance whenever the AUROC is high by chance, and at an AUROC of 1 it vanishes.
"""

import numpy as np
from scipy.special import betaincinv

from bench.metrics.scores import FloatArray

LEVEL = 0.95
"""Of every interval that is printed."""

_DISORDER = 4.0
"""So many images out of order weigh as much as what is assumed where there are none."""


def interval(mean: float, variance: float, v10: FloatArray, v01: list[FloatArray]) -> tuple[float, float]:
    """The two-sided 95 % interval of a mean of AUROCs over K sets that share their ID samples.

    The AUROC is taken for a share among N effective samples, and its interval is the exact one of Clopper and Pearson
    (1934) at N, as Korn and Graubard (1998) do for shares with a complex variance:

        N = mean (1 - mean) / variance

    The variance is DeLong's, which is known badly where few images are out of order. So N is drawn towards the smaller
    of n and the sets' effective size K^2 / sum(1 / m_k), which is what is left where every image is in order:

        1 / N = w / N_DeLong + (1 - w) max(1 / N_DeLong, 1 / smaller),  w = k / (k + 4)

    with k the images that are out of order with any of the other side, counted on the side that has fewer of them. The
    weight and the smaller size are chosen by simulation among eleven forms; `benchmarks/interval_coverage.py` prints
    what they cover.

    Args:
        mean: The mean AUROC, in [0, 1].
        variance: DeLong's, of that mean.
        v10: (K, n) DeLong components of the ID samples.
        v01: K vectors, the components of each set's own samples.

    Returns:
        The ends, in [0, 1]; the mean lies between them.
    """
    smaller = min(v10.shape[1], len(v01) ** 2 / sum(1.0 / part.size for part in v01))
    spread = mean * (1.0 - mean)
    most = 1.0 / smaller
    own = variance / spread if spread > 0.0 else most
    out_of_order = _out_of_order(mean, v10, v01)
    weight = out_of_order / (out_of_order + _DISORDER)
    size = max(1.0, 1.0 / (weight * own + (1.0 - weight) * max(own, most))) if own > 0.0 else smaller
    return _clopper_pearson(mean, size)


def _out_of_order(mean: float, v10: FloatArray, v01: list[FloatArray]) -> int:
    """Images that are not on their own side of all others, on the side with fewer of them; mirrored below 1/2."""
    best = 1.0 if mean > 0.5 else 0.0
    own = sum(int(np.sum(part != best)) for part in v01)
    return min(int(np.sum((v10 != best).any(axis=0))), own)


def _clopper_pearson(share: float, size: float) -> tuple[float, float]:
    """Of a share among a number of samples that need not be whole."""
    tail, successes = (1.0 - LEVEL) / 2.0, share * size
    low = float(betaincinv(successes, size - successes + 1.0, tail)) if share > 0.0 else 0.0
    high = float(betaincinv(successes + 1.0, size - successes, 1.0 - tail)) if share < 1.0 else 1.0
    return min(low, share), max(high, share)
