"""Worst cases, transferred images, random detectors, and what is kept of an attack."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.cards.threat import Goal
from bench.detectors.base import DRAWS
from bench.errors import UsageError
from bench.evaluation.cell_files import ARRAYS_FILE
from bench.evaluation.engine import run_plan
from bench.evaluation.results import ARRAYS
from bench.evaluation.store import MemoryStore, Store
from bench.evaluation.worst import _figure


def rows(cell, name):
    return cell.samples[cell.samples["set"] == name]


def computed(catalog, planned, *args, **options):
    """The store after a run, and the cells that were asked for."""
    store = MemoryStore()
    wanted = planned(*args, **options)
    for outcome in run_plan(wanted, store, catalog):
        assert not hasattr(outcome, "error"), outcome
    return store, [store.get(cell.key) for cell in wanted], wanted


@pytest.mark.parametrize("side", ["evade", "alarm", "both"])
def test_a_worst_case_is_the_worst_of_its_members_image_by_image(catalog, planned, side):
    store, (_, worst), (_, cell) = computed(catalog, planned, "labelled", "worst", "0.6", side=side)
    members = [store.get(need.key) for need in cell.needs]
    assert {m.meta.threat for m in members} == set(worst.meta.members)
    for name in ("near", "far", "noise", "test"):
        sign = -1.0 if name == "test" else 1.0
        attacked = np.max([sign * rows(m, name)["score"] for m in members], axis=0)
        assert (sign * rows(worst, name)["score"] == attacked).all()
    assert worst.meta.mean.auroc <= min(m.meta.mean.auroc for m in members)
    assert worst.meta.gradients == sum(m.meta.gradients for m in members)
    assert worst.meta.queries == sum(m.meta.queries for m in members)


def test_the_worst_case_of_fooling_prefers_what_is_not_detected(catalog, planned):
    store, (_, worst), (_, cell) = computed(catalog, planned, "halves", "worst", "2", side="fool")
    members = [store.get(need.key) for need in cell.needs]
    undetected = []
    for member in members:
        test = rows(member, "test")
        floor = test["attacked_predicted"].map(lambda c: worst.meta.thresholds[f"calibration_tpr95/{c}"])
        wrong = (test["predicted"] == test["label"]) & (test["attacked_predicted"] != test["label"])
        undetected.append((wrong & (test["norm"] <= 2.00003) & (test["score"] >= floor)).to_numpy())
    share = np.any(undetected, axis=0).sum() / worst.meta.fool.attacked
    assert worst.meta.fool.curve[0].undetected == pytest.approx(share)
    assert worst.meta.fool.curve[0].adversarial_accuracy <= min(
        at.adversarial_accuracy for m in members for at in m.meta.fool.curve[:1]
    )


def test_what_every_attack_of_a_worst_case_leaves_out_is_told_in_one_order(catalog, planned):
    parts = ("whitening", "densities", "classifier", "voting", "ensemble", "rounding", "blurring", "noise")

    class Store(MemoryStore):
        """Says that no member has seen these parts, and that one has not seen another either."""

        def put(self, cell):
            if cell.meta.threat not in ("fooling", "noise", "transferred"):
                return super().put(cell)
            missed = (*parts, "jpeg") if cell.meta.threat == "noise" else parts
            return super().put(replace(cell, meta=cell.meta.model_copy(update={"leaves_out": missed})))

    store, wanted = Store(), planned("labelled", "worst", "0.6")
    assert not [outcome for outcome in run_plan(wanted, store, catalog) if hasattr(outcome, "error")]
    assert store.get(wanted[-1].key).meta.leaves_out == tuple(sorted(parts))


def test_a_member_that_cannot_be_run_is_named_and_left_out(catalog, planned):
    _, (_, worst), _ = computed(catalog, planned, "no-gradient", "worst", "0.6")
    assert set(worst.meta.members) == {"noise", "transferred"}
    assert any("left out" in note and "has none" in note for note in worst.meta.notes)


def test_the_images_that_are_kept_of_a_worst_case_have_its_scores(catalog, planned):
    from bench.evaluation.scoring import Draws, score_images
    from bench.evaluation.workbench import Workbench

    _, (_, worst), (_, cell) = computed(catalog, planned, "labelled", "worst", "0.6")
    import torch

    detector = Workbench(catalog, MemoryStore())._detector(cell)
    images, at = torch.from_numpy(worst.arrays["images"]), worst.arrays["image_rows"]
    assert len(at) >= 3 * 8
    again = score_images(detector, images, 32, Draws(torch.arange(len(images))))
    assert np.allclose(again, worst.samples["score"].to_numpy()[at], atol=1e-5)


def test_transferred_images_come_from_other_detectors_and_stay_in_the_ball(catalog, planned):
    store, (clean, attacked), (_, cell) = computed(catalog, planned, "net", "transferred", "0.6")
    assert [need.detector.name for need in cell.needs] == ["halves"]  # not itself, and not the one that is not there
    source = store.get(cell.needs[0].key)
    assert not source.meta.early_stop and len(source.arrays["images"]) == 30 + 30 + 20
    assert (rows(attacked, "near")["norm"] <= 0.6 * (1 + 1e-5) + 2**-23).all()
    assert rows(attacked, "near")["score"].mean() > rows(clean, "near")["score"].mean()
    assert attacked.meta.gradients == 0 and attacked.meta.queries >= 80


def test_other_source_cells_make_another_key(planned, write_world):
    before = planned("net", "transferred", "0.6")[1]
    other = planned("net", "transferred", "0.6", seed=3)[1]
    assert before.ingredients.needs != other.ingredients.needs and before.key != other.key


def test_without_any_other_detector_transfer_says_so(catalog, planned, monkeypatch):
    spec = type(catalog).detector_spec

    def only_net(self, name, track):
        if name != "net":
            raise UsageError("gone")
        return spec(self, name, track)

    monkeypatch.setattr(type(catalog), "detector_spec", only_net)
    with pytest.raises(UsageError, match=r"none of them but 'net' itself can be run"):
        planned("net", "transferred", "0.6")


def test_a_random_detector_is_scored_by_the_mean_of_its_draws_and_never_stops_early(cells):
    still, _ = cells("labelled", "pgd", "0.3")
    clean, attacked = cells("random", "pgd", "0.3")
    assert attacked.meta.draws == DRAWS and still.meta.draws == 0
    assert "stopped" not in attacked.meta.statuses
    apart = rows(clean, "near")["score"].to_numpy() - rows(still, "near")["score"].to_numpy()
    assert 0.05 < apart.std() < 3.0 / np.sqrt(DRAWS)
    untouched = rows(attacked, "test")["score"]
    assert (untouched == rows(clean, "test")["score"]).all()


def test_the_images_of_a_random_detector_are_scored_with_draws_that_did_not_choose_them(cells):
    _, attacked = cells("random", "noise", "0.001")
    gain = rows(attacked, "near")["score"] - rows(attacked, "near")["clean_score"]
    # The best of several draws would gain about a standard deviation; fresh ones gain nothing in so small a ball.
    assert abs(gain.mean()) < 3 * np.sqrt(2 / DRAWS / len(gain))


def test_all_images_are_kept_where_nothing_stops_early_and_else_a_few_of_every_set(cells):
    few, every = (cells("net", "pgd", "0.3", early_stop=early)[1] for early in (True, False))
    assert set(few.arrays) == set(every.arrays) == {"trace", "images", "image_rows"}
    assert len(few.arrays["image_rows"]) == 3 * 8 and len(every.arrays["image_rows"]) == 80
    kept = every.samples.iloc[every.arrays["image_rows"]]
    assert set(kept["set"]) == {"near", "far", "noise"}
    trace = every.arrays["trace"]
    attacked = (every.samples["status"] != "").to_numpy()
    assert np.isnan(trace[~attacked]).all()
    assert np.allclose(trace[attacked][:, -1], every.samples["score"].to_numpy()[attacked], atol=1e-5)


def test_the_last_iterate_is_never_better_than_the_best(cells):
    attacked = cells("net", "pgd", "0.3", early_stop=False)[1]
    near = rows(attacked, "near")
    assert (near["last_score"] <= near["score"] + 1e-5).all()


def test_arrays_survive_the_store_and_damage_to_them_is_noticed(cells, tmp_path):
    cell = cells("net", "pgd", "0.3")[1]
    store = Store(tmp_path)
    store.put(cell)
    again = store.get(cell.meta.key)
    assert set(again.arrays) == set(cell.arrays) and set(cell.arrays) < set(ARRAYS)
    assert all(np.array_equal(again.arrays[name], cell.arrays[name], equal_nan=True) for name in cell.arrays)
    (file,) = tmp_path.glob(f"cells/*/*/{ARRAYS_FILE}")
    file.write_bytes(file.read_bytes()[:-1])
    assert store.get(cell.meta.key) is None
    assert "damaged" in store.notices[0]


def test_an_image_that_no_member_made_worse_has_the_status_that_the_first_member_gives_it(catalog, planned):
    store, _, (_, cell) = computed(catalog, planned, "labelled", "worst", "0.6", side="alarm")
    members = [store.get(need.key) for need in cell.needs]
    kept = MemoryStore()
    kept.put(store.get(cell.clean.key))
    for member, statuses in zip(members, (["stopped", "completed"], ["no-gradient", "failed"]), strict=True):
        attacked = member.samples["set"] == "test"
        samples = member.samples.copy()
        samples.loc[attacked, "score"] = samples.loc[attacked, "clean_score"]
        samples.loc[attacked, "status"] = statuses * (attacked.sum() // 2)
        kept.put(replace(member, samples=samples))
    (outcome,) = run_plan([cell], kept, catalog)
    assert rows(kept.get(outcome.planned.key), "test")["status"].tolist() == ["stopped", "completed"] * 30


@pytest.mark.parametrize(("goal", "expected"), [(Goal.ACCEPT, 0.75), (Goal.MISCLASSIFY, 0.5)])
def test_a_member_comes_to_its_mean_or_that_of_its_sets_or_what_was_left_unfooled(goal, expected):
    sets = {name: SimpleNamespace(auroc=auroc) for name, auroc in (("near", 0.25), ("far", 1.0))}
    assert _figure(SimpleNamespace(fool=None, mean=SimpleNamespace(auroc=0.125), sets=sets)) == 0.125
    assert _figure(SimpleNamespace(fool=None, mean=None, sets=sets)) == 0.625
    curve = [SimpleNamespace(undetected=0.25, adversarial_accuracy=0.5), None]
    assert _figure(SimpleNamespace(fool=SimpleNamespace(goal=goal, curve=curve), mean=None, sets=sets)) == expected
