"""A workspace with one tiny track, a few detectors and every kind of threat, and fixtures that run it."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cards.catalog import Catalog
from bench.evaluation.engine import CellDone, Outcome, run_plan
from bench.evaluation.plan import PlannedCell, plan
from bench.evaluation.results import Cell
from bench.evaluation.store import MemoryStore


def _set(seed: int, count: int, level: int, **more: Any) -> dict[str, Any]:
    return {"source": "tiny_world:images", "args": {"seed": seed, "count": count, "level": level}, **more}


TRACK: dict[str, Any] = {
    "name": "tiny",
    "summary": "dark images, and brighter ones outside",
    "shape": [1, 6, 6],
    "classes": 2,
    "train": _set(1, 10, 80),
    "calibration": _set(2, 40, 80),
    "test": _set(3, 60, 80),
    "ood": {
        "near": _set(4, 30, 110),
        "far": _set(5, 30, 150),
        "noise": _set(6, 20, 128, kind="synthetic"),
    },
}
DETECTORS: dict[str, dict[str, Any]] = {
    "net": {"method": "tiny_world:Net"},
    "ties": {"method": "tiny_world:Net", "params": {"ties": 3.0}},
    "flat": {"method": "tiny_world:Net", "params": {"ties": 1e-9}},
    "inverted": {"method": "tiny_world:Net", "params": {"sign": -1.0}},
    "net-whole": {"method": "tiny_world:Net", "thresholds": {"recall": 1.0}},
    "labelled": {"method": "tiny_world:Labelled"},
    "by-class": {"method": "tiny_world:Labelled", "thresholds": {"per_class": True}},
    "halves": {"method": "tiny_world:Halves", "thresholds": {"per_class": True}},
    "train-by-class": {"method": "tiny_world:Halves", "thresholds": {"source": "train", "per_class": True}},
    "train": {"method": "tiny_world:Net", "thresholds": {"source": "train"}},
    "random": {"method": "tiny_world:Shaken"},
    "no-gradient": {"method": "tiny_world:Stepwise"},
    "blind": {"method": "tiny_world:Net", "thresholds": {"per_class": True}},
    "bright": {
        "method": "tiny_world:Bright",
        "thresholds": {"source": "train", "percentiles": [0, 20]},
    },
    "bright-nan": {"method": "tiny_world:Bright", "params": {"nan_bits_above": 0.55}},
    "no-classes": {"method": "tiny_world:Net", "thresholds": {"percentiles": [1]}},
    "certified": {"method": "tiny_world:Certified"},
    "overclaiming": {"method": "tiny_world:Certified", "params": {"share": 0.5}},
    "no-bound": {"method": "tiny_world:Certified", "params": {"nan": True}},
    "nan": {"method": "tiny_world:Net", "params": {"nan_above": 0.5}},
    "misrecorded": {"method": "tiny_world:Net", "tracks": {"tiny": {"recorded": {"clean_auroc": 0.1}}}},
}
SIDES = ("evade", "alarm", "both", "fool")
PGD = {"steps": 12, "restarts": 5, "step_size": 0.5}
THREATS: dict[str, dict[str, Any]] = {
    "pgd": {"method": "bench.threat_models.pgd:PGD", "norm": "l2", "eps": [0.3, 0.6], "params": PGD},
    "costly": {
        "method": "bench.threat_models.pgd:PGD", "norm": "l2", "eps": [0.3], "sides": list(SIDES),
        "params": {**PGD, "steps": 40},
    },
    "pgd-inf": {"method": "bench.threat_models.pgd:PGD", "norm": "linf", "eps": [0.05], "params": PGD},
    "mirror": {"method": "tiny_world:Mirror", "norm": "l2", "eps": [4.0], "sides": ["evade"]},
    "fgm": {"method": "bench.threat_models.fgm:FGM", "norm": "l2", "eps": [0.3]},
    "noise": {
        "method": "bench.threat_models.noise:Noise", "norm": "l2", "eps": [0.3], "params": {"points": 5},
        "knowledge": "scores", "sides": list(SIDES),
    },
    "fooling": {
        "method": "bench.threat_models.pgd:PGD", "norm": "l2", "eps": [0.3, 2.0], "params": PGD, "sides": list(SIDES)
    },
    "nearest": {
        "method": "tiny_world:Swap", "norm": "l2", "eps": [0.3, 2.0], "min_norm": True, "sides": ["fool"]
    },
    "crossing": {
        "method": "bench.threat_models.ddn:DDN", "norm": "l2", "eps": [0.3, 0.6], "min_norm": True,
        "sides": ["evade", "alarm", "fool"], "params": {"steps": 20},
    },
    "halfway": {
        "method": "tiny_world:Halfway", "norm": "l2", "eps": [0.3, 2.0], "min_norm": True, "sides": ["evade", "alarm"]
    },
    "worst-crossing": {
        "norm": "l2", "eps": [0.3], "sides": ["evade", "fool"],
        "members": {"evade": ["fooling", "crossing"], "fool": ["fooling", "crossing"]},
    },
    "transferred": {
        "method": "bench.threat_models.transfer:Transfer", "norm": "l2", "eps": [0.6], "knowledge": "scores",
        "source": {"threat": "pgd", "params": {"steps": 3, "restarts": 1}, "detectors": ["halves", "net", "absent"]},
    },
    "worst": {
        "norm": "l2", "eps": [0.3], "sides": list(SIDES),
        "members": {
            "evade": ["fooling", "noise", "transferred"], "alarm": ["fooling", "noise"], "both": ["fooling", "noise"],
            "fool": ["fooling", "nearest"],
        },
    },
    **{
        f"rogue-{how}": {
            "method": "tiny_world:Rogue", "norm": "l2", "eps": [0.4], "params": {"how": how}, "sides": ["evade"]
        }
        for how in ("box", "ball", "nan", "worse", "stopped", "in-place", "raise", "short")
    },
}  # fmt: skip


@pytest.fixture
def write_world(tmp_path: Path) -> Callable[..., Path]:
    """Writes the workspace, with changes to the track's card."""

    def write(**track: Any) -> Path:
        root = tmp_path / "workspace"
        for folder in ("datasets", "detectors", "threat_models"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "robustood.toml").write_text(textwrap.dedent("[workspace]\n"))
        (root / "datasets/tiny.yaml").write_text(yaml.safe_dump({**TRACK, **track}, sort_keys=False))
        for name, card in DETECTORS.items():
            content = {"name": name, "summary": "a small one", "tracks": {"tiny": {}}, **card}
            (root / f"detectors/{name}.yaml").write_text(yaml.safe_dump(content))
        for name, card in THREATS.items():
            content = {"name": name, "summary": "a small one", "knowledge": "gradients", **card}
            (root / f"threat_models/{name}.yaml").write_text(yaml.safe_dump(content))
        return root

    return write


MANY = {
    "test": _set(3, 150, 80),
    "ood": {"near": _set(4, 120, 110), "far": _set(5, 150, 150), "noise": _set(6, 100, 128, kind="synthetic")},
}
"""Sets that are large enough for an audit of a tenth of them to leave some out."""


@pytest.fixture
def catalog(write_world: Callable[..., Path]) -> Catalog:
    return Catalog(write_world())


@pytest.fixture
def planned(catalog: Catalog) -> Callable[..., list[PlannedCell]]:
    """Plans cells of the tiny track."""

    def make(
        detectors: str | Sequence[str] = "net", threats: str | Sequence[str] = "pgd", eps: Any = None, **options: Any
    ) -> list[PlannedCell]:
        names = [[given] if isinstance(given, str) else list(given) for given in (detectors, threats)]
        options.setdefault("micro_batch", 32)
        return plan(catalog, names[0], names[1], eps, ["tiny"], **options)

    return make


@pytest.fixture
def outcomes(catalog: Catalog, planned: Callable[..., list[PlannedCell]]) -> Callable[..., list[Outcome]]:
    """Runs cells of the tiny track, kept in memory."""
    return lambda *args, **options: list(run_plan(planned(*args, **options), MemoryStore(), catalog))


@pytest.fixture
def cells(catalog: Catalog, planned: Callable[..., list[PlannedCell]]) -> Callable[..., list[Cell]]:
    """Runs cells that must all succeed: the clean one first."""

    def run(*args: Any, **options: Any) -> list[Cell]:
        store, found = MemoryStore(), []
        for outcome in run_plan(planned(*args, **options), store, catalog):
            assert isinstance(outcome, CellDone), outcome.sentence
            cell = store.get(outcome.planned.key)
            assert cell is not None
            found.append(cell)
        return found

    return run
