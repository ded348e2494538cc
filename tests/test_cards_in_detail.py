"""Cards found by name and made from names: each value that could be another one without an error."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.cards import threat_names
from bench.cards.catalog import Catalog
from bench.cards.detector_names import program_digest
from bench.cards.documents import Document
from bench.cards.errors import describe
from bench.cards.network import Base, RecordedSpec
from bench.errors import UsageError


def test_a_score_on_a_trained_detectors_network_has_its_files_and_of_its_figures_the_accuracy_alone():
    catalog = Catalog()
    trained = catalog.detector_spec("oe", "digits")
    assert trained.recorded.clean_auroc is not None and trained.training is not None
    recorded = RecordedSpec(id_accuracy=trained.recorded.id_accuracy)
    files = tuple(part.model_copy(update={"network_only": True}) for part in trained.weights)
    base = catalog.base("oe", "digits")
    assert base == Base("oe", False, trained.network, files, None, recorded, trained.micro_batch)
    spec = catalog.detector_spec("energy@oe", "digits")
    assert (spec.name, spec.recorded, spec.training) == ("energy@oe", recorded, None)
    assert all(part.network_only for part in base.weights) and not any(part.network_only for part in trained.weights)


def test_all_scores_is_a_word_for_detectors_alone():
    catalog = Catalog()
    assert "energy" in catalog.expand("detector", "all-scores")
    for kind in ("threat", "track", "network"):
        with pytest.raises(UsageError, match=f"unknown {kind} 'all-scores'"):
            catalog.expand(kind, "all-scores")


def test_a_programs_digest_is_that_of_its_bytes(tmp_path):
    (tmp_path / "m.pt2").write_bytes(b"one")
    assert program_digest(str(tmp_path / "m.pt2")) == hashlib.sha256(b"one").hexdigest()


def test_attacks_that_are_known_are_listed_in_their_order():
    assert str(threat_names.unknown_attack("lib", "zzz", ["Beta", "Alpha"])).endswith("known: Alpha, Beta.")
    near = threat_names.unknown_attack("lib", "Attack", ["Attack4", "Attack3", "Attack2", "Attack1"])
    assert str(near).count("Attack") == 4  # what was asked for, and three that are near it


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"here": {}, "there": {"url": 7}}, "there.url"),
        ({"here": {"url": 7}, "there": {"url": 8}}, "here.url"),
        ({"here": {}, "there": {}}, "there"),
    ],
)
def test_a_fault_is_placed_where_the_field_is_and_else_in_the_last_place_that_may_have_it(content, place):
    lines = {("here",): 1, ("there",): 3} | {(part, name): 2 for part in content for name in content[part]}
    with pytest.raises(ValidationError) as caught:
        RecordedSpec.model_validate({"id_accuracy": 2.0})
    (sentence,) = describe(
        _At(caught.value, ("url",)), RecordedSpec, Document(Path("c.yaml"), content, lines), [("here",), ("there",)]
    )
    assert f"field '{place}': given 2.0, allowed: less than or equal to 1" in sentence


class _At:
    """A pydantic error that lies elsewhere."""

    def __init__(self, error, loc):
        self._details = [{**detail, "loc": loc} for detail in error.errors()]

    def errors(self, **_):
        return self._details
