import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import MetricError, class_percentiles, class_wise_detection_rate, rejection

TWO = [[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.0, 7.0], [0.0, 9.0], [5.0, 4.0]]  # the last one is taken for class 0
LABELS = [0, 0, 0, 1, 1, 1]


def test_the_threshold_of_a_class_is_a_percentile_of_its_own_correctly_classified_images():
    assert class_percentiles(TWO, LABELS, 0) == {0: 1.0, 1: 7.0}
    assert class_percentiles(TWO, LABELS, 34) == {0: 2.0, 1: 7.0}  # at most 34 % of three images: one
    assert class_percentiles(TWO, LABELS, 50) == {0: 2.0, 1: 9.0}


def test_with_the_wrongly_classified_images_the_score_for_the_true_class_counts():
    assert class_percentiles(TWO, LABELS, 0, correct_only=False) == {0: 1.0, 1: 4.0}


def test_images_without_a_label_set_no_threshold():
    assert class_percentiles([*TWO, [0.5, 0.0]], [*LABELS, -1], 0) == {0: 1.0, 1: 7.0}


def test_a_class_without_correctly_classified_images_has_no_threshold():
    assert class_percentiles([[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]], [0, 0], 1) == {0: 1.0}


def test_an_image_at_its_threshold_is_accepted_and_one_below_is_rejected():
    kept = rejection([[1.0, 0.0], [0.9, 0.0], [0.0, 7.0], [0.0, 8.0]], [0, 0, 0, 1], {0: 1.0, 1: 7.0})
    assert kept.rate == 0.25
    assert kept.accuracy == pytest.approx(2 / 3, abs=0)


def test_the_threshold_in_force_is_that_of_the_predicted_class_not_of_the_true_one():
    assert rejection([[5.0, 0.0]], [1], {0: 4.0, 1: 100.0}).rate == 0.0


def test_an_image_predicted_to_be_of_a_class_without_a_threshold_is_rejected():
    kept = rejection([[5.0, 0.0], [0.0, 5.0]], [0, 1], {0: 1.0})
    assert (kept.rate, kept.accuracy) == (0.5, 1.0)


def test_there_may_be_fewer_images_than_classes_and_more():
    thresholds = {0: 1.0, 1: 1.0, 3: 4.0}
    row = [0.0, 0.0, 0.0, 5.0]
    for images in (1, 2, 3, 4, 9):
        kept = rejection([row] * images, [3] * images, thresholds)
        assert (kept.rate, kept.accuracy) == (0.0, 1.0)
        assert class_percentiles([row] * images, [3] * images, 10) == {3: 5.0}
        assert class_wise_detection_rate([row] * images, thresholds) == pytest.approx(2 / 3)
    assert rejection([[0.0, 0.0, 5.0, 0.0]], [2], thresholds).rate == 1.0


def test_where_everything_is_rejected_no_accuracy_is_left():
    assert rejection(TWO, LABELS, {0: 100.0, 1: 100.0}).accuracy is None


def test_images_without_a_label_count_as_rejected_or_not_but_not_as_right_or_wrong():
    kept = rejection([[5.0, 0.0], [0.5, 0.0], [5.0, 0.0]], [-1, -1, 0], {0: 1.0, 1: 1.0})
    assert (kept.rate, kept.accuracy) == (pytest.approx(1 / 3), 1.0)


def test_the_class_wise_detection_rate_holds_every_image_to_every_class():
    ood = [[0.0, 6.0], [2.0, 6.0], [0.0, 8.0], [2.0, 8.0]]
    assert class_wise_detection_rate(ood, {0: 1.0, 1: 7.0}) == 0.5
    assert class_wise_detection_rate(ood, {0: 0.0, 1: 7.0}) == 0.25  # at the threshold is not below it
    assert class_wise_detection_rate(ood, {1: 100.0}) == 1.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0, 60))
def test_all_figures_are_the_papers_definition_computed_image_by_image(seed, classes, percentile):
    rng = np.random.default_rng(seed)
    train, test, ood = (rng.normal(size=(n, classes)).round(1) for n in (40, 20, 15))
    labels, truth = train.argmax(axis=1), rng.integers(0, classes, 20)
    thresholds = class_percentiles(train, labels, percentile)
    for c, limit in thresholds.items():
        own = sorted(row[c] for row, label in zip(train, labels, strict=True) if label == c)
        assert sum(value < limit for value in own) <= percentile / 100 * len(own) + 1e-9
        higher = [value for value in own if value > limit]
        if higher:  # the next one up would reject too many
            assert sum(value < higher[0] for value in own) > percentile / 100 * len(own) - 1e-9
    accepted = []
    for row, label in zip(test, truth, strict=True):
        best = max(range(classes), key=lambda c: row[c])
        if best in thresholds and row[best] >= thresholds[best]:
            accepted.append(best == label)
    kept = rejection(test, truth, thresholds)
    assert kept.rate == pytest.approx(1 - len(accepted) / 20)
    assert kept.accuracy == (pytest.approx(np.mean(accepted)) if accepted else None)
    by_class = [np.mean([row[c] < limit for row in ood]) for c, limit in thresholds.items()]
    assert class_wise_detection_rate(ood, thresholds) == pytest.approx(np.mean(by_class))


@given(st.integers(0, 2**32 - 1))
def test_a_higher_percentile_rejects_and_detects_no_less(seed):
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(60, 3)), rng.normal(size=(30, 3))
    labels = train.argmax(axis=1)
    low, high = (class_percentiles(train, labels, p) for p in (1, 20))
    assert rejection(test, test.argmax(axis=1), low).rate <= rejection(test, test.argmax(axis=1), high).rate
    assert class_wise_detection_rate(test, low) <= class_wise_detection_rate(test, high)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: class_percentiles([1.0, 2.0], [0, 0], 1), r"scores have shape \(2,\); give \(images, classes\)"),
        (lambda: class_percentiles([[1.0, np.nan]], [0], 1), "1 class-conditional scores are NaN"),
        (lambda: class_percentiles([[1.0, 0.0]], [2], 1), "give one integer below 2 for each of the 1 images"),
        (lambda: class_percentiles([[1.0, 0.0]], [0, 0], 1), "give one integer below 2"),
        (lambda: class_percentiles([[1.0, 0.0]], [0.0], 1), "the labels are float64"),
        (lambda: class_percentiles([[1.0, 0.0]], [1], 1), "there is no correctly classified image"),
        (lambda: class_percentiles([[1.0, 0.0]], [-1], 1, correct_only=False), "there is no image with a label"),
        (lambda: class_percentiles([[1.0, 0.0]], [0], 100), "percentile is 100"),
        (lambda: class_wise_detection_rate([[1.0, 0.0]], {}), r"for the classes \[\]"),
        (lambda: class_wise_detection_rate([[1.0, 0.0]], {2: 1.0}), r"for the classes \[2\]"),
        (lambda: class_wise_detection_rate(np.zeros((0, 2)), {0: 1.0}), r"have shape \(0, 2\)"),
    ],
)
def test_what_defines_no_figure_is_one_sentence(call, sentence):
    with pytest.raises(MetricError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
