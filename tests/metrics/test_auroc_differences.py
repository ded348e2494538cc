import numpy as np
import pytest
from scipy.stats import norm

from bench.metrics import (
    MetricError,
    auroc,
    delong_components,
    mean_over_sets,
    paired_difference,
    paired_mean_difference,
    unpaired_mean_difference,
)


def two_detectors(rng, n=150, m=200, noise=0.4):
    """Scores by two detectors that mostly agree on the same samples."""
    id_a, ood_a = rng.normal(1, 1, n), rng.normal(0, 1, m)
    return id_a, ood_a, id_a + noise * rng.normal(size=n), ood_a + noise * rng.normal(size=m) + 0.2


def test_agrees_with_the_covariance_matrix_of_the_paper():
    scores = two_detectors(np.random.default_rng(0))
    parts = [delong_components(*scores[:2]), delong_components(*scores[2:])]
    covariance = np.cov([p[0] for p in parts]) / 150 + np.cov([p[1] for p in parts]) / 200
    contrast = np.array([1.0, -1.0])
    result = paired_difference(*scores)
    difference = auroc(*scores[:2]) - auroc(*scores[2:])
    assert result.difference == pytest.approx(difference, rel=0, abs=1e-12)
    assert result.se == pytest.approx(np.sqrt(contrast @ covariance @ contrast), rel=1e-9)
    # In the middle of the scale the p of swaps is about that of DeLong's error, here near 1e-8.
    assert np.log(result.p_value) == pytest.approx(np.log(2 * norm.sf(abs(difference) / result.se)), rel=0.15)


def test_the_same_scores_differ_by_nothing():
    id_scores, ood_scores, _, _ = two_detectors(np.random.default_rng(1))
    result = paired_difference(id_scores, ood_scores, id_scores, ood_scores)
    assert (result.difference, result.se, result.p_value) == (0.0, 0.0, 1.0)


def test_two_perfect_detectors_differ_by_nothing():
    result = paired_difference([3.0, 4.0], [1.0, 2.0], [9.0, 8.0], [0.0, 0.0])
    assert (result.difference, result.se, result.p_value) == (0.0, 0.0, 1.0)


def test_where_all_samples_moved_alike_p_is_that_of_the_sign_test():
    good, bad = np.ones(10), np.zeros(6)
    result = paired_difference(good, bad, -good, bad)
    assert (result.difference, result.se) == (1.0, 0.0)
    assert result.p_value == 2 ** (1 - 6)


def test_one_sample_on_a_side_counts_with_the_largest_variance_it_can_have():
    result = paired_difference([0.5], [0.0, 1.0], [2.0], [0.0, 1.0])
    # The ID side: components in [-1, 1] with mean -1/2, so 3/2 * 1/2; the OOD side: var(0, -1) / 2 = 1/4.
    assert (result.difference, result.se) == (-0.5, pytest.approx(np.sqrt(0.75 + 0.25)))


def test_means_that_are_equal_but_for_rounding_differ_by_nothing():
    below = np.arange(10.0)  # a single OOD score of 9.5 - k has k tenths of these above it
    result = paired_mean_difference(below, [[8.5], [6.5], [5.5]], below, [[5.5], [7.5], [7.5]])
    assert (0.1 - 0.4) + (0.3 - 0.2) + (0.4 - 0.2) != 0
    assert (result.difference, result.p_value) == (0.0, 1.0)


def test_swapping_the_detectors_changes_only_the_sign():
    id_a, ood_a, id_b, ood_b = two_detectors(np.random.default_rng(2))
    one, other = paired_difference(id_a, ood_a, id_b, ood_b), paired_difference(id_b, ood_b, id_a, ood_a)
    assert other.difference == -one.difference
    assert (other.se, other.p_value) == pytest.approx((one.se, one.p_value))


def test_the_mean_over_one_set_is_that_set():
    id_a, ood_a, id_b, ood_b = two_detectors(np.random.default_rng(3))
    assert paired_mean_difference(id_a, [ood_a], id_b, [ood_b]) == paired_difference(id_a, ood_a, id_b, ood_b)


def test_the_mean_difference_is_the_difference_of_the_means():
    rng = np.random.default_rng(4)
    id_a, ood_a, id_b, ood_b = two_detectors(rng)
    other = rng.normal(0.5, 1, 90)
    result = paired_mean_difference(id_a, [ood_a, other], id_b, [ood_b, other])
    means = [mean_over_sets(id_a, [ood_a, other]).auroc, mean_over_sets(id_b, [ood_b, other]).auroc]
    assert result.difference == pytest.approx(means[0] - means[1], rel=0, abs=1e-12)


def test_the_error_of_the_mean_difference_is_its_spread_over_fresh_samples():
    rng = np.random.default_rng(5)
    found, errors = [], []
    for _ in range(1200):
        id_a, ood_a, id_b, ood_b = two_detectors(rng, 60, 80)
        far_a = rng.normal(-0.5, 1, 70)
        far_b = far_a + 0.4 * rng.normal(size=70)
        result = paired_mean_difference(id_a, [ood_a, far_a], id_b, [ood_b, far_b])
        found.append(result.difference)
        errors.append(result.se**2)
    # 1200 draws know an sd to 2 %: three times that.
    assert np.sqrt(np.mean(errors)) == pytest.approx(np.std(found, ddof=1), rel=0.06)


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(6)
    p_values = []
    for _ in range(1000):
        id_scores, ood_scores = rng.normal(1, 1, 100), rng.normal(size=100)
        noise = rng.normal(0, 0.3, (4, 100))
        p_values.append(
            paired_difference(
                id_scores + noise[0], ood_scores + noise[1], id_scores + noise[2], ood_scores + noise[3]
            ).p_value
        )
    # A share of 0.05 among 1000 has an sd of 0.007: three times that.
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.021)


def test_other_numbers_of_samples_are_an_error():
    with pytest.raises(MetricError, match="same samples in the same order"):
        paired_difference([1.0, 2.0], [0.0], [1.0], [0.0])
    with pytest.raises(MetricError, match="same samples in the same order"):
        paired_mean_difference([1.0], [[0.0], [0.0]], [1.0], [[0.0]])


@pytest.mark.parametrize("place", range(4))
def test_what_is_wrong_with_scores_of_either_side_is_said_by_their_name(place):
    given = [[1.0, 2.0], [[0.0, 0.5]], [1.0, 2.0], [[0.0, 0.5]]]
    given[place] = [np.nan, 1.0] if place % 2 == 0 else [[np.nan, 1.0]]
    for differ in (paired_mean_difference, unpaired_mean_difference):
        with pytest.raises(MetricError, match=r"^mine"):
            differ(*given, name="mine")
