import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from bench.metrics import (
    MetricError,
    detection_rate,
    detection_rate_by_class,
    fpr_at_tpr,
    threshold_at_tpr,
    thresholds_by_class,
)

scores = st.lists(st.one_of(st.sampled_from([-np.inf, 0.0, 1.0, np.inf]), st.floats(allow_nan=False)), min_size=1)


def test_twenty_scores_at_95_percent_give_the_second_smallest():
    assert threshold_at_tpr(np.arange(20.0)[::-1]) == 1.0


def test_a_share_between_two_samples_accepts_one_more_and_is_not_interpolated():
    assert threshold_at_tpr([1.0, 2.0, 4.0], 0.5) == 2.0


def test_all_samples_are_accepted_at_one():
    assert threshold_at_tpr([3.0, -np.inf, 5.0], 1.0) == -np.inf


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_decimal_share_of_a_hundred_samples_is_a_whole_number_of_them(percent):
    values = np.arange(100.0)
    assert np.sum(values >= threshold_at_tpr(values, percent / 100)) == percent


@given(scores, st.floats(0.001, 1.0))
def test_the_threshold_is_the_largest_score_that_accepts_enough(values, tpr):
    values = np.array(values)
    threshold = threshold_at_tpr(values, tpr)
    enough = max(1, math.ceil(tpr * len(values) - 1e-9))
    assert np.sum(values >= threshold) >= enough
    assert np.sum(values > threshold) < enough


def test_fpr_counts_ties_with_the_threshold_as_accepted():
    assert fpr_at_tpr([1.0, 2.0], [1.0, 0.0, 1.0, 5.0], tpr=1.0) == 3 / 4


@pytest.mark.parametrize("seed", range(5))
def test_fpr_is_the_first_point_of_the_roc_curve_with_that_tpr(seed):
    rng = np.random.default_rng(seed)
    id_scores, ood_scores = rng.normal(1, 1, 240).round(1), rng.normal(size=170).round(1)
    labels = np.arange(410) < 240
    fpr, tpr, _ = roc_curve(labels, np.concatenate([id_scores, ood_scores]), drop_intermediate=False)
    expected = fpr[np.argmax(tpr >= 0.95 - 1e-12)]
    assert fpr_at_tpr(id_scores, ood_scores) == pytest.approx(expected, rel=0, abs=1e-12)


def test_a_sample_at_the_threshold_is_not_detected():
    assert detection_rate([0.0, 1.0, 2.0, -np.inf], 1.0) == 0.5
    assert detection_rate([-np.inf, 0.0], -np.inf) == 0.0


@given(scores, scores)
def test_what_is_not_detected_is_the_false_positive_rate(id_scores, ood_scores):
    detected = detection_rate(ood_scores, threshold_at_tpr(id_scores))
    assert detected == pytest.approx(1 - fpr_at_tpr(id_scores, ood_scores), rel=0, abs=1e-12)


def test_each_class_has_its_own_threshold():
    values = np.concatenate([np.arange(100.0), 1000 + np.arange(50.0)])
    predicted = np.repeat([3, 7], [100, 50])
    assert thresholds_by_class(values, predicted, tpr=0.9) == {3: 10.0, 7: 1005.0}


def test_a_percentile_rejects_at_most_that_percentage():
    values = np.arange(200.0)
    predicted = np.zeros(200, dtype=np.int64)
    assert thresholds_by_class(values, predicted, percentile=2)[0] == 4.0
    assert thresholds_by_class(values, predicted, percentile=0)[0] == 0.0
    assert thresholds_by_class(values, predicted, percentile=2) == thresholds_by_class(values, predicted, tpr=0.98)


def test_detection_by_class_asks_the_threshold_of_the_predicted_class():
    rate = detection_rate_by_class([1.0, 1.0, 5.0, 5.0], [0, 1, 0, 1], {0: 0.5, 1: 9.0})
    assert rate == 0.5


def test_a_sample_at_the_threshold_of_its_class_is_not_detected():
    assert detection_rate_by_class([1.0, 1.0], [0, 1], {0: 1.0, 1: 2.0}) == 0.5


def test_one_threshold_for_all_classes_is_the_overall_rate():
    rng = np.random.default_rng(0)
    values, predicted = rng.normal(size=60), rng.integers(0, 4, 60)
    assert detection_rate_by_class(values, predicted, dict.fromkeys(range(4), 0.3)) == detection_rate(values, 0.3)


def test_a_class_that_no_id_sample_had_uses_the_other_threshold_or_is_an_error():
    assert detection_rate_by_class([0.0], [5], {1: 2.0}, otherwise=1.0) == 1.0
    with pytest.raises(MetricError, match=r"classes \[5\] have no threshold"):
        detection_rate_by_class([0.0], [5], {1: 2.0})


@pytest.mark.parametrize("tpr", [0.0, -0.1, 1.01, np.nan])
def test_a_share_outside_zero_to_one_is_an_error(tpr):
    with pytest.raises(MetricError, match="allowed is a share above 0 and up to 1"):
        threshold_at_tpr([1.0], tpr)
    with pytest.raises(MetricError, match="allowed is a share above 0 and up to 1"):
        fpr_at_tpr([1.0], [0.0], tpr)


@pytest.mark.parametrize("percentile", [-1.0, 100.0, np.nan])
def test_a_percentile_that_rejects_everything_or_makes_no_sense_is_an_error(percentile):
    with pytest.raises(MetricError, match="allowed is 0 up to below 100"):
        thresholds_by_class([1.0], [0], percentile=percentile)


@pytest.mark.parametrize("given", [{}, {"tpr": 0.9, "percentile": 1.0}])
def test_exactly_one_of_tpr_and_percentile_must_be_given(given):
    with pytest.raises(MetricError, match="give exactly one"):
        thresholds_by_class([1.0], [0], **given)


@pytest.mark.parametrize("predicted", [[0], [0.0, 1.0], [[0, 1]]])
def test_predicted_classes_that_do_not_match_the_scores_are_an_error(predicted):
    with pytest.raises(MetricError, match="one integer for each of the 2 scores"):
        thresholds_by_class([1.0, 2.0], predicted, tpr=0.9)
    with pytest.raises(MetricError, match="one integer for each of the 2 scores"):
        detection_rate_by_class([1.0, 2.0], predicted, {0: 0.0, 1: 0.0})


def test_missing_scores_and_nan_are_errors():
    with pytest.raises(MetricError, match="cell: there are no ID scores"):
        threshold_at_tpr([], name="cell")
    with pytest.raises(MetricError, match="cell: there are no OOD scores"):
        fpr_at_tpr([1.0], [], name="cell")
    with pytest.raises(MetricError, match="cell: the threshold is NaN"):
        detection_rate([1.0], np.nan, name="cell")
