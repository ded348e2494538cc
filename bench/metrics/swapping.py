"""Whether two detectors rank the same samples equally well: what swapping their scores would do to the difference.

Where they do, it makes no difference which of the two gave which of a sample's two ranks. The test of Bandos, Rockette
and Gur (2005) swaps the ranks of samples at random. Unlike DeLong's error, which is estimated from the few samples that
changed their order, it stays sharp at AUROCs near 1.
"""

import math

import numpy as np
from scipy.special import log_ndtr

from bench.metrics.roc import delong_components
from bench.metrics.scores import FloatArray

_DRAWS = 20_000
"""Random swaps; always the same ones, so that the same scores have the same p."""

_ENUMERATED = 14
"""Up to so many samples whose swap counts, every way of swapping is gone through."""

_SEEN = 20
"""So many draws must lie beyond a difference for their share to be its p."""

_LARGE = 0.05
"""Above this p nothing depends on its digits, and nothing is drawn."""

_ROUNDING = 1e-12


def swapping_p_value(
    id_a: list[FloatArray], ood_a: list[FloatArray], id_b: list[FloatArray], ood_b: list[FloatArray]
) -> float:
    """Two-sided p of a mean difference of AUROCs over K sets, under swaps of every sample's two ranks.

    A swap of ID sample i changes the sign of u_i, one of OOD sample j that of w_j, and the difference is their sum
    whatever is swapped (the closed form of Bandos et al. 2005):

        u_i = (V10_aa - V10_bb + V10_ab - V10_ba) / (2 n K),  w_j = (V01_aa - V01_bb - V01_ab + V01_ba) / (2 m_k K)

    where V10_ab is the DeLong component of the ID ranks by a facing the OOD ranks by b.

    Args:
        id_a: K vectors (n,) of ID scores by a; the same samples in each.
        ood_a: K vectors (m_k,) of OOD scores by a.
        id_b: As `id_a`, by b.
        ood_b: As `ood_a`, by b.

    Returns:
        In (0, 1]; 1 where nothing is out of order, or nothing changed.
    """
    from scipy.stats import rankdata  # what it brings takes half a second, and only baselines are compared

    shared, own = np.zeros(id_a[0].size), []
    for in_a, out_a, in_b, out_b in zip(id_a, ood_a, id_b, ood_b, strict=True):
        ranks_a, ranks_b = (rankdata(np.concatenate(pair)) for pair in ((in_a, out_a), (in_b, out_b)))
        (i_a, o_a), (i_b, o_b) = ((ranks[: in_a.size], ranks[in_a.size :]) for ranks in (ranks_a, ranks_b))
        aa, bb = delong_components(i_a, o_a), delong_components(i_b, o_b)
        ab, ba = delong_components(i_a, o_b), delong_components(i_b, o_a)
        shared += (aa[0] - bb[0] + ab[0] - ba[0]) / (2 * in_a.size * len(id_a))
        own.append((aa[1] - bb[1] - ab[1] + ba[1]) / (2 * out_a.size * len(id_a)))
    return sign_flip_p_value(np.concatenate([shared, *own]))


def sign_flip_p_value(parts: FloatArray) -> float:
    """P(|sum of parts with random signs| >= |sum of parts|).

    Exact for few parts; else the saddlepoint approximation of Lugannani and Rice (1980), and where it is small the
    share of random signs, as long as some are seen beyond the sum. Never below 2^(1 - parts), the chance of all equal.

    Args:
        parts: (N,) numbers.
    """
    sizes = np.abs(parts[np.abs(parts) > _ROUNDING * max(1.0, float(np.abs(parts).max(initial=0.0)))])
    total = abs(float(parts.sum()))
    if sizes.size == 0 or total < _ROUNDING:
        return 1.0
    if sizes.size <= _ENUMERATED:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate([sums + size, sums - size])
        return float(np.mean(np.abs(sums) >= total - _ROUNDING))
    least = 2.0 ** (1 - sizes.size)
    smooth = max(least, _saddlepoint(total, sizes))
    if smooth > _LARGE:
        return smooth
    signs = np.random.default_rng(0)
    beyond = 0
    for _ in range(10):
        drawn = signs.integers(0, 2, (_DRAWS // 10, sizes.size), dtype=np.int8)
        beyond += int(np.sum(np.abs((2.0 * drawn - 1.0) @ sizes) >= total - _ROUNDING))
    seen = (1 + beyond) / (1 + _DRAWS)
    return seen if beyond >= _SEEN else min(seen, max(smooth, least))


def _saddlepoint(total: float, sizes: FloatArray) -> float:
    """Two-sided tail of a sum of `sizes` with random signs, whose cumulants are those of sum log cosh(t size)."""
    from scipy.optimize import brentq  # as late as `rankdata`

    deviation = math.sqrt(float(np.square(sizes).sum()))
    if total >= float(sizes.sum()) - _ROUNDING:
        return 0.0
    steepest = 350.0 / float(sizes.max())

    def slope(t: float) -> float:
        return float((sizes * np.tanh(t * sizes)).sum()) - total

    if slope(steepest) <= 0.0:
        return 0.0
    t = float(brentq(slope, 0.0, steepest))
    reach = t * sizes
    cumulant = float((reach + np.log1p(np.exp(-2 * reach)) - math.log(2)).sum())
    root = math.sqrt(max(0.0, 2.0 * (t * total - cumulant)))
    scaled = t * math.sqrt(float(np.square(sizes / np.cosh(reach)).sum()))
    if root < 1e-3 or scaled == 0.0:
        return math.erfc(total / deviation / math.sqrt(2.0))
    density = math.exp(-0.5 * root * root) / math.sqrt(2 * math.pi)
    tail = math.exp(float(log_ndtr(-root))) + density * (1.0 / scaled - 1.0 / root)
    return min(1.0, max(0.0, 2.0 * tail))
