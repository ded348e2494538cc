"""Whether two detectors rank the same samples equally well: what swapping their scores would do to the difference.

Where they do, it makes no difference which of the two gave which of a sample's two ranks. The test of Bandos, Rockette
and Gur (2005) swaps the ranks of samples at random. Unlike DeLong's error, which is estimated from the few samples that
changed their order, it stays sharp at AUROCs near 1.
"""

import math
import sys

import numpy as np
from scipy import special

from bench.lazy import lazily
from bench.metrics.roc import delong_components
from bench.metrics.scores import FloatArray

with lazily():
    from scipy import optimize, stats

_DRAWS = 5_000
"""Random swaps; always the same ones, so that the same scores have the same p."""

_ENUMERATED = 14
"""Up to so many samples whose swap counts, every way of swapping is gone through."""

_AT_ONCE = 500
"""So many draws are held in memory at a time."""

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
    shared, own = np.zeros(id_a[0].size), []
    for in_a, out_a, in_b, out_b in zip(id_a, ood_a, id_b, ood_b, strict=True):
        ranks_a, ranks_b = (stats.rankdata(np.concatenate(pair)) for pair in ((in_a, out_a), (in_b, out_b)))
        (i_a, o_a), (i_b, o_b) = ((ranks[: in_a.size], ranks[in_a.size :]) for ranks in (ranks_a, ranks_b))
        aa, bb = delong_components(i_a, o_a), delong_components(i_b, o_b)
        ab, ba = delong_components(i_a, o_b), delong_components(i_b, o_a)
        shared += (aa[0] - bb[0] + ab[0] - ba[0]) / (2 * in_a.size * len(id_a))
        own.append((aa[1] - bb[1] - ab[1] + ba[1]) / (2 * out_a.size * len(id_a)))
    return sign_flip_p_value(np.concatenate([shared, *own]))


def sign_flip_p_value(parts: FloatArray) -> float:
    """P(|sum of parts with random signs| >= |sum of parts|).

    Exact for few parts. Else signs are drawn so that sums near the one that is there are common, by the exponential
    tilt t of the saddlepoint, and each draw weighs as much as it is likelier without the tilt:

        p = (w(total) + sum over draws of w(S) [|S| >= total]) / (draws + 1),  w(S) = prod cosh(t a_i) / cosh(t S)

    With the weight of the given sum among them it is a p of a test that holds its level whatever the number of draws
    (Harrison 2012, Conservative hypothesis tests and confidence intervals using importance sampling), and within some
    3 % of the exact share, also of sums that take few values. Never below 2^(1 - parts), the chance of all equal.

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
    least = max(2.0 ** (1 - sizes.size), sys.float_info.min)
    if total >= float(sizes.sum()) - _ROUNDING:
        return least
    tilt = _tilt(total, sizes)
    cumulant = float(_log_cosh(tilt * sizes).sum())
    up = special.expit(2.0 * tilt * sizes)  # the chance of + for each part
    generator = np.random.default_rng(0)
    weight = math.exp(cumulant - float(_log_cosh(np.array(tilt * total))))
    for _ in range(_DRAWS // _AT_ONCE):
        signs = np.where(generator.random((_AT_ONCE, sizes.size)) < up, 1.0, -1.0)
        sums = np.abs(signs @ sizes)
        beyond = sums[sums >= total - _ROUNDING]
        weight += float(np.exp(cumulant - _log_cosh(tilt * beyond)).sum())
    return min(1.0, max(least, weight / (1 + _DRAWS)))


def _tilt(total: float, sizes: FloatArray) -> float:
    """The t at which signs with P(+) = 1 / (1 + exp(-2 t size)) have `total` as their expected sum."""

    def excess(t: float) -> float:
        return float((sizes * np.tanh(t * sizes)).sum()) - total

    steepest = 350.0 / float(sizes.max())
    return steepest if excess(steepest) <= 0.0 else float(optimize.brentq(excess, 0.0, steepest))


def _log_cosh(values: FloatArray) -> FloatArray:
    """The log of cosh, also where cosh is no float any more."""
    far = np.abs(values)
    return np.asarray(far + np.log1p(np.exp(-2.0 * far)) - math.log(2.0))
