import numpy as np
import pytest
from scipy.stats import binomtest, norm

from bench.metrics import (
    MetricError,
    auroc,
    mean_over_sets,
    paired_share_difference,
    unpaired_mean_difference,
    unpaired_share_difference,
)


def outcomes(only_a, only_b, both, neither):
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return np.array(a), np.array(b)


@pytest.mark.parametrize(("only_a", "only_b"), [(9, 1), (1, 9), (4, 5), (0, 6), (300, 220)])
def test_the_paired_test_is_the_binomial_one_on_the_images_that_differ(only_a, only_b):
    found = paired_share_difference(*outcomes(only_a, only_b, 7, 8))
    count = only_a + only_b + 15
    assert found.difference == pytest.approx((only_a - only_b) / count)
    assert found.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)


def test_its_error_is_that_of_the_mean_of_paired_differences():
    a, b = outcomes(9, 4, 7, 8)
    spread = np.std(a.astype(float) - b.astype(float))
    assert paired_share_difference(a, b).se == pytest.approx(spread / np.sqrt(28), rel=1e-12)


def test_equal_outcomes_differ_by_nothing():
    a, _ = outcomes(0, 0, 3, 4)
    assert (paired_share_difference(a, a).difference, paired_share_difference(a, a).p_value) == (0.0, 1.0)


def test_ten_thousand_images_that_differ_take_no_time():
    found = paired_share_difference(*outcomes(5200, 4800, 0, 0))
    assert found.p_value == pytest.approx(2 * norm.sf((400 - 1) / 100), rel=1e-2)


def test_different_images_are_compared_as_two_proportions():
    a, b = np.arange(100) < 60, np.arange(150) < 60
    found = unpaired_share_difference(a, b)
    pooled = 120 / 250
    error = np.sqrt(pooled * (1 - pooled) * (1 / 100 + 1 / 150))
    assert found.difference == pytest.approx(0.2)
    assert found.p_value == pytest.approx(2 * norm.sf(0.2 / error), rel=1e-9)
    assert found.se == pytest.approx(np.sqrt(0.24 / 100 + 0.24 / 150), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [([], []), ([True], [True, False]), ([0.5], [0.5])])
def test_outcomes_that_cannot_be_paired_are_refused(a, b):
    with pytest.raises(MetricError):
        paired_share_difference(np.array(a), np.array(b))


def test_aurocs_of_different_samples_add_their_variances():
    rng = np.random.default_rng(0)
    a = (rng.normal(1, 1, 90), [rng.normal(0, 1, 70), rng.normal(0, 1, 40)])
    b = (rng.normal(1, 1, 50), [rng.normal(0.5, 1, 60)])
    found, errors = unpaired_mean_difference(*a, *b), [mean_over_sets(*side).se for side in (a, b)]
    expected = np.mean([auroc(a[0], part) for part in a[1]]) - auroc(b[0], b[1][0])
    assert found.difference == pytest.approx(expected, abs=1e-12)
    assert found.se == pytest.approx(np.hypot(*errors), rel=1e-12)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(expected) / np.hypot(*errors)), rel=1e-9)


def test_a_perfect_auroc_of_few_samples_is_not_taken_for_certain():
    perfect = ([2.0, 3.0, 4.0], [[0.0, 1.0, 1.5]])
    worse = ([2.0, 3.0, 4.0], [[0.0, 1.0, 2.5]])
    assert unpaired_mean_difference(*perfect, *worse).p_value > 0.5
    assert unpaired_mean_difference(*perfect, *perfect).p_value == 1.0
