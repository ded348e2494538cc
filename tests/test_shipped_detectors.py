"""The detectors that ship with weights for the embedded track."""

from pathlib import Path

import pytest
import torch

from bench.cards.catalog import Catalog, Kind
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.metrics import auroc
from bench.testing import DETECTOR_CHECKS, DetectorCase

CATALOG = Catalog()
CONTROLS = [name for name in CATALOG.names(Kind.DETECTOR) if name.startswith("control-")]
PUBLISHED = ["phlippe-ebm"]  # their weights come from elsewhere, for other tracks
SCORES = [  # of the plain classifier, without weights of their own: tests/detectors/scores
    name
    for name, card in ((name, CATALOG.detector(name)[0]) for name in CATALOG.names(Kind.DETECTOR))
    if card.method.startswith("bench.detectors.scores.") or "shaping" in card.params
]
RANDOM = ["ross"]  # without noise it is another detector: tests/detectors/test_ross.py
SHIPPED = [name for name in CATALOG.names(Kind.DETECTOR) if name not in CONTROLS + PUBLISHED + SCORES + RANDOM]
VARIANTS = ["mahalanobis.plain", "oe.msp", "gat.k0", "gat.minimax", "aoe.eps0", "jem.msp", "jem.gradient-norm"]
LIKELIHOODS = ["glow", "jem", "pixelcnn"]  # the likelihood of a letter is much that of a digit
DIGITS = Track(CATALOG.track("digits"))


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {
        name: load_detector(CATALOG.detector_spec(name, "digits"), DIGITS.card, CATALOG) for name in SHIPPED + VARIANTS
    }


def test_every_detector_of_the_papers_has_digits_weights():
    named = {"msp", "energy", "odin", "mahalanobis", "oe", "gram", "jem", "gat", "sdim", "glow"}
    others = {
        "gat-committee",
        "aoe",
        "oe-noise",
        "deep-ensemble",
        "ccu",
        "autoencoder",
        "acet",
        "good",
        "gbz",
        "pixelcnn",
        "confident",
    }
    assert named | others == set(SHIPPED)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SHIPPED + VARIANTS)
def test_shipped_detectors_keep_the_contract(detectors, name, check):
    images, letters = DIGITS.set("test").limited(8).pixels(), DIGITS.set("letters").limited(40).pixels()
    check(DetectorCase(detectors[name], images, letters))


def test_the_probability_itself_ties_where_its_log_odds_do_not(detectors):
    saturated = load_detector(CATALOG.detector_spec("msp.probability", "digits"), DIGITS.card, CATALOG)
    images = DIGITS.set("test").pixels()
    with torch.no_grad():
        assert len(detectors["msp"].score(images).unique()) == len(images)
        assert len(saturated.score(images).unique()) < len(images) / 2


@pytest.mark.parametrize("name", SHIPPED)
def test_clean_auroc_and_accuracy_are_those_of_the_card(detectors, name):
    recorded = CATALOG.detector_spec(name, "digits").recorded
    test = DIGITS.set("test")
    with torch.no_grad():
        scores = {s: detectors[name].score(DIGITS.set(s).pixels()).numpy() for s in ("test", *DIGITS.card.natural())}
        logits = detectors[name].logits(test.pixels())
    mean = sum(auroc(scores["test"], scores[s]) for s in DIGITS.card.natural()) / len(DIGITS.card.natural())
    assert mean == pytest.approx(recorded.clean_auroc, abs=2e-3)  # other processors round convolutions otherwise
    assert (mean >= 0.9) == (name not in LIKELIHOODS)
    if logits is not None:
        accuracy = float((logits.argmax(1) == test.labels).double().mean())
        assert accuracy == pytest.approx(recorded.id_accuracy, abs=5e-3)


def test_the_weights_of_the_embedded_track_stay_small():
    files = {w.file for name in SHIPPED for w in CATALOG.detector_spec(name, "digits").weights}
    paths = [CATALOG.weights_path(file) for file in files]
    assert sum(path.stat().st_size for path in paths if path) < 11_000_000
    assert all(isinstance(path, Path) for path in paths)


def test_every_shipped_weights_file_is_pinned_by_its_card():
    for name in SHIPPED + VARIANTS:
        assert all(w.sha256 for w in CATALOG.detector_spec(name, "digits").weights)
