import numpy as np
import pytest
import torch
from tiny_world import Halves, NetParams

from bench.cards.detector import ThresholdSource, ThresholdSpec
from bench.cards.threat import Side
from bench.datasets.track import Track
from bench.errors import CardError, CellError
from bench.evaluation.engine import CellFailure
from bench.evaluation.images import threshold_images
from bench.evaluation.keys import set_digests
from bench.evaluation.scoring import Draws, predict_classes, score_images
from bench.evaluation.thresholds import Thresholds
from bench.metrics import threshold_at_tpr, thresholds_by_class


def rows(cell, name):
    return cell.samples[cell.samples["set"] == name]


def rate(scores, predicted, thresholds, prefix):
    return float(np.mean([score < thresholds[f"{prefix}/{c}"] for score, c in zip(scores, predicted, strict=True)]))


def test_without_a_word_in_the_card_there_is_one_threshold_from_the_calibration_images(cells):
    clean, attacked, _ = cells("net", "pgd")
    threshold = threshold_at_tpr(rows(clean, "calibration")["clean_score"])
    assert clean.meta.thresholds == attacked.meta.thresholds == {"calibration_tpr95": threshold}
    assert attacked.meta.sets["near"].detection_rate == np.mean(rows(attacked, "near")["score"] < threshold)


def test_thresholds_by_class_are_those_of_the_images_that_are_predicted_to_be_of_it(cells):
    (clean,) = cells("halves", "clean")
    own = rows(clean, "calibration")
    by_class = thresholds_by_class(own["clean_score"], own["predicted"], tpr=0.95)
    assert clean.meta.thresholds == {
        "calibration_tpr95": threshold_at_tpr(own["clean_score"]),
        **{f"calibration_tpr95/{c}": value for c, value in by_class.items()},
    }
    assert len(set(clean.meta.thresholds.values())) == 3
    near = rows(clean, "near")
    expected = rate(near["score"], near["predicted"], clean.meta.thresholds, "calibration_tpr95")
    assert clean.meta.sets["near"].detection_rate == expected


def test_an_attacked_image_is_held_to_the_threshold_of_the_class_that_is_predicted_for_it_then(cells):
    _, attacked = cells("halves", "mirror")
    near, thresholds = rows(attacked, "near"), attacked.meta.thresholds
    mirrored = near["norm"] > 0  # the others would have a lower score so, and stay the clean ones
    assert 0 < mirrored.sum() < len(near)
    now = np.where(mirrored, 1 - near["predicted"], near["predicted"])
    expected = rate(near["score"], now, thresholds, "calibration_tpr95")
    assert attacked.meta.sets["near"].detection_rate == expected
    assert expected != rate(near["score"], near["predicted"], thresholds, "calibration_tpr95")


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM, Side.BOTH])
def test_no_detection_rate_by_class_depends_on_early_stop(cells, side):
    both_modes = zip(
        cells("by-class", "pgd", "0.3,3", side=side),
        cells("by-class", "pgd", "0.3,3", side=side, early_stop=False),
        strict=True,
    )
    for stopped, whole in both_modes:
        assert stopped.meta.sets.keys() == whole.meta.sets.keys()
        for name, figures in whole.meta.sets.items():
            assert stopped.meta.sets[name].detection_rate == figures.detection_rate
        assert stopped.meta.thresholds == whole.meta.thresholds
    assert stopped.meta.statuses.get("stopped", 0) > 0
    assert "stopped" not in whole.meta.statuses


def test_the_stop_target_lies_beyond_the_threshold_of_every_class(cells, write_world):
    dark = {"source": "tiny_world:images", "args": {"seed": 1, "count": 10, "level": 10}}
    write_world(train=dark)  # so dark that their thresholds lie above every score of a test image
    clean, attacked = cells("train-by-class", "pgd", "3")
    overall, *by_class = clean.meta.thresholds.values()
    assert rows(clean, "test")["score"].max() < overall < max(by_class) < attacked.meta.stop_high
    assert attacked.meta.statuses.get("stopped", 0) > 0
    for name, figures in attacked.meta.sets.items():
        assert 1 - figures.detection_rate >= np.mean(rows(attacked, name)["status"] == "stopped")


def train_thresholds(catalog, count):
    detector = Halves(None, shape=(1, 6, 6), classes=2, params=NetParams())
    pixels = Track(catalog.track("tiny")).set("train").limited(count).pixels()
    scores, predicted = (
        score_images(detector, pixels, 32, Draws(torch.arange(len(pixels)))),
        predict_classes(detector, pixels, 32),
    )
    spec = ThresholdSpec(source=ThresholdSource.TRAIN, per_class=True)
    return Thresholds.of(spec, scores, predicted, label="by hand").named()


def test_thresholds_from_training_images_are_kept_and_the_images_are_not(cells, catalog):
    (clean,) = cells("train-by-class", "clean")
    assert clean.meta.thresholds == train_thresholds(catalog, None)
    assert set(clean.meta.thresholds) == {"train_tpr95", "train_tpr95/0", "train_tpr95/1"}
    assert set(clean.samples["set"]) == {"test", "calibration", "near", "far", "noise"}


def test_no_limit_cuts_the_training_images_that_thresholds_come_from(cells, catalog, write_world):
    whole = train_thresholds(catalog, None)
    assert cells("train-by-class", "clean", limit=3)[0].meta.thresholds == whole
    assert whole != train_thresholds(catalog, 4)
    write_world(default_limit=6)
    track = Track(type(catalog)(catalog.workspace).track("tiny"))
    assert len(threshold_images(track)) == len(track.set("train")) > 6
    assert cells("train-by-class", "clean")[0].meta.thresholds == whole


@pytest.mark.parametrize(
    ("recall", "name"),
    [
        (0.95, "calibration_tpr95"),
        (1.0, "calibration_tpr100"),
        (0.786, "calibration_tpr78.6"),
        (0.07, "calibration_tpr7"),
    ],
)
def test_a_card_says_which_share_of_id_images_its_thresholds_accept(recall, name):
    scores, predicted = np.linspace(0, 1, 1000), np.arange(1000) % 2
    spec = ThresholdSpec(recall=recall, per_class=True)
    found = Thresholds.of(spec, scores, predicted, label="x")
    assert set(found.named()) == {name, f"{name}/0", f"{name}/1"}
    assert np.sum(scores >= found.overall) == round(1000 * recall)
    for label, threshold in found.by_class.items():
        assert np.sum(scores[predicted == label] >= threshold) == round(500 * recall)
    assert Thresholds.read(spec, found.named()) == found


def test_thresholds_of_another_recall_are_not_taken_for_the_cards_own():
    stored = Thresholds("calibration_tpr95", 0.5).named()
    with pytest.raises(CellError, match="holds no threshold 'calibration_tpr100'"):
        Thresholds.read(ThresholdSpec(recall=1.0), stored)


def test_the_recall_of_the_card_decides_what_counts_as_detected(cells, planned):
    usual, (whole,) = cells("net", "clean"), cells("net-whole", "clean")
    scores = rows(whole, "calibration")["clean_score"]
    assert whole.meta.thresholds == {"calibration_tpr100": scores.min()}
    near = rows(whole, "near")["score"]
    assert whole.meta.sets["near"].detection_rate == np.mean(near < scores.min())
    assert whole.meta.sets["near"].fpr95 == usual[0].meta.sets["near"].fpr95  # that is at 95 % whatever the card says
    assert planned("net", "clean")[0].key != planned("net-whole", "clean")[0].key


def test_a_recall_that_is_written_out_as_the_default_changes_no_hash():
    named, silent = ThresholdSpec(recall=0.95), ThresholdSpec()
    assert named.content_hash() == silent.content_hash()
    assert "recall" not in silent.model_dump(mode="json")
    other = ThresholdSpec(recall=0.9)
    assert other.content_hash() != silent.content_hash()
    assert ThresholdSpec.model_validate(other.model_dump(mode="json")) == other


@pytest.mark.parametrize("recall", [0, 1.01, -0.1, float("nan")])
def test_a_recall_that_is_no_share_is_refused(recall):
    with pytest.raises(ValueError, match="recall"):
        ThresholdSpec(recall=recall)


def test_the_content_of_the_training_images_is_in_the_key_where_thresholds_come_from_them(planned):
    with_it, without = planned(["train", "net"], "clean")
    assert set(with_it.ingredients.set_digests) - set(without.ingredients.set_digests) == {"train"}
    assert [without.key] == [cell.key for cell in planned("net", "clean")]


def test_the_content_of_the_training_images_is_asked_for_by_name_only(planned, catalog):
    card = planned("net", "clean")[0].track
    sets = {train: set(set_digests(card, None, **options)) for train, options in ((False, {}), (True, {"train": True}))}
    assert sets[False] == {"test", "calibration", *card.ood}
    assert sets[True] - sets[False] == {"train"}


def test_a_class_that_no_id_image_was_predicted_to_be_has_the_overall_threshold():
    thresholds = Thresholds("calibration_tpr95", 1.0, {0: 0.0, 1: 5.0})
    scores, predicted = [0.5, 0.5, 0.5, 1.5], np.array([0, 1, 2, 2])
    assert thresholds.detection_rate(scores, predicted, label="x") == 0.5


def test_thresholds_are_read_back_as_they_were_named():
    spec = ThresholdSpec(per_class=True)
    thresholds = Thresholds("calibration_tpr95", 0.1 + 0.2, {0: 1.0, 11: -2.0})
    assert Thresholds.read(spec, thresholds.named()) == thresholds
    with pytest.raises(CellError, match="holds no threshold 'train_tpr95'"):
        Thresholds.read(ThresholdSpec(source=ThresholdSource.TRAIN), thresholds.named())


def test_thresholds_by_class_of_a_detector_without_classes_are_one_sentence(outcomes):
    for outcome in outcomes("blind", "fgm"):
        assert isinstance(outcome, CellFailure)
        assert isinstance(outcome.error, CardError)
        assert outcome.sentence.count("predicts no classes") == 1
        assert "\n" not in outcome.sentence
