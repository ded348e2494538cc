"""What stored cells say about each other and themselves, without a detector at hand."""

import numpy as np
import pytest
from soundness_cases import COUNT, cell

from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.soundness.stored import Role, role_of, stored_checks
from bench.soundness.verdicts import Finding, Verdict
from bench.soundness.view import views

CARDS = Catalog(None)


def findings(*cells, of: str = "a") -> dict[tuple[str, Side | None], Finding]:
    return {(f.check, f.side): f for f in stored_checks(cells, CARDS)[of * 64].findings}


def verdict(check: str, *cells, side: Side | None = Side.EVADE) -> Verdict | None:
    found = findings(*cells).get((check, side))
    return None if found is None else found.verdict


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("pgd-l2", Role.ITERATED), ("apgd-linf", Role.ITERATED), ("fgsm", Role.ONE_STEP), ("noise-l2", Role.NOISE),
        ("square-l2", Role.BLACK_BOX), ("interpolation-linf", Role.BLACK_BOX), ("transfer-l2", Role.TRANSFER),
        ("clean", Role.NONE), ("auto-l2", Role.NONE), ("boundary-l2", Role.NONE), ("interpolation", Role.NONE),
    ],
)  # fmt: skip
def test_what_a_threat_is_to_the_checks_follows_from_its_card(name, role):
    assert role_of(CARDS.threat(name)) is role


def test_a_clean_cell_has_nothing_to_check():
    assert stored_checks([cell(threat="clean", statuses={})], CARDS) == {}


@pytest.mark.parametrize("side", [Side.FOOL, Side.BETWEEN])
def test_sides_on_which_no_score_is_attacked_have_nothing_to_check(side):
    assert views(cell(side=side)) == []


def test_on_side_both_each_side_is_checked_by_itself():
    found = findings(cell(side=Side.BOTH))
    for check in ("D2", "D13", "D14", "D16"):
        assert {side for name, side in found if name == check} == {Side.EVADE, Side.ALARM}


@pytest.mark.parametrize(
    ("status", "expected"), [("no-gradient", Verdict.FAIL), ("non-finite", Verdict.FAIL), ("stopped", Verdict.PASS)]
)
def test_statuses_say_whether_there_was_a_gradient(status, expected):
    assert verdict("D2", cell(samples={"status": [""] * COUNT + [status] * COUNT})) is expected


@pytest.mark.parametrize(
    ("check", "threat"), [("D4", "noise-l2"), ("D10", "fgm-l2"), ("D11", "square-l2"), ("D12", "transfer-l2")]
)
def test_a_stored_cell_of_another_attack_fails_the_one_that_it_beats(check, threat):
    assert verdict(check, cell(0.1), cell(0.9, threat=threat, key="b")) is Verdict.FAIL
    assert verdict(check, cell(0.9), cell(0.1, threat=threat, key="b")) is Verdict.PASS
    assert verdict(check, cell(0.1)) is None


def test_the_cell_that_says_most_against_an_attack_counts():
    rivals = [cell(0.1, threat="square-l2", key="b"), cell(0.9, threat="interpolation-l2", key="c")]
    assert verdict("D11", cell(0.5), *rivals) is Verdict.FAIL
    assert verdict("D11", cell(0.5), *rivals[::-1]) is Verdict.FAIL


@pytest.mark.parametrize(
    "other", [{"eps": 2.0}, {"seed": 1}, {"limit": 30}, {"detector": "energy"}, {"track": "mnist"}], ids=str
)
def test_cells_of_other_images_detectors_or_radii_are_not_compared_with(other):
    assert verdict("D4", cell(0.1), cell(0.9, threat="noise-l2", key="b", **other)) is None


def test_a_cell_of_both_sides_is_compared_with_one_of_one_side_on_that_side():
    found = findings(cell(0.1, side=Side.BOTH), cell(0.9, threat="noise-l2", key="b"))
    assert found["D4", Side.EVADE].verdict is Verdict.FAIL
    assert ("D4", Side.ALARM) not in found


def test_a_sweep_whose_auroc_rises_with_eps_fails_every_cell_of_it():
    sweep = [cell(0.9, eps=0.5), cell(0.1, eps=1.0, key="b")]
    assert verdict("D5", *sweep) is Verdict.FAIL
    assert findings(*sweep, of="b")["D5", Side.EVADE].verdict is Verdict.FAIL


def test_cells_of_another_budget_are_no_part_of_a_sweep():
    assert verdict("D5", cell(0.9, eps=0.5), cell(0.1, eps=1.0, key="b", threat_hash="u")) is None


def test_traces_say_whether_the_gain_still_rises():
    clean = np.concatenate([np.linspace(0, 1, COUNT), np.linspace(0, 1, COUNT) - 1])
    straight = (clean[:, None] + np.linspace(0, 0.5, 20)[None, :]).astype(np.float32)
    assert verdict("D6", cell(arrays={"trace": straight})) is Verdict.WARN
    assert verdict("D6", cell(arrays={"trace": np.repeat(straight[:, -1:], 20, axis=1)})) is Verdict.PASS
    assert verdict("D6", cell()) is Verdict.SKIPPED


def test_kept_images_are_looked_at():
    images = np.full((2, 1, 2, 2), 0.5, np.float32)
    rows = np.array([COUNT, COUNT + 1])
    assert verdict("D16", cell(arrays={"images": images, "image_rows": rows})) is Verdict.PASS
    images[0, 0, 0, 0] = 1.5
    assert verdict("D16", cell(arrays={"images": images, "image_rows": rows})) is Verdict.FAIL


def test_a_norm_beyond_eps_fails():
    norms = np.concatenate([np.zeros(COUNT), np.full(COUNT, 1.1)])
    assert verdict("D16", cell(samples={"norm": norms})) is Verdict.FAIL


def test_last_iterates_are_told_of():
    assert findings(cell())["D13", Side.EVADE].verdict is Verdict.INFO


def test_a_card_whose_figures_are_missed_fails_at_the_tracks_own_limit_only():
    recorded = CARDS.detector_spec("msp", "digits").recorded.clean_auroc
    if recorded is None:
        pytest.skip("the card of msp records no clean AUROC")
    off = cell().meta.mean.model_copy(update={"clean_auroc": recorded - 0.1})
    limit = CARDS.track("digits").default_limit
    assert verdict("D19", cell(limit=limit, mean=off), side=None) is Verdict.FAIL
    assert verdict("D19", cell(limit=7, mean=off), side=None) is Verdict.SKIPPED


def test_an_attack_that_leaves_out_a_component_fails():
    assert verdict("D17", cell(), side=None) is Verdict.PASS
    assert verdict("D17", cell(leaves_out=("preprocessing",)), side=None) is Verdict.FAIL


def test_a_cell_of_other_images_does_not_end_the_comparison_with_those_after_it():
    other = cell(0.9, threat="square-l2", key="b", samples={"id": np.arange(2 * COUNT) + 5})
    assert verdict("D4", cell(), other, cell(0.9, threat="noise-l2", key="c")) is Verdict.FAIL


def test_a_threat_of_no_part_in_the_checks_has_a_role_that_says_so():
    assert role_of(CARDS.threat("cw-l2")) is Role.NONE


def test_each_side_has_the_score_at_which_its_own_attack_stopped():
    found = {
        view.side: view.target for view in views(cell(side=Side.BOTH, early_stop=True, stop_high=3.0, stop_low=-2.0))
    }
    assert found == {Side.EVADE: 3.0, Side.ALARM: -2.0}
