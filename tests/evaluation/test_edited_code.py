"""Code of the user's own that is edited between two runs, or while one is under way."""

from pathlib import Path

import pytest
import yaml

import bench
from bench.cards.catalog import Catalog
from bench.evaluation.engine import CellFailure, run_plan
from bench.evaluation.plan import plan
from bench.evaluation.store import Store

MODULES = {
    "detector": """
from tiny_world import Net
class Mine(Net):
    def score(self, x, *, noise=None): return value * super().score(x)
""",
    "network": """
import torch
from bench.detectors.networks.base import Network
class Mine(Network):
    def activations(self, x):
        level = value * x.flatten(1).mean(1, keepdim=True)
        return {"penultimate": level, "logits": torch.cat([level, level], 1)}
""",
    "threat": """
from bench.threat_models.fgm import FGM
class Mine(FGM):
    def attack(self, detector, x, **more): return super().attack(detector, x if value > 0 else x * 0.999, **more)
""",
    "source": """
from bench.datasets.base import RawImages
from tiny_world import images
def Mine(args, data_dir):
    given = images(args, data_dir)
    return given if value > 0 else RawImages(255 - given.images, given.labels)
""",
    "callable": "def Mine(x): return value * x.mean((1, 2, 3))",
}


def prepare(root: Path, kind: str) -> tuple[str, str]:
    """Put a module of one's own into a workspace's cards; the names of the detector and of the module beside it."""
    (root / f"own_{kind}.py").write_text(f"from aid_of_{kind} import value\n" + MODULES[kind])
    file = root / {"threat": "threat_models/fgm.yaml", "source": "datasets/tiny.yaml"}.get(kind, "detectors/net.yaml")
    card = yaml.safe_load(file.read_text())
    method = f"own_{kind}:Mine"
    if kind == "network":
        card |= {"method": "bench.detectors.energy:Energy", "tracks": {"tiny": {"network": {"method": method}}}}
    elif kind == "source":
        card["ood"]["far"]["source"] = method
    elif kind != "callable":
        card["method"] = method
    file.write_text(yaml.safe_dump(card, sort_keys=False))
    return f"callable:{method}" if kind == "callable" else "net", f"aid_of_{kind}"


@pytest.mark.parametrize("kind", MODULES)
def test_figures_are_those_of_the_code_as_it_is_now(kind, write_world, tmp_path, monkeypatch):
    root = write_world()
    monkeypatch.chdir(root)
    detector, aid = prepare(root, kind)

    def figures(store: Path):
        found = bench.evaluate(detector, "fgm", "tiny", eps=0.3, store=store, workspace=root, micro_batch=32)
        return [(meta.mean.auroc, meta.key) for meta in found.metas]

    for value in (1, -1):
        (root / f"{aid}.py").write_text(f"value = {value}")
        fresh = figures(tmp_path / f"fresh{value}")
        assert figures(tmp_path / "store") == fresh == figures(tmp_path / "store")


def test_code_that_is_edited_while_a_run_is_under_way_is_no_figure(write_world, tmp_path, monkeypatch):
    root = write_world()
    monkeypatch.chdir(root)
    detector, aid = prepare(root, "callable")
    (root / f"{aid}.py").write_text("value = 1")
    catalog, store = Catalog(root), Store(tmp_path / "store")
    planned = plan(catalog, [detector], ["fgm"], 0.3, ["tiny"], micro_batch=32)
    (root / f"{aid}.py").write_text("value = -1")
    outcomes = list(run_plan(planned, store, catalog))
    assert all(isinstance(outcome, CellFailure) for outcome in outcomes)
    assert "the code was edited since the run began" in outcomes[0].sentence
    assert not store.metas()
