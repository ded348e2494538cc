import math

import numpy as np
import pytest
import torch
from tiny_world import Net, NetParams

from bench.cards.threat import Norm, Side
from bench.errors import CellError, UsageError
from bench.evaluation.crafting import attempt_attack
from bench.evaluation.engine import CellDone, CellFailure, run_plan
from bench.evaluation.results import SAMPLE_COLUMNS
from bench.evaluation.store import MemoryStore, Store
from bench.evaluation.targets import MARGIN, stop_targets
from bench.metrics import auroc, iqr
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat


def rows(cell, name):
    return cell.samples[cell.samples["set"] == name]


def test_a_clean_cell_holds_every_set_and_its_figures(cells):
    (cell,) = cells("labelled", "clean")
    assert list(cell.samples.columns) == list(SAMPLE_COLUMNS)
    assert cell.samples["set"].value_counts().to_dict() == {
        "test": 60,
        "calibration": 40,
        "near": 30,
        "far": 30,
        "noise": 20,
    }
    assert cell.meta.sets["far"].auroc == auroc(rows(cell, "test")["score"], rows(cell, "far")["score"])
    assert cell.meta.mean.sets == ("near", "far")
    assert cell.meta.mean.auroc == pytest.approx((cell.meta.sets["near"].auroc + cell.meta.sets["far"].auroc) / 2)
    assert cell.meta.id_accuracy > 0.9
    assert cell.meta.sets["far"].ceiling is None
    assert cell.meta.gradients == 0


def test_an_evasion_lowers_auroc_and_touches_no_id_image(cells):
    clean, attacked, harder = cells("net", "pgd")
    assert harder.meta.mean.auroc < attacked.meta.mean.auroc < clean.meta.mean.auroc
    assert (rows(attacked, "test")["score"] == rows(clean, "test")["score"]).all()
    assert (rows(attacked, "near")["score"] >= rows(clean, "near")["score"]).all()
    assert (rows(attacked, "near")["norm"] <= 0.3 * (1 + 1e-5) + 2**-23).all()
    assert attacked.meta.stop_low is None
    assert attacked.meta.gradients == rows(attacked, "near")["gradients"].sum() + sum(
        rows(attacked, name)["gradients"].sum() for name in ("far", "noise")
    )


def test_an_alarm_lowers_the_scores_of_id_images_alone(cells):
    clean, attacked, _ = cells("net", "pgd", side="alarm")
    assert attacked.meta.mean.auroc < clean.meta.mean.auroc
    assert (rows(attacked, "test")["score"] <= rows(clean, "test")["score"]).all()
    assert (rows(attacked, "far")["score"] == rows(clean, "far")["score"]).all()
    assert attacked.meta.stop_high is None
    assert attacked.meta.mean.ceiling is None


def test_attacking_both_sides_is_worse_than_either(cells):
    both = cells("net", "pgd", "0.3", side="both")[1].meta.mean.auroc
    assert both < min(cells("net", "pgd", "0.3", side=side)[1].meta.mean.auroc for side in ("evade", "alarm"))


FIGURES = ("auroc", "se", "low", "high", "conservative_auroc", "aupr_in", "aupr_out", "fpr95", "detection_rate")


RADII = "0.3,3"  # one at which little stops early, one at which nearly all does


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM, Side.BOTH])
@pytest.mark.parametrize("detector", ["net", "ties", "inverted"])
def test_no_figure_of_a_cell_depends_on_early_stop(cells, detector, side):
    for stopped, whole in zip(
        cells(detector, "pgd", RADII, side=side),
        cells(detector, "pgd", RADII, side=side, early_stop=False),
        strict=True,
    ):
        for name, figures in whole.meta.sets.items():
            found = stopped.meta.sets[name]
            assert [getattr(found, f) for f in FIGURES] == [getattr(figures, f) for f in FIGURES]
        assert stopped.meta.mean == whole.meta.mean
    assert stopped.meta.statuses.get("stopped", 0) > 0
    assert stopped.meta.gradients < whole.meta.gradients
    assert "stopped" not in whole.meta.statuses


def test_results_do_not_depend_on_the_order_of_the_cells(catalog, planned):
    plan = planned(["net", "ties"], ["pgd", "fgm"])
    first, second = MemoryStore(), MemoryStore()
    for store, order in ((first, plan), (second, plan[::-1])):
        assert all(isinstance(outcome, CellDone) for outcome in run_plan(order, store, catalog))
    for cell in plan:
        a, b = first.get(cell.key), second.get(cell.key)
        assert a.samples.equals(b.samples)
        assert a.meta.sets == b.meta.sets


def test_an_image_keeps_its_result_when_it_is_attacked_in_other_company(cells):
    whole = cells("net", "pgd", "0.3", early_stop=False)[1].samples.set_index("id")["score"]
    part = cells("net", "pgd", "0.3", early_stop=False, limit=11)[1].samples.set_index("id")["score"]
    assert len(part) == 3 * 11 + 11 + 40
    assert (whole.loc[part.index] == part).all()


def test_the_ceiling_is_one_at_a_small_radius_and_a_half_once_every_image_can_be_copied(cells):
    small, large = cells("net", "fgm", "0.01,6")[1:]
    assert small.meta.mean.ceiling == 1.0
    assert small.meta.mean.reachable == 0.0
    assert large.meta.mean.ceiling == 0.5


@pytest.mark.parametrize(
    ("how", "said"), [("box", "left the box"), ("ball", "left the ball of radius 0.4"), ("nan", "were not finite")]
)
def test_an_image_that_breaks_the_rules_counts_as_its_clean_one(cells, how, said):
    _, attacked = cells("net", f"rogue-{how}")
    bad, good = (rows(attacked, "far")[rows(attacked, "far")["id"] % 2 == odd] for odd in (1, 0))
    assert (bad["status"] == "failed").all()
    assert (bad["score"] == bad["clean_score"]).all()
    assert (bad["norm"] == 0).all()
    assert (good["status"] == "completed").all()
    assert (good["score"] > good["clean_score"]).all()
    assert any(said in note for note in attacked.meta.notes)


def test_an_image_that_scores_worse_than_the_clean_one_counts_as_the_clean_one(cells):
    far = rows(cells("net", "rogue-worse")[1], "far")
    bad = far[far["id"] % 2 == 1]
    assert (bad["score"] == bad["clean_score"]).all()
    assert (bad["norm"] == 0).all()


def test_a_stop_that_the_fresh_score_does_not_confirm_is_taken_back(cells):
    far = rows(cells("net", "rogue-stopped")[1], "far")
    assert (far["status"] == "completed").all()
    assert (far["gradients"] == 2).all()


def test_a_threat_that_writes_into_its_input_changes_nothing_of_the_harness(cells):
    far = rows(cells("net", "rogue-in-place")[1], "far")
    assert (far["norm"] <= 0.4 * (1 + 1e-5)).all()
    assert (far["norm"] > 0).all()
    assert (far["status"] == "completed").all()


@pytest.mark.parametrize(("how", "said"), [("raise", "the rogue went home"), ("short", "for (80, 1, 6, 6)")])
def test_a_cell_that_fails_is_one_sentence_and_stops_no_other(outcomes, how, said):
    clean, failed, good = outcomes("net", [f"rogue-{how}", "fgm"])
    assert isinstance(failed, CellFailure)
    assert said in failed.sentence
    assert failed.sentence.startswith(f"net x rogue-{how} l2 0.4 on tiny")
    assert "\n" not in failed.sentence
    assert isinstance(clean, CellDone)
    assert isinstance(good, CellDone)


def test_a_detector_that_ends_the_program_fails_its_own_cells_alone(outcomes, monkeypatch):
    def leave(self, x):
        raise SystemExit(3)

    monkeypatch.setattr("tiny_world.Labelled.logits", leave)
    found = outcomes(["labelled", "net"], "fgm")
    assert [isinstance(outcome, CellDone) for outcome in found] == [False, False, True, True]
    assert "SystemExit in the detector or the threat" in found[0].sentence


def test_scores_that_are_not_finite_fail_every_cell_of_the_detector_and_no_other(outcomes):
    found = outcomes(["nan", "net"], "fgm")
    assert [isinstance(outcome, CellDone) for outcome in found] == [False, False, True, True]
    assert "of 30 images of 'far' have a score that is not finite" in found[0].sentence
    assert "nan x clean on tiny" in found[1].sentence


def test_a_detector_that_is_not_the_one_of_its_card_is_not_attacked(outcomes):
    clean, attacked = outcomes("misrecorded", "fgm")
    assert isinstance(attacked, CellFailure)
    assert "records 0.1000" in attacked.sentence
    assert any("records 0.1000" in note for note in clean.meta.notes)


def test_the_identity_check_is_left_out_where_a_limit_was_given(outcomes):
    assert all(isinstance(outcome, CellDone) for outcome in outcomes("misrecorded", "fgm", limit=20))


def test_a_detector_worse_than_chance_is_remarked_on(outcomes):
    (clean,) = outcomes("inverted", "clean")
    assert any("worse than chance" in note for note in clean.meta.notes)


def test_a_score_that_is_the_same_everywhere_is_remarked_on(outcomes):
    flat, plain = (outcomes(name, "clean")[0].meta.notes for name in ("flat", "net"))
    assert any("every image of every set has the score -1e+09" in note for note in flat)
    assert not any("every image of every set" in note for note in plain)


def test_a_parameter_that_cannot_be_used_is_named(outcomes):
    _, failed = outcomes("net", "pgd", "1", overrides={"steps": 2.5})
    assert failed.usage
    assert "'steps' is 2.5" in failed.sentence


def test_of_several_parameters_that_cannot_be_used_the_first_is_named(outcomes):
    _, failed = outcomes("net", "pgd", "1", overrides={"restarts": 1.5, "steps": 2.5})
    assert "'steps' is 2.5" in failed.sentence
    assert "restarts" not in failed.sentence


def test_an_override_that_a_card_forgot_to_list_is_not_ignored_in_silence(outcomes, catalog, planned):
    _, good, bad = outcomes("net", ["pgd", "rogue-box"], overrides={"restarts": 1, "steps": 2}, eps="0.3")
    assert isinstance(good, CellDone)
    assert "does not list it" in bad.sentence


def test_the_progress_tells_a_share_that_grows_and_an_auroc(catalog, planned, monkeypatch):
    monkeypatch.setattr("bench.evaluation.attacked_sets._SECONDS_BETWEEN_FIGURES", 0.0)
    heard = []
    plan = planned("net", "pgd", "0.3", side="both")
    list(run_plan(plan, MemoryStore(), catalog, progress=lambda cell, *rest: heard.append((cell.key, *rest))))
    shares = [share for key, share, _ in heard if key == plan[1].key]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.9 < shares[-1] <= 1
    assert all(figure is None or 0 <= figure <= 1 for *_, figure in heard)
    assert sum(figure is not None for *_, figure in heard) > 3


def test_what_the_store_holds_is_not_computed_again(catalog, planned, tmp_path):
    store, plan = Store(tmp_path), planned()
    first = list(run_plan(plan, store, catalog))
    second = list(run_plan(plan, store, catalog))
    assert [outcome.from_store for outcome in first + second] == [False] * 3 + [True] * 3
    assert [outcome.meta for outcome in first] == [outcome.meta for outcome in second]


def test_an_interrupted_run_keeps_its_cells_and_goes_on_from_there(catalog, planned, tmp_path):
    store, plan = Store(tmp_path), planned()

    def interrupt(cell, share, figure):
        if cell.key == plan[2].key:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_plan(plan, store, catalog, progress=interrupt))
    assert [outcome.from_store for outcome in run_plan(plan, store, catalog)] == [True, True, False]


def test_a_truncated_cell_is_run_again(catalog, planned, tmp_path):
    store, plan = Store(tmp_path), planned()
    before = [outcome.meta for outcome in run_plan(plan, store, catalog)]
    file = tmp_path / "cells" / plan[1].key[:2] / plan[1].key / "samples.parquet"
    file.write_bytes(file.read_bytes()[:100])
    after = list(run_plan(plan, store, catalog))
    assert [outcome.from_store for outcome in after] == [True, False, True]
    assert [outcome.meta.sets for outcome in after] == [meta.sets for meta in before]
    assert len(store.notices) == 1


def test_a_store_that_cannot_be_written_ends_the_run_before_anything_is_computed(catalog, planned, tmp_path):
    (tmp_path / "runs").write_text("in the way")
    heard = []
    with pytest.raises(UsageError, match="a file is in the way"):
        list(run_plan(planned(), Store(tmp_path / "runs"), catalog, progress=lambda *a: heard.append(a)))
    assert heard == []


def test_the_target_lies_beyond_every_opponent_and_every_threshold():
    id_scores = np.array([0.0, 1.0, 2.0, 3.0], np.float32)
    ood = [np.array([-1.0, 5.0], np.float32), np.array([-2.0], np.float32)]
    margin = MARGIN * iqr(id_scores)
    both = stop_targets(Side.BOTH, id_scores, ood, [0.5])
    assert 3.0 + margin <= both.high < 3.0 + margin + 1e-6
    assert -2.0 - margin - 1e-6 < both.low <= -2.0 - margin
    assert stop_targets(Side.EVADE, id_scores, ood, [7.0]).high >= 7.0 + margin
    assert stop_targets(Side.EVADE, id_scores, ood, [7.0]).low is None
    assert stop_targets(Side.ALARM, id_scores, ood, [-9.0]).low <= -9.0 - margin
    assert math.isclose(both.high, float(np.float32(both.high)), rel_tol=0)


def test_a_cell_error_names_the_cell(outcomes):
    found = outcomes("nan", "clean")[0]
    assert isinstance(found.error, CellError)


def test_images_of_another_type_than_float32_are_taken_for_what_they_are(catalog):
    class Doubled(Threat):
        def attack(self, detector, x, *, ids, budget, context):
            found, none = (x.double() + 0.1).clamp(0, 1), torch.zeros(len(x), dtype=torch.int64)
            return AttackResult(
                found,
                found,
                torch.zeros(len(x), 1),
                gradients=none,
                queries=none,
                norm=0.0 * none,
                status=[Status.COMPLETED] * len(x),
            )

    detector = Net(None, shape=(1, 6, 6), classes=2, params=NetParams()).eval()
    x, ids = torch.rand((4, 1, 6, 6), generator=torch.Generator().manual_seed(1)), torch.arange(4)
    budget, context = Budget(Norm.L2, 1.0), Context(Side.EVADE, micro_batch=4)
    done = attempt_attack(detector, Doubled(), x, ids=ids, budget=budget, context=context)
    with torch.no_grad():
        expected = detector.score((x.double() + 0.1).clamp(0, 1).float()).numpy()
    assert done.images.dtype is torch.float32
    assert np.array_equal(done.scores, expected) and np.array_equal(done.last_scores, expected)
