"""Figures on small arrays by closed forms and second ways of computing them, and limits from both sides."""

import math

import numpy as np
import pytest
from scipy import stats

from bench import metrics
from bench.metrics import differences, intervals, swapping
from bench.metrics.ceiling import _cut_below
from bench.metrics.differences import normal_p_value
from bench.metrics.fooling import Outcomes, fooled_within, wrong_within
from bench.metrics.intervals import interval
from bench.metrics.roc import combined_variance, id_vectors
from bench.metrics.scores import MetricError, as_scores
from bench.metrics.shares import paired_share_difference, unpaired_share_difference
from bench.metrics.swapping import sign_flip_p_value
from bench.metrics.two_phase import at_full_budget, full_budget_shift

RNG = np.random.default_rng(0)


def test_the_interval_is_clopper_and_pearsons_at_the_effective_size():
    v10, v01 = np.array([[1.0, 0.75, 1.0, 1.0, 0.5]]), [np.array([1.0, 0.6, 1.0, 0.8])]
    mean = float(v01[0].mean())
    variance = combined_variance(v10, v01, lowest=0.0)
    assert variance == pytest.approx(np.var(v10, ddof=1) / 5 + np.var(v01[0], ddof=1) / 4)
    own, most = variance / (mean * (1 - mean)), 1 / 4  # the smaller side has four
    weight = 2 / (2 + 4)  # two images of either side are out of order
    size = max(1.0, 1 / (weight * own + (1 - weight) * max(own, most)))
    low = stats.beta.ppf(0.025, mean * size, size - mean * size + 1)
    high = stats.beta.ppf(0.975, mean * size + 1, size - mean * size)
    assert interval(mean, variance, v10, v01) == pytest.approx((low, high), rel=1e-9)


@pytest.mark.parametrize(("mean", "ends"), [(1.0, (0.025 ** (1 / 4), 1.0)), (0.0, (0.0, 1 - 0.025 ** (1 / 4)))])
def test_where_all_are_in_order_the_smaller_side_decides(mean, ends):
    v10, v01 = np.full((1, 6), mean), [np.full(4, mean)]
    assert interval(mean, 0.0, v10, v01) == pytest.approx(ends)
    # of two sets the effective size is K^2 / sum(1 / m): 4 / (1/2 + 1/2) is 4 again
    two = [np.full(2, mean), np.full(2, mean)]
    assert interval(mean, 0.0, np.full((2, 6), mean), two) == pytest.approx(ends)


def test_images_out_of_order_are_counted_on_the_side_with_fewer_and_mirrored_at_one_half():
    v10 = np.array([[1.0, 0.5, 1.0], [1.0, 1.0, 0.9]])
    assert intervals._out_of_order(0.9, v10, [np.array([1.0, 0.5]), np.array([1.0, 1.0])]) == 1
    assert intervals._out_of_order(0.9, v10, [np.array([0.9, 0.5]), np.array([0.8, 1.0])]) == 2
    assert intervals._out_of_order(0.5, 1 - v10, [np.array([0.0, 0.5]), np.array([0.0, 0.0])]) == 1
    assert (intervals.LEVEL, intervals._DISORDER) == (0.95, 4.0)


def test_variances_of_one_value_and_of_rounding():
    assert combined_variance(np.array([[0.25]]), [np.array([0.25])], lowest=0.0) == pytest.approx(2 * 0.75 * 0.25)
    assert combined_variance(np.array([[0.25]]), [np.array([0.25])], lowest=-1.0) == pytest.approx(2 * 0.75 * 1.25)
    same = np.array([[0.5, 0.5 + 1e-13]])
    assert combined_variance(same, [np.array([0.5, 0.5])], lowest=0.0) == 0.0
    two = [np.array([0.0, 1.0]), np.array([0.5, 1.0, 0.0])]
    shared = np.array([[0.0, 1.0], [0.5, 0.5]])
    expected = 0.125 / 2 + (0.5 / 2 + 0.25 / 3) / 4
    assert combined_variance(shared, two, lowest=0.0) == pytest.approx(expected)


def test_id_scores_are_one_vector_for_all_sets_or_one_a_set():
    assert [vector.tolist() for vector in id_vectors([1.0, 2.0], 2, "x")] == [[1.0, 2.0]] * 2
    assert [vector.tolist() for vector in id_vectors([[1.0], [2.0]], 2, "x")] == [[1.0], [2.0]]
    assert [vector.tolist() for vector in id_vectors(np.array([[1.0], [2.0]]), 2, "x")] == [[1.0], [2.0]]
    with pytest.raises(MetricError, match="x: there are 2 vectors of ID scores for 3 OOD sets; give one, or one a set"):
        id_vectors([[1.0], [2.0]], 3, "x")
    with pytest.raises(MetricError, match="x: the ID scores have lengths 1, 2; every set must face the same"):
        id_vectors([[1.0], [2.0, 3.0]], 2, "x")


def test_p_of_a_normal_difference():
    assert normal_p_value(0.0, 0.0) == normal_p_value(0.0, 1.0) == 1.0
    assert normal_p_value(0.1, 0.0) == 0.0
    assert normal_p_value(-0.3, 0.2) == pytest.approx(2 * stats.norm.sf(1.5))


def test_aurocs_of_different_samples_differ_with_both_errors():
    ids, oods = RNG.normal(1, 1, (2, 30)), RNG.normal(0, 1, (2, 40))
    found = metrics.unpaired_mean_difference(ids[0], [oods[0]], ids[1], [oods[1]])
    a, b = metrics.delong(ids[0], oods[0]), metrics.delong(ids[1], oods[1])
    assert found.difference == pytest.approx(a.auroc - b.auroc)
    assert found.se == pytest.approx(math.hypot(a.se, b.se))
    assert found.p_value == pytest.approx(normal_p_value(found.difference, found.se))
    perfect = metrics.delong([3.0, 4.0], [1.0, 2.0, 0.0])
    found = metrics.unpaired_mean_difference([3.0, 4.0], [[1.0, 2.0, 0.0]], ids[1], [oods[1]])
    assert found.se == pytest.approx(math.hypot((perfect.high - perfect.low) / 1.96, b.se))
    assert differences._ZERO == 1e-12


def test_a_paired_difference_has_the_error_of_the_paired_components():
    id_a, id_b, ood_a, ood_b = RNG.normal(1, 1, 25), RNG.normal(1, 1, 25), RNG.normal(0, 1, 35), RNG.normal(0, 1, 35)
    found = metrics.paired_difference(id_a, ood_a, id_b, ood_b)
    (v10_a, v01_a), (v10_b, v01_b) = metrics.delong_components(id_a, ood_a), metrics.delong_components(id_b, ood_b)
    assert found.difference == pytest.approx(metrics.auroc(id_a, ood_a) - metrics.auroc(id_b, ood_b))
    assert found.se**2 == pytest.approx(np.var(v10_a - v10_b, ddof=1) / 25 + np.var(v01_a - v01_b, ddof=1) / 35)


def test_signs_are_gone_through_up_to_fourteen_parts_and_drawn_beyond():
    assert sign_flip_p_value(np.array([1.0])) == 1.0
    assert sign_flip_p_value(np.array([1.0, 1.0])) == 0.5
    assert sign_flip_p_value(np.ones(14)) == 2.0**-13
    assert sign_flip_p_value(np.array([3.0, 1.0, -1.0])) == 1.0 - 0.25
    assert sign_flip_p_value(np.concatenate([np.ones(14), np.zeros(20)])) == 2.0**-13
    assert sign_flip_p_value(np.ones(15)) == 2.0**-14
    assert sign_flip_p_value(np.array([1.0, -1.0])) == sign_flip_p_value(np.zeros(3)) == 1.0
    assert (swapping._ENUMERATED, swapping._DRAWS, swapping._AT_ONCE) == (14, 5_000, 500)


def test_fourteen_parts_have_their_exact_p():
    parts = np.array([5.0, 4.0, 7.0, 1.0, 2.0, 3.0, 6.0, -1.5, 2.5, 3.5, -0.5, 4.5, 5.5, -2.0])
    signs = np.array([[1 if number >> place & 1 else -1 for place in range(14)] for number in range(2**14)])
    assert sign_flip_p_value(parts) == np.mean(np.abs(signs @ np.abs(parts)) >= parts.sum())


@pytest.mark.parametrize("heads", [18, 20, 22])
def test_p_of_equal_parts_is_the_binomial_one(heads):
    parts = np.concatenate([np.ones(heads), -np.ones(30 - heads)])
    exact = stats.binomtest(heads, 30).pvalue
    assert sign_flip_p_value(parts) == pytest.approx(exact, rel=0.06)  # 5,000 draws


def test_two_digits_are_cut_below_a_bound():
    cases = ((0.1000001, 0.1), (0.0999, 0.099), (1.05, 1.0), (12.3, 12.0), (12.0, 11.0), (0.11, 0.1))
    cases += ((0.1, 0.099), (1.0, 0.99), (10.0, 9.9), (100.0, 99.0), (1000.0, 990.0), (1e-3, 0.00099), (2.0, 1.9))
    cases += ((np.nextafter(0.1, 0.0), 0.099), (np.nextafter(0.1, 1.0), 0.1), (np.nextafter(1e3, 0.0), 990.0))
    for bound, radius in cases:
        assert _cut_below(bound) == radius
    assert _cut_below(0.9e-9) == 0.0
    assert 0.0 < _cut_below(1.1e-9) < 1.1e-9


def outcomes():
    return Outcomes(
        labels=np.array([0, 0, 1, 1, 1]),
        clean_predicted=np.array([0, 0, 1, 1, 0]),
        clean_scores=np.array([5.0, 4.0, 3.0, 2.0, 1.0]),
        predicted=np.array([1, 1, 0, 1, 0]),
        scores=np.array([3.0, 1.0, 2.0, 9.0, 9.0]),
        thresholds=np.array([3.0, 2.0, 1.0, 1.0, 1.0]),
        norms=np.array([0.1, 0.2, 0.4, 0.0, 0.0], dtype=np.float32),
    )


def test_what_is_fooled_counts_within_the_radius_alone():
    assert wrong_within(outcomes(), None).tolist() == [True, True, True, False, False]
    assert wrong_within(outcomes(), 0.2).tolist() == [True, True, False, False, False]
    assert wrong_within(outcomes(), 0.2 * (1 - 5e-6)).tolist() == [True, True, False, False, False]
    assert wrong_within(outcomes(), 0.1999).tolist() == [True, False, False, False, False]
    found = fooled_within(outcomes(), None)
    assert (found.adversarial_accuracy, found.misclassified, found.undetected) == (0.2, 0.75, 0.5)
    assert found.detection_rate == pytest.approx(1 / 3)
    assert found.median_norm == pytest.approx(0.2)
    assert found.auroc.auroc == metrics.auroc([5.0, 4.0, 3.0, 2.0], [3.0, 1.0, 2.0])
    none = fooled_within(outcomes(), 0.05)
    assert (none.adversarial_accuracy, none.misclassified, none.undetected) == (0.8, 0.0, 0.0)
    assert (none.detection_rate, none.auroc, none.median_norm) == (None, None, None)


def test_shares_differ_by_their_images():
    a, b = np.array([True] * 6 + [False] * 4), np.array([True] * 2 + [False] * 7 + [True])
    found = paired_share_difference(a, b)
    assert found.difference == pytest.approx(0.3)
    assert found.se == pytest.approx(math.sqrt((0.5 - 0.09) / 10))
    assert found.p_value == pytest.approx(stats.binomtest(1, 5).pvalue)
    other = unpaired_share_difference(a, b[:5])
    assert other.difference == pytest.approx(0.6 - 0.4)
    assert other.se == pytest.approx(math.sqrt(0.24 / 10 + 0.24 / 5))
    pooled = 8 / 15
    assert other.p_value == pytest.approx(normal_p_value(0.2, math.sqrt(pooled * (1 - pooled) * (1 / 10 + 1 / 5))))


def test_the_full_budget_shifts_the_mean_by_the_audited_changes():
    changes, sizes = [np.array([-0.2, 0.0, -0.1]), np.array([-0.4, -0.2])], [10, 2]
    found = full_budget_shift(changes, sizes, largest=0.3)
    assert found.mean == pytest.approx((-0.1 - 0.3) / 2)
    squares = 0.02 + 2.0 * (0.4 / 2) ** 2  # the second group is audited as a whole, and its change is the largest
    variance = 0.7 * squares / 2 / 3 / 4
    assert found.half == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(variance))
    wider = full_budget_shift(changes, sizes, largest=0.3, least=0.05)
    assert wider.half == pytest.approx(math.hypot(found.half, 0.05))
    whole = full_budget_shift([changes[1]], [2], least=0.05)
    assert (whole.mean, whole.half) == (pytest.approx(-0.3), 0.0)
    full = at_full_budget([np.full(10, 0.9), np.full(2, 0.7)], changes, largest=0.3)
    assert full.auroc == pytest.approx(0.6)
    assert (full.low, full.high) == (pytest.approx(0.6 - found.half), pytest.approx(0.6 + found.half))


def test_scores_keep_their_precision():
    assert as_scores(np.zeros(2)).dtype == np.float64
    assert as_scores(np.zeros(2, dtype=np.float16)).dtype == as_scores(np.zeros(2, dtype=int)).dtype == np.float32
