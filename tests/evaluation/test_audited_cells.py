"""Cells whose images get the whole budget only as far as an audit shows that to be needed."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_workspace import MANY

from bench.cards.base import content_hash
from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.datasets.base import ImageSet
from bench.errors import UsageError
from bench.evaluation.auditing import Audit, audited_rows, first_that_ends
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.pieces import Share
from bench.evaluation.plan import plan
from bench.evaluation.planned import Part, Wave
from bench.evaluation.spending import ROUNDS, Evidence, cheaper_forms
from bench.evaluation.store import MemoryStore
from bench.evaluation.waves import _batch
from bench.evaluation.workbench import Workbench

LOOSE, STRICT = Evidence(tolerance=0.1), Evidence(tolerance=1e-12)
DIFFERS = 5  # a seed with which the whole budget finds more than the cheaper forms on an audited image


@pytest.fixture
def catalog(write_world):
    return Catalog(write_world(**MANY))


def one(catalog, detector="net", threat="costly", **options):
    options.setdefault("micro_batch", 16)
    return plan(catalog, [detector], [threat], None, ["tiny"], **options)


@pytest.fixture
def cell(catalog):
    def run(*names, **options):
        store = MemoryStore()
        for outcome in run_plan(one(catalog, *names, **options), store, catalog):
            assert isinstance(outcome, CellDone), outcome.sentence
        return store.get(outcome.planned.key)

    return run


def attacked(found, side="evade"):
    names = ["test"] if side == "alarm" else ["near", "far", "noise"]
    return pd.concat([found.samples[found.samples["set"] == name] for name in names], ignore_index=True)


@pytest.mark.parametrize("side", ["evade", "alarm"])
def test_audited_images_end_where_the_whole_budget_brings_them_and_the_others_where_the_form_does(cell, side):
    options = {"side": side, "early_stop": False}
    found, full = cell(evidence=LOOSE, **options), cell(**options)
    cheap = cell(overrides={"steps": 10, "restarts": 1}, **options)
    evidence = found.meta.evidence
    assert evidence is not None
    assert evidence.params == {"steps": 10, "restarts": 1}
    rows = {name: attacked(each, side) for name, each in (("found", found), ("full", full), ("cheap", cheap))}
    audited = rows["found"]["gradients"] > 10
    assert evidence.audited == audited.sum() == (7 if side == "alarm" else 21)  # the first round says enough
    for name, mine in (("full", audited), ("cheap", ~audited)):
        columns = ["id", "score", "norm", "status"]
        pd.testing.assert_frame_equal(rows["found"].loc[mine, columns], rows[name].loc[mine, columns])
    assert set(rows["found"].loc[audited, "gradients"]) == {200 + 10 + 40}  # and what the cheaper forms took
    assert evidence.full_gradients == 200 * len(audited)
    assert found.meta.gradients == rows["found"]["gradients"].sum()


@pytest.mark.parametrize("side", ["evade", "alarm"])
def test_what_the_whole_budget_comes_to_lies_in_the_interval_of_the_audit(cell, side):
    found, full = cell(evidence=LOOSE, side=side).meta, cell(side=side).meta
    assert set(found.evidence.sets) == set(full.sets)
    for name, figures in full.sets.items():
        estimate = found.evidence.sets[name]
        assert estimate.low <= figures.auroc <= estimate.high
        assert found.sets[name].low <= full.sets[name].low + 1e-3
        assert found.sets[name].low <= found.sets[name].auroc <= found.sets[name].high
    assert found.evidence.mean.low <= full.mean.auroc <= found.evidence.mean.high
    assert found.mean.se >= full.mean.se * 0.9


@pytest.mark.parametrize("early_stop", [True, False])
def test_where_no_form_agrees_every_image_gets_the_whole_budget(cell, early_stop):
    options = {"early_stop": early_stop, "seed": DIFFERS}
    found, full = cell(evidence=STRICT, **options), cell(**options)
    assert found.meta.evidence.params == {}
    assert (found.meta.evidence.sets, found.meta.evidence.mean) == ({}, None)
    pd.testing.assert_frame_equal(
        found.samples.drop(columns=["gradients", "queries"]), full.samples.drop(columns=["gradients", "queries"])
    )
    assert found.meta.mean == full.meta.mean
    assert found.meta.evidence.full_gradients == full.meta.gradients < found.meta.gradients
    for name, values in full.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


@pytest.mark.parametrize("evidence", [LOOSE, STRICT])
@pytest.mark.parametrize("side", ["evade", "alarm"])
def test_a_cell_is_the_same_bits_in_how_many_parts_its_waves_are_cut(catalog, cell, evidence, side):
    whole = cell(evidence=evidence, side=side, seed=DIFFERS)
    planned = one(catalog, evidence=evidence, side=side, seed=DIFFERS)[-1]
    bench, count = Workbench(catalog, MemoryStore()), 3
    shares: list[Share] = []
    for wave, number in (*((Wave.AUDIT, number) for number in range(ROUNDS)), (Wave.REST, 0)):
        earlier = tuple(shares)
        shares += [
            bench.share(planned, Part(worker, count, wave, number), lambda *_: None, earlier) for worker in (2, 0, 1)
        ]
    cut = bench.compute(planned, lambda *_: None, shares)
    pd.testing.assert_frame_equal(whole.samples, cut.samples, check_exact=True)
    assert whole.meta.model_copy(update={"seconds": 0.0}) == cut.meta.model_copy(update={"seconds": 0.0})
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(values, cut.arrays[name], err_msg=name)


@pytest.mark.parametrize(
    ("detector", "threat", "options"),
    [
        ("net", "costly", {"side": "both"}),
        ("labelled", "costly", {"side": "fool"}),
        ("net", "noise", {}),
        ("net", "worst", {}),
        ("net", "costly", {"overrides": {"steps": 12, "restarts": 2}}),
    ],
)
def test_a_cell_that_cannot_be_spared_has_the_key_of_one_without_evidence(catalog, detector, threat, options):
    spared = one(catalog, detector, threat, evidence=LOOSE, **options)
    assert [cell.key for cell in spared] == [cell.key for cell in one(catalog, detector, threat, **options)]
    assert spared[-1].ingredients.evidence is None
    assert all(need.ingredients.evidence is None for need in spared[-1].needs)


def test_evidence_is_part_of_the_key_and_the_clean_cell_is_that_of_all(catalog):
    plain, spared, other = (one(catalog, evidence=given) for given in (None, LOOSE, replace(LOOSE, audit=0.2)))
    assert len({plain[1].key, spared[1].key, other[1].key}) == 3
    assert plain[0].key == spared[0].key == other[0].key


@pytest.mark.parametrize("limit", [50, 59])
def test_of_few_images_all_get_the_whole_budget(cell, limit):
    found = cell(evidence=LOOSE, limit=limit)
    assert found.meta.evidence is None
    assert found.meta.mean == cell(limit=limit).meta.mean


def test_few_images_that_all_get_the_whole_budget_are_cut_like_others(catalog, cell):
    planned = one(catalog, evidence=LOOSE, limit=50)[-1]
    assert planned.ingredients.evidence == LOOSE  # whether an audit spares anything shows with the images
    bench, shares = Workbench(catalog, MemoryStore()), []
    for wave, number in (*((Wave.AUDIT, number) for number in range(ROUNDS)), (Wave.REST, 0)):
        earlier = tuple(shares)
        shares += [bench.share(planned, Part(part, 2, wave, number), lambda *_: None, earlier) for part in (0, 1)]
    cut = bench.compute(planned, lambda *_: None, shares)
    pd.testing.assert_frame_equal(cell(evidence=LOOSE, limit=50).samples, cut.samples, check_exact=True)


def test_a_random_detector_is_spared_nothing(cell):
    assert cell("random", evidence=LOOSE).meta.evidence is None


def test_progress_of_a_cell_with_an_audit_goes_on(catalog, monkeypatch):
    from bench.evaluation import attacked_sets

    monkeypatch.setattr(attacked_sets, "_SECONDS_BETWEEN_FIGURES", 0.0)
    heard = []
    cells = one(catalog, evidence=LOOSE)
    list(run_plan(cells, MemoryStore(), catalog, progress=lambda cell, share, auroc: heard.append((share, auroc))))
    shares = [share for share, auroc in heard if auroc is not None]
    assert shares == sorted(shares)
    assert 0.0 < shares[0] < 0.3
    assert shares[-1] == pytest.approx(1.0)


def sets_of(*counts, first=0):
    found = {}
    for number, count in enumerate(counts):
        ids = torch.arange(first + 1000 * number, first + 1000 * number + count)
        images, labels = torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
        found[f"set{number}"] = ImageSet(f"set{number}", images, labels, ids, digest="")
    return found


def test_every_set_gives_its_share_of_the_audit_by_its_ids_and_the_seed():
    sets = sets_of(200, 90, 400)
    rows = audited_rows(sets, Evidence(audit=0.1), 0)
    assert [int(((rows >= a) & (rows < b)).sum()) for a, b in ((0, 200), (200, 290), (290, 690))] == [20, 20, 40]
    assert (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, audited_rows(sets, Evidence(audit=0.1), 1))
    alone = audited_rows({"set1": sets["set1"]}, Evidence(audit=0.1), 0)
    assert np.array_equal(alone + 200, rows[(rows >= 200) & (rows < 290)])


def test_a_longer_audit_holds_the_shorter_one():
    sets = sets_of(400)
    short, long = (set(audited_rows(sets, Evidence(audit=share), 5).tolist()) for share in (0.1, 0.3))
    assert short < long


@pytest.mark.parametrize(("images", "rounds"), [
    (5, (5, 5, 5)), (60, (7, 7, 20)), (200, (7, 7, 20)), (300, (7, 10, 30)), (1000, (12, 34, 100)),
])  # fmt: skip
def test_rounds_of_an_audit_grow_to_the_share_that_was_asked_for(images, rounds):
    assert tuple(Evidence().audited(images, number) for number in (1, 2, 3)) == rounds
    assert Evidence().audited(images) == rounds[-1]
    sets = sets_of(images)
    drawn = [set(audited_rows(sets, Evidence(), 0, number).tolist()) for number in (1, 2, 3)]
    assert drawn[0] <= drawn[1] <= drawn[2]
    assert tuple(map(len, drawn)) == rounds


def test_an_audit_ends_with_the_first_round_that_finds_a_form_or_with_the_last():
    full = np.full(40, 0.6)
    unsure, sure = (replace(audit(full, full - change), last=False) for change in (0.05, 0.0))
    given = iter([unsure, sure, unsure])
    assert first_that_ends(given) is sure
    assert next(given) is unsure  # rounds that nobody needs are not looked at
    assert first_that_ends([unsure, unsure]) is unsure
    assert not unsure.ended
    assert sure.ended
    assert replace(unsure, last=True).ended


def test_before_its_last_round_an_audit_must_be_surer():
    full = np.full(40, 0.6)
    uneven = full + 0.04 * np.tile([1.0, -1.0], 20)  # a mean of 0, and some error
    half = audit(full, uneven, tolerance=1e-9)._shift(0, ["a"]).half
    for last, most in ((True, 5), (False, 3)):
        for times, form in ((1.01, 0), (0.99, 1)):  # the tolerance itself is part of the error
            tolerance = times * half / (most**2 - 1) ** 0.5
            assert replace(audit(full, uneven, tolerance=tolerance), last=last).form() == form, (last, times)


@pytest.mark.parametrize(
    ("images", "batch"),
    [(0, 16), (1, 16), (32, 16), (33, 32), (42, 32), (64, 32), (65, 64), (120, 64), (129, 128), (1000, 128)],
)
def test_an_audit_goes_in_batches_that_two_processes_fill(images, batch):
    assert _batch(images, 128) == batch
    assert _batch(images, 8) == 8


@pytest.mark.parametrize(("tolerance", "asked"), [(0.1, [7] * 3), (1e-12, [20] * 3)])
def test_later_rounds_attack_nothing_where_an_earlier_one_ended_the_audit(catalog, tolerance, asked):
    planned = one(catalog, evidence=Evidence(tolerance=tolerance), seed=DIFFERS)[-1]
    bench, shares = Workbench(catalog, MemoryStore()), []
    for number in range(ROUNDS):
        shares.append(bench.share(planned, Part(0, 1, Wave.AUDIT, number), lambda *_: None, tuple(shares)))
    rows = np.concatenate([p.rows for share in shares for p in share.pieces[Side.EVADE] if p.form == 2])
    assert len(rows) == len(set(rows.tolist())) == sum(asked)


def audit(full, *cheaper, tolerance=0.01, counting=("a",)):
    return Audit(
        side=Side.EVADE,
        places={"a": slice(0, 100), "b": slice(100, 200)},
        rows=np.arange(0, 200, 5),
        full=np.asarray(full),
        cheaper=[np.asarray(scores) for scores in cheaper],
        opponents={name: np.linspace(0.0, 1.0, 101) for name in ("a", "b")},
        counting=counting,
        evidence=Evidence(tolerance=tolerance),
    )


def test_the_cheapest_form_within_the_tolerance_is_chosen():
    full = np.full(40, 0.6)
    far, near, same = full - 0.05, full - 0.005, full.copy()
    assert audit(full, far, near, same).form() == 1
    assert audit(full, far, near, same, tolerance=1e-3).form() == 2
    assert audit(full, far, far).form() == 2


def test_a_set_that_does_not_count_is_heard_too():
    full = np.full(40, 0.6)
    of_b = full - 0.05 * (np.arange(40) >= 20)
    assert audit(full, of_b).form() == 1
    assert audit(full, full, of_b).form() == 0


def test_a_few_large_changes_say_too_little_to_spare_anything():
    full = np.full(40, 0.6)
    one_large, even = full.copy(), full - 0.01
    one_large[3] -= 0.19  # a mean of 0.0095 over the 20 audited images of the set that counts, and an error as large
    assert audit(full, even, tolerance=0.0101).form() == 0
    assert audit(full, one_large, tolerance=0.0101).form() == 0
    assert audit(full, one_large / 4 + full * 3 / 4, tolerance=0.0025).form() == 0
    assert audit(full, one_large, full, tolerance=0.002).form() == 2  # what one form missed, another may
    assert audit(full, even, full, tolerance=0.002).form() == 1


@pytest.mark.parametrize(("steps", "restarts", "expected"), [
    (100, 5, [(10, 1), (20, 2), (20, 5)]), (1000, 5, [(10, 1), (20, 2), (20, 5), (50, 5)]), (40, 5, [(10, 1), (20, 2)]),
    (100, 1, [(10, 1)]), (39, 1, []), (20, 1, []),
])  # fmt: skip
def test_forms_spend_at_most_a_quarter_of_the_whole_budget(steps, restarts, expected):
    found = cheaper_forms({"steps": steps, "restarts": restarts})
    assert [(form["steps"], form["restarts"]) for form in found] == expected


@pytest.mark.parametrize("given", [{"steps": 100}, {"restarts": 5}, {"steps": "many", "restarts": 5}, {}])
def test_threats_without_steps_and_restarts_have_no_cheaper_forms(given):
    assert cheaper_forms(given) == ()


@pytest.mark.parametrize(("given", "words"), [
    ({"tolerance": 0.0}, "tolerance is 0;"), ({"tolerance": 0.2}, "at most 0.1"), ({"audit": 0.0}, "audit is 0;"),
    ({"audit": 1.5}, "audit is 1.5;"), ({"tolerance": float("nan")}, "tolerance is nan;"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused_in_a_sentence(given, words):
    with pytest.raises(UsageError, match=words):
        Evidence(**given)


def test_a_cell_without_an_audit_has_the_key_that_it_had_before_there_were_audits(catalog):
    asked = one(catalog)[-1].ingredients
    content = {
        name: value for name, value in asdict(asked).items() if name not in ("evidence", "search_precision", "nested")
    }
    assert asked.key(layout=3, version="0.1") == content_hash({"format": 3, "version": "0.1", **content})
