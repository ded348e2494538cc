"""Every figure of cells of every kind, number by number; and what runs that fail say."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from goldens import assert_golden, assert_golden_numbers
from tiny_workspace import MANY

from bench.cards.catalog import Catalog
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.plan import plan
from bench.evaluation.spending import Evidence
from bench.evaluation.store import MemoryStore
from bench.evaluation.workbench import Workbench

GOLDEN = Path(__file__).with_name("golden")
NEAR = 5e-3
"""Of scores below 10 and shares; an image more or less among 30 changes a share by 0.03."""

WALK = {
    "name": "walk",
    "summary": "straight ways",
    "method": "bench.threat_models.interpolation:Between",
    "knowledge": "scores",
    "sides": ["between"],
    "params": {"pairs": 9, "points": 5},
}
OTHERWISE = {
    "key", "detector_hash", "weights_sha256", "source_hash", "threat_hash", "track_hash", "set_digests", "seconds",
    "versions", "device", "samples_sha256", "arrays_sha256", "needs",
}  # fmt: skip
CELLS = {
    "pgd": ("net", "pgd", "0.3,0.6", {}),
    "pgd whole": ("net", "pgd", "0.3", {"early_stop": False, "seed": 2}),
    "pgd alarm": ("net-whole", "pgd", "0.6", {"side": "alarm", "limit": 20}),
    "pgd both": ("train", "pgd-inf", "0.05", {"side": "both", "overrides": {"steps": 3, "restarts": 2}}),
    "ties": ("ties", ["fgm", "noise"], "0.3", {}),
    "one score": ("flat", "fgm", "0.3", {}),
    "random": ("random", ["pgd", "noise"], "0.3", {"overrides": {"steps": 4}}),
    "without gradient": ("no-gradient", "noise", "0.3", {}),
    "classes": (["by-class", "halves", "train-by-class"], "fgm", "0.3", {}),
    "rejecting": ("bright", "fgm", "0.3", {}),
    "certified": ("certified", "pgd", "0.3", {"overrides": {"steps": 3}}),
    "transferred": ("labelled", "transferred", "0.6", {}),
    "worst": ("labelled", "worst", "0.6", {}),
    "worst fool": ("labelled", "worst", "0.3,2", {"side": "fool"}),
    "worst both": ("halves", "worst", "0.3", {"side": "both", "limit": 25}),
    "fool": ("by-class", "fooling", "2", {"side": "fool"}),
    "fool accept": ("halves", "fooling", "1", {"side": "fool", "goal": "misclassify-and-accept"}),
    "fool nearest": ("labelled", "nearest", "0.3,2", {"side": "fool"}),
    "between": (["labelled", "net"], "walk", None, {}),
    "rogues": ("net", ["rogue-worse", "rogue-stopped", "rogue-in-place"], "0.4", {}),
}


def told(cell):
    """The figures of a cell, and of each set's samples and arrays in few numbers."""
    meta = cell.meta.model_dump(mode="json", exclude=OTHERWISE)
    samples = cell.samples
    numbers = [name for name in samples if samples[name].dtype.kind == "f"]
    found = {name: samples.groupby("set", sort=False)[name].mean().tolist() for name in numbers}
    spread = {name: samples.groupby("set", sort=False)[name].std().tolist() for name in numbers}
    whole = {name: int(samples[name].sum()) for name in ("index", "label", "predicted", "gradients", "queries")}
    whole["attacked_predicted"] = int(samples["attacked_predicted"].sum())
    arrays = {
        name: [*array.shape, float(np.nanmean(array.astype(np.float64)))] for name, array in sorted(cell.arrays.items())
    }
    return {"meta": meta, "mean": found, "spread": spread, "sums": whole, "arrays": arrays}


@pytest.fixture
def catalog(write_world):
    root = write_world()
    (root / "threat_models/walk.yaml").write_text(yaml.safe_dump(WALK))
    return Catalog(root)


@pytest.mark.parametrize("name", CELLS)
def test_the_figures_of_a_cell_are_those_that_they_were(name, outcomes):
    detectors, threats, eps, options = CELLS[name]
    found = {}
    ended = outcomes(detectors, threats, eps, **options)
    for outcome in ended:
        planned = outcome.planned
        label = f"{planned.label}, {outcome.from_store}" if isinstance(outcome, CellDone) else planned.label
        found[label] = outcome.sentence if not isinstance(outcome, CellDone) else None
    assert all(value is None for value in found.values()) or name in ("rogues", "between")
    found["cells"] = {outcome.planned.label: told_of(outcome) for outcome in ended if isinstance(outcome, CellDone)}
    assert_golden_numbers(GOLDEN / f"{name.replace(' ', '-')}.json", found, near=NEAR)


def told_of(outcome):
    """The figures of an outcome alone."""
    return outcome.meta.model_dump(mode="json", exclude=OTHERWISE)


@pytest.mark.parametrize("name", ["pgd", "pgd both", "random", "fool", "worst", "transferred"])
def test_the_samples_of_a_cell_are_those_that_they_were(name, cells):
    detectors, threats, eps, options = CELLS[name]
    found = {str(number): told(cell) for number, cell in enumerate(cells(detectors, threats, eps, **options))}
    assert_golden_numbers(GOLDEN / f"samples-{name.replace(' ', '-')}.json", found, near=NEAR)


def test_the_figures_of_audited_cells_are_those_that_they_were(write_world):
    catalog = Catalog(write_world(**MANY))
    found = {}
    for label, evidence, options in (
        ("loose", Evidence(tolerance=0.1), {}),
        ("usual", Evidence(), {"early_stop": False}),
        ("half", Evidence(0.02, 0.5), {"limit": 60, "seed": 1}),
    ):
        store = MemoryStore()
        cells = plan(catalog, ["net"], ["costly"], None, ["tiny"], micro_batch=16, evidence=evidence,
                     overrides={"steps": 16, "restarts": 3}, **options)  # fmt: skip
        for outcome in run_plan(cells, store, catalog):
            assert isinstance(outcome, CellDone), outcome.sentence
            found[f"{label} {outcome.planned.label}"] = told(store.get(outcome.planned.key))
    assert_golden_numbers(GOLDEN / "audited.json", found, near=NEAR)


FAILING = (
    ("nan", "pgd", "0.3", {}), ("blind", "clean", None, {}), ("no-classes", "clean", None, {}),
    ("overclaiming", "pgd", "0.3", {}), ("no-bound", "pgd", "0.3", {}), ("bright-nan", "clean", None, {}),
    ("misrecorded", "clean", None, {}), ("net", "fooling", "2", {"side": "fool"}),
    ("no-gradient", "pgd", "0.3", {}), ("net", "walk", None, {}),
    ("net", [f"rogue-{how}" for how in ("box", "ball", "nan", "worse", "stopped", "in-place", "raise", "short")],
     "0.4", {}),
)  # fmt: skip


def test_cells_that_fail_say_what_they_did(outcomes):
    said = []
    for detectors, threats, eps, options in FAILING:
        for outcome in outcomes(detectors, threats, eps, **options):
            if isinstance(outcome, CellDone):
                said.append(f"{outcome.planned.label}: done; {'; '.join(outcome.meta.notes)}; {outcome.meta.statuses}")
            else:
                said.append(f"{type(outcome.error).__name__}: {outcome.sentence}")
    assert_golden(GOLDEN / "failing.txt", "\n".join(said) + "\n")


@pytest.mark.parametrize("name", ["pgd both", "worst", "transferred", "fool"])
def test_progress_is_told_as_it_was(name, catalog, planned, monkeypatch):
    monkeypatch.setattr("bench.evaluation.attacked_sets._SECONDS_BETWEEN_FIGURES", 0.0)
    detectors, threats, eps, options = CELLS[name]
    bench, found = Workbench(catalog, MemoryStore(), device="cpu", data_dir=None), {}
    for cell in planned(detectors, threats, eps, **options):
        heard = found[cell.label] = []
        bench.compute(cell, lambda share, auroc, heard=heard: heard.append([float(share), auroc]))
        shares = [share for share, _ in heard]
        assert all(0.0 <= share <= 1.0 for share in shares)
        found[cell.label] = [len(heard), *heard[:: max(1, len(heard) // 12)], *heard[-1:]]
    assert_golden_numbers(GOLDEN / f"progress-{name.replace(' ', '-')}.json", found, near=NEAR)
