"""What a baseline records of real cells, and that it asks for the same cells again."""

import pytest

from bench.cards.threat import Side
from bench.errors import UsageError
from bench.leaderboards.baseline import Figure
from bench.leaderboards.recording import record, recorded_cells, without_members
from bench.leaderboards.replay import current_cells, replay

KINDS = {
    "evade": ("net", "fgm", {}),
    "alarm": ("net", "noise", {"side": "alarm"}),
    "both": ("net", "noise", {"side": "both"}),
    "without early stop": ("net", "fgm", {"early_stop": False}),
    "other parameters": ("net", "pgd", {"overrides": {"steps": 3, "restarts": 2}}),
    "another seed": ("net", "noise", {"seed": 7, "limit": 20}),
    "worst case": ("halves", "worst", {"side": "alarm"}),
    "fool": ("labelled", "fooling", {"side": "fool", "loss": "ce", "overrides": {"steps": 2}}),
    "fool by class": ("by-class", "fooling", {"side": "fool", "goal": "misclassify-and-accept"}),
    "fool at any radius": ("labelled", "nearest", {"side": "fool"}),
}


@pytest.fixture(params=KINDS)
def asked(request):
    """(detector, threat, options) of a plan."""
    detector, threat, options = KINDS[request.param]
    return detector, threat, {"micro_batch": None, **options}


def test_what_is_recorded_is_asked_for_again_as_the_same_cells(asked, cells, planned, catalog):
    detector, threat, options = asked
    ran = cells(detector, threat, **options)
    again = replay(record(ran, catalog).cells, catalog)
    assert again.reasons == {}
    assert set(again.keys.values()) == {cell.key for cell in planned(detector, threat, **options)}


def test_the_figure_is_the_one_of_the_table(asked, cells):
    detector, threat, options = asked
    for cell in cells(detector, threat, **options):
        for found in recorded_cells(cell):
            if found.figure is Figure.AUROC:
                assert (found.value, found.se) == (cell.meta.mean.auroc, pytest.approx(cell.meta.mean.se, abs=1e-12))
                continue
            (at,) = [at for at in cell.meta.fool.curve if at.eps == found.identity.eps]
            lost = at.undetected if found.identity.goal == "misclassify-and-accept" else at.misclassified
            assert found.value == pytest.approx((1 - lost) * cell.meta.fool.attacked / cell.meta.fool.n)


def test_an_outcome_that_is_counted_at_several_radii_is_recorded_at_each(cells):
    attacked = cells("labelled", "nearest", "0.3,1,4", side="fool")[1]
    assert [cell.identity.eps for cell in recorded_cells(attacked)] == [0.3, 1.0, 4.0]


def test_paths_between_images_have_no_scores_to_record(cells):
    attacked = cells("net", "fgm")[1]
    walked = type(attacked)(attacked.meta.model_copy(update={"side": Side.BETWEEN}), attacked.samples)
    with pytest.raises(UsageError, match="no scores to compare"):
        record([walked])


def test_members_of_a_worst_case_do_not_stand_in_for_cells_that_were_asked_for(cells):
    asked, member = cells("net", "fgm")[1], cells("net", "fgm", early_stop=False)[1]
    worst = type(asked)(
        asked.meta.model_copy(update={"threat": "worst", "key": "0" * 64, "needs": (member.meta.key,)}), asked.samples
    )
    kept = without_members([asked, member, worst])
    assert [cell.meta.key for cell in kept] == [asked.meta.key, worst.meta.key]
    assert [cell.meta.key for cell in without_members([member, worst])] == [member.meta.key, worst.meta.key]


def test_cells_of_a_run_are_found_by_what_they_are(cells):
    before, later = cells("net", "fgm"), cells("net", "fgm", early_stop=False)
    recorded = record(before).cells
    found = current_cells([*later, *cells("ties", "fgm")], recorded)
    assert list(found) == [cell.identity for cell in recorded]
    assert not found[recorded[1].identity].provenance.early_stop
    with pytest.raises(UsageError, match="holds 2 cells of net x fgm l2"):
        current_cells([*later, before[1]], recorded)


def test_of_several_things_that_cannot_be_recorded_the_first_is_named(cells):
    attacked = cells("net", "fgm")[1]
    meta = attacked.meta.model_copy(update={"detector": "two\nlines", "threat": "no/name", "seed": -1})
    with pytest.raises(UsageError) as error:
        record([type(attacked)(meta, attacked.samples)])
    said = str(error.value)
    assert "cannot be recorded: detector: String should match pattern" in said
    assert "threat:" not in said and "seed" not in said
