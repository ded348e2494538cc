"""Names with a ':' say what a detector wraps, and need no card file."""

import hashlib
import os
import time

import pytest

from bench.cards import detector_names
from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation.keys import code_hash


@pytest.fixture
def catalog(toy_cards, monkeypatch) -> Catalog:
    monkeypatch.chdir(toy_cards.root)
    toy_cards.with_network()
    toy_cards.card(
        "detectors/msp.yaml",
        """
        name: msp
        summary: a score on a network
        method: METHODS:Flat
        on_network: true
        """,
    )
    return Catalog(toy_cards.root, builtin=toy_cards.root)


def test_a_callable_has_settings_on_every_track(catalog):
    spec = catalog.detector_spec("callable:my.module:score", "toy")
    assert (spec.name, spec.params) == ("callable:my.module:score", {"target": "my.module:score"})
    assert spec.weights == () and not spec.fit_when_loaded


def test_a_file_is_known_by_its_content(catalog, toy_cards):
    (toy_cards.root / "m.pt2").write_bytes(b"one")
    before = catalog.detector_spec("file:m.pt2", "toy")
    assert before.params["sha256"] == hashlib.sha256(b"one").hexdigest()
    (toy_cards.root / "m.pt2").write_bytes(b"another")
    assert catalog.detector_spec("file:m.pt2", "toy").content_hash() != before.content_hash()


def test_a_library_score_stands_on_the_classifier_and_is_fitted_when_loaded(catalog, monkeypatch):
    monkeypatch.setattr(detector_names, "version", lambda name: "9.9")
    spec = catalog.detector_spec("pytorch-ood:KNN", "toy")
    own = catalog.detector_spec("msp", "toy")
    assert (spec.network, spec.weights) == (own.network, own.weights)
    assert spec.params == {"detector": "KNN", "version": "9.9"}
    assert spec.fit_when_loaded
    assert (spec.recorded.id_accuracy, spec.recorded.clean_auroc) == (0.9, None)


def test_another_version_of_the_library_is_another_cell(catalog, monkeypatch):
    hashes = set()
    for version in ("1.0", "1.1"):
        monkeypatch.setattr(detector_names, "version", lambda name, version=version: version)
        hashes.add(catalog.detector_spec("pytorch-ood:KNN", "toy").content_hash())
    assert len(hashes) == 2


def test_without_the_library_one_sentence_says_how_to_install_it(catalog, monkeypatch):
    def missing(name):
        raise detector_names.PackageNotFoundError(name)

    monkeypatch.setattr(detector_names, "version", missing)
    with pytest.raises(UsageError, match=r"install it with `pip install 'robustood\[adapters\]'`"):
        catalog.detector("pytorch-ood:KNN")


@pytest.mark.parametrize("place", ["workspace", "elsewhere"])
def test_the_source_of_a_callable_counts(place, catalog, toy_cards, tmp_path, monkeypatch):
    folder = toy_cards.root if place == "workspace" else tmp_path / "elsewhere"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    file = folder / f"scored_{place}.py"
    spec = catalog.detector_spec(f"callable:scored_{place}:score", "toy")
    threat = catalog.threat("shove")
    hashes = set()
    for number, text in enumerate(("a = 1", "a = 2")):
        file.write_text(text)
        os.utime(file, (time.time() + number, time.time() + number))
        hashes.add(code_hash(spec, threat, catalog.track("toy"), catalog.content_roots()))
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("foo:bar", "such names are pytorch-ood:DETECTOR"),
        (":bar", "such names are"),
        ("file:", "such names are"),
        ("callable:module", "write callable:package.module:function"),
        ("callable:a/b:c", "write callable:package.module:function"),
        ("file:absent.pt2", "No such file"),
        ("file:.", "cannot be read"),
        ("file:\x1b[2J", "such names are"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence(name, sentence, catalog):
    with pytest.raises(UsageError, match=sentence) as error:
        catalog.detector(name)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_file_above_the_size_limit_is_refused_unread(catalog, toy_cards, monkeypatch):
    (toy_cards.root / "large.pt2").write_bytes(b"12345")
    monkeypatch.setattr(detector_names, "SIZE_LIMIT", 4)
    with pytest.raises(UsageError, match="5 bytes; allowed are 4"):
        catalog.detector("file:large.pt2")
    monkeypatch.setattr(detector_names, "SIZE_LIMIT", 5)
    assert catalog.detector("file:large.pt2")[0].params["sha256"] == hashlib.sha256(b"12345").hexdigest()


def test_all_means_the_cards_and_signs_of_wildcards_are_letters_of_a_path(catalog, toy_cards):
    (toy_cards.root / "m[1].pt2").write_bytes(b"one")
    assert catalog.expand("detector", "all, file:m[1].pt2") == ["flat", "msp", "file:m[1].pt2"]
