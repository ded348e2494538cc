"""A worst case is taken over the attacks that can be run; the others are named, and a failure is never passed over."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cli.app import app
from bench.errors import CellError, NotApplicableError, UsageError
from bench.evaluation.engine import CellDone, CellFailure, run_plan
from bench.evaluation.plan import plan
from bench.evaluation.store import MemoryStore

ALONE = {"threat": "pgd", "params": {"steps": 3, "restarts": 1}, "detectors": ["absent", "gone"]}


@pytest.fixture
def suite(catalog):
    """Writes a worst case of these members, the same on each side, beside threats that cannot be run."""

    def write(*members, sides=("evade", "alarm", "both", "fool"), **more):
        threats = {
            "stranded": {
                "method": "bench.threat_models.transfer:Transfer",
                "norm": "l2",
                "eps": [0.6],
                "knowledge": "scores",
                "source": ALONE,
                "sides": list(sides),
            },
            "of-stranded": {"norm": "l2", "eps": [0.6], "sides": list(sides), "members": dict.fromkeys(sides, members)},
            **more,
        }
        for name, card in threats.items():
            content = {"name": name, "summary": "a small one", "knowledge": "gradients", **card}
            path = catalog.workspace / f"threat_models/{name}.yaml"
            path.write_text(yaml.safe_dump(json.loads(json.dumps(content))))
        return Catalog(catalog.workspace)

    return write


def planned(cards, detector, threats, **options):
    return plan(cards, [detector], threats, options.pop("eps", "0.6"), ["tiny"], micro_batch=32, **options)


def run(cards, cells, store=None):
    return list(run_plan(cells, store or MemoryStore(), cards))


@pytest.mark.parametrize("side", ["evade", "alarm", "both", "fool"])
def test_a_transfer_attack_without_sources_leaves_the_suite_to_the_others_on_every_side(suite, side):
    cards = suite("fooling", "noise", "stranded")
    cells = planned(cards, "labelled", ["of-stranded"], side=side)
    done = run(cards, cells)[-1]
    assert isinstance(done, CellDone) and set(done.meta.members) == {"fooling", "noise"}
    assert (
        set(done.meta.left_out) == {"stranded"} and "none of them can be run on tiny" in done.meta.left_out["stranded"]
    )
    assert any("left out: stranded" in note for note in done.meta.notes)


@pytest.mark.parametrize("side", ["evade", "alarm", "both", "fool"])
def test_attacks_that_follow_gradients_are_left_out_where_there_are_none(suite, side):
    cards = suite("fooling", "noise")
    detector = "no-gradient"
    if side == "fool":  # noise is no attack on decisions that would find anything, but it can be run
        cards = suite("fooling", "noise", sides=("fool",))
    done = run(cards, planned(cards, detector, ["of-stranded"], side=side))[-1]
    assert isinstance(done, CellDone) and set(done.meta.members) == {"noise"}
    assert done.meta.left_out == {"fooling": "it follows gradients, and the detector has none"}


def test_a_plan_says_what_it_leaves_out_before_anything_is_run(suite):
    cell = planned(suite("fooling", "noise", "stranded"), "labelled", ["of-stranded"], side="evade")[-1]
    assert list(cell.left_out) == ["stranded"]
    assert "none of them can be run on tiny" in cell.left_out["stranded"]


def test_what_the_plan_left_out_is_said_once(suite, tmp_path):
    cards = suite("noise", "stranded")
    asked = [
        "--workspace",
        str(cards.workspace),
        "--track",
        "tiny",
        "--detector",
        "labelled",
        "--threat",
        "of-stranded",
    ]
    ran = CliRunner().invoke(app, ["run", *asked, "--eps", "0.6", "--out", str(tmp_path / "runs")])
    assert ran.exit_code == 0, ran.output
    assert ran.stderr.count("does without stranded") == 1


def test_a_suite_of_which_no_attack_applies_says_so_and_is_no_failure_of_the_harness(suite):
    cards = suite("fooling", sides=("fool",))
    done = run(cards, planned(cards, "net", ["of-stranded"], side="fool"))[-1]
    assert isinstance(done, CellFailure) and isinstance(done.error, NotApplicableError)
    assert "predicts no classes" in str(done.error) and "fooling" in str(done.error)


def test_a_suite_with_fewer_members_has_another_key_than_the_whole_one(suite, catalog):
    cards = suite("fooling", "noise", "stranded")
    reduced = planned(cards, "labelled", ["of-stranded"])[-1]
    there = {"source": {**ALONE, "detectors": ["net"]}}
    card = {"method": "bench.threat_models.transfer:Transfer", "norm": "l2", "eps": [0.6], "knowledge": "scores"}
    cards = suite(
        "fooling", "noise", "stranded", stranded={**card, **there, "sides": ["evade", "alarm", "both", "fool"]}
    )
    whole = planned(cards, "labelled", ["of-stranded"])[-1]
    assert not whole.left_out and whole.key != reduced.key
    assert whole.made_from(reduced.ingredients.needs).key == reduced.key


def test_one_threat_that_cannot_be_run_does_not_stop_the_others(suite):
    cards = suite("fooling")
    outcomes = run(cards, planned(cards, "net", ["pgd", "stranded", "noise"]))
    assert [type(one).__name__ for one in outcomes] == ["CellDone", "CellDone", "CellFailure", "CellDone"]
    assert isinstance(outcomes[2].error, NotApplicableError) and outcomes[2].usage


def test_a_request_of_which_nothing_can_be_run_is_refused_up_front(suite):
    cards = suite("stranded")
    for threats in (["stranded"], ["of-stranded"], ["stranded", "of-stranded"]):
        with pytest.raises(NotApplicableError, match="none of them can be run on tiny"):
            planned(cards, "net", threats)


def test_a_wrong_name_is_refused_up_front_beside_others(suite):
    cards = suite("stranded")
    with pytest.raises(UsageError, match="unknown threat 'pdg'"):
        planned(cards, "net", ["pgd", "pdg", "stranded"])


RAISING = {"method": "tiny_world:Rogue", "norm": "l2", "eps": [0.4], "params": {"how": "raise"}, "sides": ["evade"]}


def test_a_member_that_fails_is_named_and_its_suite_is_not_stored_as_the_whole_one(suite):
    cards, store = suite("fooling", "raising", sides=("evade",), raising=RAISING), MemoryStore()
    cells = planned(cards, "net", ["of-stranded"])
    done = run(cards, cells, store)[-1]
    assert isinstance(done, CellDone) and set(done.meta.members) == {"fooling"}
    assert "the rogue went home" in done.meta.failed_needs["raising"]
    assert done.meta.key != cells[-1].key and store.get(cells[-1].key) is None
    assert done.meta.needs == tuple(need.key for need in cells[-1].needs if need.threat.name == "fooling")


def test_what_failed_is_tried_again_and_then_the_suite_is_whole(suite, monkeypatch):
    cards, store = suite("fooling", "raising", sides=("evade",), raising=RAISING), MemoryStore()
    cells = planned(cards, "net", ["of-stranded"])
    first = run(cards, cells, store)[-1]
    again = run(cards, cells, store)[-1]
    assert again.meta == first.meta  # failed anew: the worst case over the rest is there already
    from tiny_world import Rogue

    attack = Rogue.attack

    def mended(self, *args, **more):
        return attack(self.__class__(self.params.model_copy(update={"how": "worse"})), *args, **more)

    monkeypatch.setattr(Rogue, "attack", mended)
    whole = run(cards, cells, store)[-1]
    assert whole.meta.key == cells[-1].key and not whole.meta.failed_needs
    assert set(whole.meta.members) == {"fooling", "raising"}


def test_a_source_that_fails_makes_another_transfer_cell_and_another_suite(suite, monkeypatch):
    card = {
        "method": "bench.threat_models.transfer:Transfer",
        "norm": "l2",
        "eps": [0.6],
        "knowledge": "scores",
        "source": {"threat": "pgd", "params": {"steps": 2, "restarts": 1}, "detectors": ["halves", "nan"]},
    }
    cards = suite("noise", "two-sources", sides=("evade",), **{"two-sources": card})
    cells = planned(cards, "net", ["two-sources", "of-stranded"])
    _, transfer, worst = run(cards, cells)
    assert set(transfer.meta.failed_needs) == {"nan"} and transfer.meta.key != cells[1].key
    assert set(worst.meta.failed_needs) == {"two-sources"} and worst.meta.key != cells[2].key
    assert set(worst.meta.members) == {"noise", "two-sources"} and transfer.meta.key in worst.meta.needs


def test_where_every_member_fails_the_suite_fails_with_all_reasons(suite):
    cards = suite("raising", sides=("evade",), raising=RAISING)
    done = run(cards, planned(cards, "net", ["of-stranded"]))[-1]
    assert isinstance(done, CellFailure) and isinstance(done.error, CellError) and not done.usage
    assert "the rogue went home" in str(done.error)


def test_the_sources_of_a_transfer_attack_do_not_depend_on_what_else_is_run(suite, catalog):
    card = {
        "method": "bench.threat_models.transfer:Transfer",
        "norm": "l2",
        "eps": [0.6],
        "knowledge": "scores",
        "source": {"threat": "pgd", "params": {"steps": 2, "restarts": 1}, "detectors": ["halves", "train"]},
    }
    cards = suite("noise", **{"from-trained": card})
    alone = planned(cards, "net", ["from-trained"])[-1]
    beside = plan(cards, ["net", "train-by-class"], ["from-trained"], "0.6", ["tiny"], micro_batch=32)
    assert [need.detector.name for need in alone.needs] == ["halves", "train"]
    assert alone.key in {cell.key for cell in beside}
