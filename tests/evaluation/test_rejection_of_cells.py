import numpy as np
import pytest
from tiny_world import Bright, BrightParams

from bench.cards.detector import ThresholdSpec
from bench.datasets.track import Track
from bench.errors import CardError
from bench.evaluation.engine import CellFailure
from bench.evaluation.rejecting import missing_classes, rejection_metrics
from bench.evaluation.scoring import class_logits
from bench.metrics import class_percentiles, class_wise_detection_rate, rejection


def class_scores(catalog, name):
    """Class-conditional scores and labels of a set."""
    chosen = Track(catalog.track("tiny")).set(name)
    detector = Bright(None, shape=(1, 6, 6), classes=catalog.track("tiny").classes, params=BrightParams())
    return class_logits(detector, chosen.pixels(), 32), chosen.labels.numpy()


def test_the_figures_at_each_percentile_are_those_of_the_training_images_thresholds(cells, catalog):
    (clean,) = cells("bright", "clean")
    assert [found.percentile for found in clean.meta.rejection] == [0, 20]
    for found in clean.meta.rejection:
        thresholds = class_percentiles(*class_scores(catalog, "train"), found.percentile)
        kept = rejection(*class_scores(catalog, "test"), thresholds)
        assert (found.source, found.thresholds) == ("train", thresholds)
        assert (found.rejection_rate, found.accuracy) == (kept.rate, kept.accuracy)
        assert found.detection_rates == {
            name: class_wise_detection_rate(class_scores(catalog, name)[0], thresholds)
            for name in ("near", "far", "noise")
        }
    low, high = clean.meta.rejection
    assert 0 < low.rejection_rate < high.rejection_rate < 1
    assert low.detection_rates["near"] < low.detection_rates["far"]


def test_the_rejecting_thresholds_are_no_thresholds_of_the_score(cells):
    assert list(cells("bright", "clean")[0].meta.thresholds) == ["train_tpr95"]


def test_a_cell_of_an_attack_has_no_figures_of_rejection(cells):
    assert [bool(cell.meta.rejection) for cell in cells("bright", "fgm")] == [True, False]


def test_a_card_without_percentiles_measures_no_rejection(cells):
    assert cells("labelled", "clean")[0].meta.rejection == ()


def test_a_class_without_a_threshold_is_noted(cells, write_world):
    write_world(classes=3)
    (clean,) = cells("bright", "clean")
    assert "no train correctly classified image is of class 2" in " ".join(clean.meta.notes)
    assert set(clean.meta.rejection[0].thresholds) == {0, 1}


def test_the_figures_survive_the_store(cells, tmp_path):
    from bench.evaluation.store import Store

    (clean,) = cells("bright", "clean")
    store = Store(tmp_path / "runs")
    store.put(clean)
    assert store.meta(clean.meta.key).rejection == clean.meta.rejection


def test_percentiles_of_a_detector_without_classes_are_one_sentence(outcomes):
    for outcome in outcomes("no-classes", "fgm"):
        assert isinstance(outcome, CellFailure)
        assert isinstance(outcome.error, CardError)
        assert "thresholds.percentiles is set and the detector predicts no classes" in outcome.sentence


@pytest.mark.parametrize("given", [[100], [-1], [float("nan")], [1, 1.0]])
def test_percentiles_that_name_no_threshold_are_refused_in_the_card(given):
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="every percentile must be"):
        ThresholdSpec(percentiles=given)


def test_bits_per_dimension_are_those_of_the_unattacked_images_of_the_clean_cell(cells):
    clean, attacked = cells("bright", "fgm")
    for name, figure in (("test", clean.meta.bits_per_dim), ("far", clean.meta.sets["far"].bits_per_dim)):
        level = {"test": 80, "far": 150}[name] + 10
        assert figure == pytest.approx(8 * level / 255, rel=0.05)
    assert attacked.meta.bits_per_dim is attacked.meta.sets["far"].bits_per_dim is None
    assert np.isfinite(clean.meta.sets["noise"].bits_per_dim)


def test_a_detector_without_a_density_has_no_bits_per_dimension(cells):
    (clean,) = cells("net", "clean")
    assert clean.meta.bits_per_dim is clean.meta.sets["far"].bits_per_dim is None


def test_bits_per_dimension_that_are_not_finite_are_one_sentence(outcomes):
    (outcome,) = outcomes("bright-nan", "clean")
    assert isinstance(outcome, CellFailure)
    assert "have a number of bits per dimension that is not finite" in outcome.sentence


def test_thresholds_are_of_the_images_that_the_card_asks_for():
    """Class 0 wins the first four images; the third and the fourth are of class 1."""
    logits = np.array([[5.0, 0.0], [4.0, 0.0], [3.0, 0.0], [2.0, 0.0], [0.0, 6.0], [0.0, 1.0]])
    labels = np.array([0, 0, 1, 1, 1, 1])
    found = {}
    for correct_only in (True, False):
        spec = ThresholdSpec(percentiles=(0,), correct_only=correct_only)
        (figures,) = rejection_metrics(
            spec, {"train": logits}, {"train": labels}, fitted="train", test="train", ood=("train",), label="a cell"
        )
        assert figures.correct_only is correct_only
        found[correct_only] = figures.thresholds
    assert found[True] == class_percentiles(logits, labels, 0, correct_only=True)
    assert found[False] == class_percentiles(logits, labels, 0, correct_only=False)
    assert found[True] != found[False]


def test_up_to_ten_classes_without_a_threshold_are_named(cells):
    figures = cells("bright", "clean")[0].meta.rejection
    known = sorted(figures[0].thresholds)
    assert missing_classes(figures, len(known)) == []
    first, tenth = len(known), len(known) + 9
    for missing, end in ((1, f"class {first}, so"), (10, f"{tenth}, so"), (11, f"{tenth}, ..., so")):
        (said,) = missing_classes(figures, len(known) + missing)
        assert end in said
