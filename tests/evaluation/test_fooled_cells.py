"""Cells of side `fool`."""

import numpy as np
import pytest

from bench.errors import NotApplicableError
from bench.evaluation.engine import CellFailure
from bench.metrics import Outcomes, fooled_within


def rows(cell, name="test"):
    return cell.samples[cell.samples["set"] == name]


def test_only_images_that_are_right_as_they_are_are_attacked_and_nothing_else_changes(cells):
    clean, attacked = cells("labelled", "fooling", "2", side="fool")
    test = rows(attacked)
    right = test["predicted"] == test["label"]
    assert ((test["status"] != "") == right).all()
    assert attacked.meta.fool.attacked == right.sum() and attacked.meta.fool.n == len(test)
    for name in ("near", "far", "noise"):
        assert (rows(attacked, name)["score"] == rows(clean, name)["score"]).all()
    assert attacked.meta.mean.auroc == pytest.approx(attacked.meta.mean.auroc)
    assert "stopped" not in attacked.meta.statuses


def test_a_larger_ball_fools_more_often(cells):
    _, small, large = cells("labelled", "fooling", "0.3,2", side="fool")
    before, after = small.meta.fool.curve[0], large.meta.fool.curve[0]
    assert before.adversarial_accuracy > after.adversarial_accuracy
    assert after.misclassified > 0.9
    assert after.adversarial_accuracy == pytest.approx(
        (1 - after.misclassified) * large.meta.fool.attacked / large.meta.fool.n
    )


def test_figures_follow_from_the_samples(cells):
    attacked = cells("by-class", "fooling", "2", side="fool")[1]
    test, at = rows(attacked), attacked.meta.fool.curve[0]
    right = test["predicted"] == test["label"]
    wrong = right & (test["attacked_predicted"] != test["label"])
    floor = test["attacked_predicted"].map(lambda c: attacked.meta.thresholds[f"calibration_tpr95/{c}"])
    assert at.undetected == pytest.approx((wrong & (test["score"] >= floor)).sum() / right.sum())
    assert at.detection_rate == pytest.approx((test["score"] < floor)[wrong].mean())
    assert at.median_norm == pytest.approx(test["norm"][wrong].median())


def test_a_goal_of_acceptance_is_reached_more_often_when_it_is_aimed_at(cells):
    plain = cells("halves", "fooling", "2", side="fool", loss="ce")[1].meta.fool.curve[0]
    joint = cells("halves", "fooling", "2", side="fool", goal="misclassify-and-accept")[1].meta.fool.curve[0]
    assert joint.undetected > plain.undetected


def test_a_threat_that_looks_for_the_nearest_image_is_run_once_for_all_radii(planned, cells):
    assert [cell.ingredients.eps for cell in planned("labelled", "nearest", "0.3,1,4")] == [None, None]
    attacked = cells("labelled", "nearest", "4,0.3,1", side="fool")[1]
    curve = attacked.meta.fool.curve
    assert [at.eps for at in curve] == [0.3, 1.0, 4.0, None]
    assert [at.misclassified for at in curve] == sorted(at.misclassified for at in curve)
    assert curve[-1].misclassified > 0.9
    norms = rows(attacked)["norm"][rows(attacked)["status"] != ""]
    assert curve[0].misclassified == pytest.approx((norms <= 0.3).mean(), abs=0.05)


def test_per_class_percentiles_have_their_own_share_of_undetected_images(cells):
    at = cells("bright", "fooling", "2", side="fool")[1].meta.fool.curve[0]
    assert set(at.by_percentile) == {"0", "20"}
    assert at.by_percentile["0"] >= at.by_percentile["20"]


def test_a_detector_without_classes_cannot_be_fooled(outcomes):
    failure = outcomes("net", "fooling", "2", side="fool")[1]
    assert isinstance(failure, CellFailure) and isinstance(failure.error, NotApplicableError)
    assert "predicts no classes" in failure.sentence and "--side evade" in failure.sentence


def test_goal_and_loss_are_part_of_the_key_of_a_fool_cell_alone(planned):
    def key(**options):
        return planned("labelled", "fooling", "2", **options)[1].key

    assert key(goal="misclassify-and-accept") == key() == key(loss="ce")
    fool = {
        key(side="fool", goal=goal, loss=loss)
        for goal in ("misclassify", "misclassify-and-accept")
        for loss in ("ce", "margin", "joint")
    }
    assert len(fool) == 6


def outcomes_of(**columns):
    count = len(columns["labels"])
    base = {
        "clean_predicted": columns["labels"],
        "clean_scores": np.ones(count, np.float32),
        "predicted": columns["labels"],
        "scores": np.zeros(count, np.float32),
        "thresholds": np.zeros(count),
        "norms": np.ones(count, np.float32),
    }
    return Outcomes(**{**base, **columns})


def test_images_that_were_moved_too_far_count_as_they_are():
    labels = np.zeros(4, np.int64)
    found = outcomes_of(labels=labels, predicted=labels + 1, norms=np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    assert [fooled_within(found, eps).misclassified for eps in (0.05, 0.2, 0.3, None)] == [0.0, 0.5, 0.75, 1.0]


def test_an_image_at_its_threshold_is_accepted():
    labels = np.zeros(2, np.int64)
    scores = np.array([0.0, -1e-3], np.float32)
    at = fooled_within(outcomes_of(labels=labels, predicted=labels + 1, scores=scores), None)
    assert (at.undetected, at.detection_rate) == (0.5, 0.5)


def test_without_any_misclassified_image_there_is_no_rate_among_them():
    at = fooled_within(outcomes_of(labels=np.zeros(3, np.int64)), None)
    assert (at.detection_rate, at.auroc, at.median_norm, at.adversarial_accuracy) == (None, None, None, 1.0)
