import pytest
import torch
from torch import nn

import bench
from bench.datasets.track import Track
from bench.errors import CellError, UsageError
from bench.evaluation.store import Store
from bench.threat_models.pgd import PGD, PGDParams


class Darkness(nn.Module):
    """Nothing of this package: an image is in-distribution as far as it is dark."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def score(self, x):
        return -self.weight * x.flatten(1).mean(1)


@pytest.fixture
def options(catalog):
    return {"track": "tiny", "workspace": catalog.workspace, "micro_batch": 32}


def test_names_do_what_the_shell_does(options, planned):
    found = bench.evaluate("net", "pgd", eps=0.3, steps=4, restarts=1, **options)
    assert [cell.meta.key for cell in found.cells] == [
        cell.key for cell in planned("net", "pgd", "0.3", overrides={"steps": 4, "restarts": 1})
    ]


def test_a_source_of_the_workspace_needs_no_digest(options, write_world, tmp_path):
    root = write_world()
    (root / "own_sets.py").write_text("from tiny_world import images\n")
    card = (root / "datasets/tiny.yaml").read_text().replace("tiny_world:images", "own_sets:images")
    assert "digest" not in card
    (root / "datasets/tiny.yaml").write_text(card)
    assert len(bench.evaluate("net", "pgd", eps=0.3, steps=1, **options).cells) == 2


def test_any_module_with_a_score_can_be_attacked(options):
    module = Darkness()
    clean, attacked = bench.evaluate(module, "pgd", eps="l2:0.5", steps=100, early_stop=False, **options).cells
    assert clean.meta.detector == "darkness"
    # The optimum of a linear score moves every pixel alike: eps / 6 a pixel where no pixel meets the box.
    far = attacked.samples[attacked.samples["set"] == "far"]
    assert (far["score"] - far["clean_score"]).max() == pytest.approx(3.0 * 0.5 / 6, rel=1e-3)
    assert module.weight.grad is None
    assert module.weight.requires_grad
    assert module.training


def test_a_threat_and_a_track_may_be_objects(options, catalog):
    options["track"] = Track(catalog.track("tiny"))
    attack = PGD(PGDParams(steps=3, restarts=1))
    _, attacked = bench.evaluate("net", attack, eps="l2:0.3", **options).cells
    assert attacked.meta.threat == "pgd"
    assert attacked.meta.threat_params["steps"] == 3
    assert attacked.meta.gradients == 3 * 80


def test_an_object_is_computed_anew_and_a_name_is_taken_from_the_store(options, tmp_path):
    for detector, cells in (("net", 2), (Darkness(), 4)):
        root = tmp_path / str(cells)
        for _ in range(2):
            bench.evaluate(detector, "fgm", eps=0.3, store=root, **options)
        assert len(Store(root).metas()) == cells


def test_the_table_has_a_row_for_every_set_and_the_mean(options):
    table = bench.evaluate("net", "fgm", eps=0.3, **options).table()
    assert list(table["set"]) == ["near", "far", "noise", "mean"] * 2
    assert table["auroc"].between(0, 1).all()
    assert list(table["eps"].dropna().unique()) == [0.3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"detector": nn.Linear(1, 1)}, "has no method `score`"),
        ({"threat": PGD(), "eps": 1}, "needs its norm"),
        ({"side": "left"}, "side is 'left'"),
        ({"eps": "linf:1"}, "no chosen threat has that norm"),
        ({"spets": 3}, "no chosen threat has the parameter 'spets'"),
        ({"track": "tyni"}, "did you mean tiny"),
    ],
)
def test_a_wrong_request_is_one_sentence(options, given, said):
    with pytest.raises(UsageError, match=said):
        bench.evaluate(**{"detector": "net", "threat": "pgd", **options, **given})


def test_a_cell_that_fails_raises_its_sentence(options):
    with pytest.raises(CellError, match="not finite"):
        bench.evaluate("nan", "fgm", **options)
