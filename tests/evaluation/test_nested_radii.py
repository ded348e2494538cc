"""Radii of a sweep of which the larger ones go on from the best points of the smaller ones."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_workspace import MANY

from bench.cards.catalog import Catalog
from bench.cards.threat import Norm, Side
from bench.errors import CellError, UsageError
from bench.evaluation import attacked_sets
from bench.evaluation.auditing import audited_rows
from bench.evaluation.crafting import craft
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.nesting import Points
from bench.evaluation.pieces import Share
from bench.evaluation.plan import plan
from bench.evaluation.planned import Part, Wave
from bench.evaluation.spending import Evidence
from bench.evaluation.store import MemoryStore
from bench.evaluation.workbench import Workbench
from bench.leaderboards.recording import record
from bench.report.table import _label
from bench.testing.threats import QuadraticScore, images
from bench.threat_models.base import Budget, Context
from bench.threat_models.pgd import PGD, PGDParams

RADII = "0.1,0.3,0.6"
LOOSE, STRICT = Evidence(tolerance=0.1), Evidence(tolerance=1e-12)


@pytest.fixture
def catalog(write_world):
    return Catalog(write_world(**MANY))


def asked(catalog, eps=RADII, threat="costly", nested=True, **options):
    options.setdefault("micro_batch", 16)
    return plan(catalog, ["net"], [threat], eps, ["tiny"], nested=nested, **options)


@pytest.fixture
def sweep(catalog):
    def run(*args, store=None, **options):
        """The cells of the attacks, by radius."""
        kept = MemoryStore() if store is None else store
        outcomes = list(run_plan(asked(catalog, *args, **options), kept, catalog))
        assert all(isinstance(outcome, CellDone) for outcome in outcomes), outcomes
        return {done.meta.eps: kept.get(done.meta.key) for done in outcomes if done.planned.attacks}

    return run


def gained(smaller, larger, side):
    """By how much the attacker has more at the larger radius, image by image."""
    return (larger.samples["score"] - smaller.samples["score"]) * (-1 if side == "alarm" else 1)


@pytest.mark.parametrize(
    ("side", "evidence", "early_stop"),
    [("evade", LOOSE, True), ("alarm", LOOSE, False), ("alarm", None, True), ("evade", STRICT, False)],
)
def test_no_image_is_harder_to_attack_at_a_larger_radius_and_the_curve_falls(sweep, side, evidence, early_stop):
    cells = list(sweep(side=side, evidence=evidence, early_stop=early_stop).values())
    for smaller, larger in itertools.pairwise(cells):
        assert gained(smaller, larger, side).min() >= 0
        assert larger.meta.mean.auroc <= smaller.meta.mean.auroc
        assert (larger.samples["norm"] <= larger.meta.eps * (1 + 1e-5)).all()


@pytest.mark.parametrize("side", ["evade", "alarm"])
def test_with_the_whole_budget_a_radius_ends_no_worse_than_alone(sweep, side):
    options = {"side": side, "early_stop": False}
    nested, alone = sweep(**options), sweep(nested=False, **options)
    for eps, cell in nested.items():
        assert gained(alone[eps], cell, side).min() >= 0
        assert (cell.samples["gradients"] == alone[eps].samples["gradients"]).all()


def test_the_smallest_radius_is_attacked_as_if_it_were_alone(sweep):
    nested, alone = sweep(evidence=LOOSE)[0.1], sweep(evidence=LOOSE, nested=False)[0.1]
    pd.testing.assert_frame_equal(nested.samples, alone.samples)
    assert (nested.meta.mean, nested.meta.evidence) == (alone.meta.mean, alone.meta.evidence)
    assert nested.meta.key != alone.meta.key
    assert (nested.meta.nested, alone.meta.nested) == (True, False)


def test_keys_say_what_a_cell_goes_on_from_in_whatever_order_radii_are_given(catalog):
    cells = asked(catalog)
    assert [cell.key for cell in asked(catalog, "0.6,0.1,0.3")] == [cell.key for cell in cells]
    assert [cell.ingredients.needs for cell in cells[1:]] == [(), (cells[1].key,), (cells[2].key,)]
    other = asked(catalog, "0.2,0.3,0.6")
    assert not {cell.key for cell in other[1:]} & {cell.key for cell in cells}
    longer = asked(catalog, "0.1,0.3,0.6,0.9")
    assert [cell.key for cell in longer[:4]] == [cell.key for cell in cells]


@pytest.mark.parametrize(
    ("threat", "eps", "options"),
    [
        ("costly", "0.3", {}),
        ("noise", RADII, {}),
        ("worst", RADII, {}),
        ("transferred", RADII, {}),
        ("costly", RADII, {"side": "both"}),
        ("costly", RADII, {"side": "fool"}),
    ],
)
def test_what_cannot_be_nested_has_the_key_of_what_is_not(catalog, threat, eps, options):
    plain = asked(catalog, eps, threat, nested=False, **options)
    assert [cell.key for cell in asked(catalog, eps, threat, **options)] == [cell.key for cell in plain]


@pytest.mark.parametrize(
    ("sides", "nested"),
    [(["evade"], True), (["alarm", "fool"], True), (["fool", "evade"], False), (["both", "alarm"], False)],
)
def test_where_no_side_is_asked_for_the_first_of_the_card_says_whether_radii_are_nested(write_world, sides, nested):
    root = write_world(**MANY)
    card = yaml.safe_load((root / "threat_models/costly.yaml").read_text())
    (root / "threat_models/costly.yaml").write_text(yaml.safe_dump({**card, "sides": sides}))
    cells = [cell for cell in asked(Catalog(root)) if cell.attacks]
    assert {cell.ingredients.side for cell in cells} == {Side(sides[0])}
    assert [bool(cell.ingredients.nested) for cell in cells] == [nested] * 3


@pytest.mark.parametrize(("side", "evidence"), [("evade", LOOSE), ("alarm", STRICT)])
def test_a_nested_cell_is_the_same_bits_in_however_many_parts(catalog, sweep, evidence, side):
    store = MemoryStore()
    whole = sweep(store=store, evidence=evidence, side=side)
    planned = asked(catalog, evidence=evidence, side=side)[-1]
    bench, shares = Workbench(catalog, store), []
    for wave in (Wave.AUDIT, Wave.REST):
        earlier: tuple[Share, ...] = tuple(shares)
        shares += [
            bench.share(planned, Part(number, 3, wave), lambda *_: None, earlier if wave is Wave.REST else ())
            for number in (1, 2, 0)
        ]
    cut = Workbench(catalog, store).compute(planned, lambda *_: None, shares)
    pd.testing.assert_frame_equal(whole[0.6].samples, cut.samples, check_exact=True)
    for name, values in whole[0.6].arrays.items():
        np.testing.assert_array_equal(values, cut.arrays[name], err_msg=name)


def _images(catalog):
    planned = asked(catalog)[-1]
    return Workbench(catalog, MemoryStore()).images(planned)


def test_a_sweep_that_was_interrupted_goes_on_from_what_is_stored(catalog, sweep):
    whole, store = sweep(evidence=LOOSE), MemoryStore()
    for _ in zip(run_plan(asked(catalog, evidence=LOOSE), store, catalog), range(2), strict=False):
        pass
    for eps, cell in sweep(store=store, evidence=LOOSE).items():
        pd.testing.assert_frame_equal(cell.samples, whole[eps].samples, check_exact=True)


def test_cheaper_forms_are_audited_from_the_points_that_other_images_go_on_from(catalog, sweep):
    cells = sweep(evidence=LOOSE, early_stop=False)
    first, images = cells[0.1], _images(catalog)
    assert first.meta.evidence.params == {"steps": 10, "restarts": 1}
    cheap = sweep(nested=False, overrides={"steps": 10, "restarts": 1}, early_stop=False)[0.1]
    points = Points.of(first, images)
    rows = audited_rows(images.ood, LOOSE, 0)
    everyone = np.arange(sum(map(len, images.ood.values())))
    plain = points.at(list(images.ood), everyone, full=False)
    np.testing.assert_array_equal(plain, cheap.arrays["images"])
    best = points.at(list(images.ood), everyone, full=True)
    np.testing.assert_array_equal(best, first.arrays["images"])
    differ = np.flatnonzero((best != plain).reshape(len(best), -1).any(axis=1))
    assert set(differ) <= set(rows) and len(differ) > 0


def test_a_radius_whose_smaller_one_failed_is_attacked_without_it_and_says_so(catalog, sweep):
    first, second = asked(catalog, "0.1,0.3")[1:]
    bench, alone = Workbench(catalog, MemoryStore()), sweep(nested=False, eps="0.3")[0.3]
    bench.failed[first.key] = CellError("a score is not finite.")
    found = bench.compute(second, lambda *_: None)
    pd.testing.assert_frame_equal(found.samples, alone.samples)
    assert found.meta.needs == () and found.meta.key not in (second.key, alone.meta.key)
    assert list(found.meta.failed_needs) == [first.label]


def test_a_cell_names_the_radius_that_it_goes_on_from(sweep):
    cells = sweep()
    assert not any("goes on from" in note for note in cells[0.1].meta.notes)
    assert "the attack goes on from the best points at radius 0.3." in cells[0.6].meta.notes


def test_an_image_that_is_bad_at_a_smaller_radius_counts_for_nothing_and_spoils_no_other(catalog, sweep):
    store = MemoryStore()
    whole = sweep(store=store, early_stop=False)
    cell = whole[0.3]
    images = cell.arrays["images"].copy()
    images[4], images[5] = np.nan, 2.0
    store.put(replace(cell, arrays={**cell.arrays, "images": images}))
    found = Workbench(catalog, store).compute(asked(catalog, early_stop=False)[-1], lambda *_: None)
    rows = np.delete(np.arange(len(found.samples)), cell.arrays["image_rows"][[4, 5]])
    pd.testing.assert_frame_equal(found.samples.iloc[rows], whole[0.6].samples.iloc[rows], check_exact=True)
    assert np.isfinite(found.samples["score"]).all()


def test_nested_cells_enter_no_baseline_and_say_so(sweep):
    with pytest.raises(UsageError, match="goes with those of other radii"):
        record([sweep()[0.6]])


def test_a_table_tells_nested_cells_from_those_that_stand_for_themselves(sweep):
    metas = [sweep(nested=nested)[0.6].meta for nested in (True, False)]
    assert [_label(meta, metas) for meta in metas] == ["net nested", "net"]


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
def test_a_point_that_is_known_counts_where_an_attack_finds_less_and_one_outside_the_ball_does_not(side):
    detector, (x, ids) = QuadraticScore(), images()
    context = Context(side, micro_batch=4)
    strong, weak = (PGD(PGDParams(steps=10, restarts=1, step_size=size)) for size in (2.0, 1e-6))
    known = strong.run(detector, x, ids=ids, budget=Budget(Norm.L2, 0.2), context=context).images
    known[0] = 1.0 - x[0].round()
    with torch.no_grad():
        clean, scores = detector.score(x).numpy(), detector.score(known).numpy()
    found = craft(
        detector, weak, x, clean, ids=ids, budget=Budget(Norm.L2, 0.5), context=context, earlier=known.clone()
    )
    np.testing.assert_array_equal(found.scores[1:], scores[1:])
    assert torch.equal(found.images[1:], known[1:])
    assert found.norm[0] < 1e-3 and not torch.equal(found.images[0], known[0])


def test_cheaper_forms_set_out_from_the_points_and_the_full_budget_from_the_clean_images(catalog, sweep, monkeypatch):
    store, seen = MemoryStore(), set()
    smaller = sweep(store=store, evidence=LOOSE, early_stop=False)[0.3]
    points = Points.of(smaller, _images(catalog))
    differ = [name for name in points.best if not np.array_equal(points.best[name], points.plain[name])]
    assert differ

    def crafted(detector, threat, *args, context, earlier, **options):
        seen.add((threat.params.steps, threat.params.restarts, context.onward))
        return craft(detector, threat, *args, context=context, earlier=earlier, **options)

    monkeypatch.setattr(attacked_sets, "craft", crafted)
    Workbench(catalog, store).compute(asked(catalog, evidence=LOOSE, early_stop=False)[-1], lambda *_: None)
    assert {onward for steps, restarts, onward in seen if (steps, restarts) == (40, 5)} == {False}
    assert {onward for steps, restarts, onward in seen if (steps, restarts) != (40, 5)} == {True}
