import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm

from bench.metrics import delong, mean_over_sets

some_scores = st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf]), min_size=1, max_size=30)


def covered(auroc, n, m, *, repeats, sets=1, spread=1.0, grid=None, seed=0):
    """Share of the intervals that hold the AUROC of normal scores, in the mean over sets with the same ID samples."""
    rng = np.random.default_rng(seed)
    shift = norm.ppf(auroc) * math.sqrt(1 + spread**2)

    def drawn(mean, sd, count):
        scores = rng.normal(mean, sd, count)
        return scores if grid is None else np.round(scores / grid) * grid

    truth = auroc if grid is None else of_rounded(shift, grid)
    hits = 0
    for _ in range(repeats):
        found = mean_over_sets(drawn(shift, 1.0, n), [drawn(0.0, spread, m) for _ in range(sets)])
        hits += found.low <= truth <= found.high
    return hits / repeats


def of_rounded(shift, grid):
    """The AUROC of normal scores that are rounded to a grid, ties counted half."""
    points = np.arange(-60, 61) * grid
    inside, outside = (norm.cdf(points + grid / 2, mean) - norm.cdf(points - grid / 2, mean) for mean in (shift, 0.0))
    return float((inside * (np.cumsum(outside) - outside / 2)).sum())


@pytest.mark.parametrize("auroc", [0.5, 0.8, 0.95, 0.99, 0.998])
@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 200), (200, 20), (60, 60), (400, 200)])
def test_intervals_cover_everywhere(auroc, n, m):
    # 400 repeats know a share of 0.95 to 0.011: a form that covers 0.93 passes, one of 0.88 does not.
    assert covered(auroc, n, m, repeats=400) >= 0.915


@pytest.mark.parametrize("case", [{"sets": 3}, {"spread": 3.0}, {"spread": 1 / 3}, {"grid": 0.5}])
@pytest.mark.parametrize("auroc", [0.95, 0.99])
def test_intervals_cover_means_over_sets_unlike_spreads_and_ties(auroc, case):
    assert covered(auroc, 100, 60, repeats=400, **case) >= 0.915


def test_intervals_narrow_with_the_samples_and_are_little_wider_than_delongs_where_it_is_right():
    rng = np.random.default_rng(1)
    wide, narrow = (delong(rng.normal(1.2, 1, n), rng.normal(0, 1, n)) for n in (100, 1600))
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 4, rel=0.25)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * narrow.se, rel=0.05)


@given(some_scores, some_scores)
def test_the_mirrored_scores_have_the_mirrored_interval(id_scores, ood_scores):
    one, other = delong(id_scores, ood_scores), delong(ood_scores, id_scores)
    if one.auroc != 0.5:  # there either side may be the one with fewer out of order
        assert (other.low, other.high) == pytest.approx((1 - one.high, 1 - one.low), abs=1e-9)


def test_where_every_image_is_in_order_the_interval_is_the_exact_one_of_the_smaller_side():
    perfect = delong(np.arange(100.0, 300.0), np.arange(60.0))
    assert (perfect.auroc, perfect.se, perfect.high) == (1.0, 0.0, 1.0)
    assert perfect.low == pytest.approx(beta.ppf(0.025, 60, 1))
    several = mean_over_sets(np.full(50, 9.0), [np.zeros(100), np.zeros(20)])
    assert several.low == pytest.approx(beta.ppf(0.025, 50, 1))  # the sets: 4 / (1 / 100 + 1 / 20) = 67


def test_a_single_sample_on_a_side_says_next_to_nothing():
    assert delong([1.0], [0.0]).low < 0.03
    assert delong([0.5], [0.0, 1.0]).high - delong([0.5], [0.0, 1.0]).low > 0.9
