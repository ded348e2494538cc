import inspect

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import bench
from bench.datasets.track import Track
from bench.errors import CellError, NotApplicableError, UsageError
from bench.evaluation import api as computed
from bench.evaluation.store import Store
from bench.report.api import Evaluation
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


def test_a_card_attacks_as_its_name_does(options, catalog):
    by_name = bench.evaluate("net", "pgd", eps=0.3, steps=2, restarts=1, **options).cells[-1]
    by_card = bench.evaluate("net", catalog.threat("pgd"), eps=0.3, steps=2, restarts=1, **options).cells[-1]
    assert by_card.samples["score"].tolist() == by_name.samples["score"].tolist()
    assert by_card.meta.threat == "pgd"


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
    ("detectors", "threats"),
    [("net,inverted", "fgm,noise"), (["net", "inverted"], ["fgm", "noise"]), (["net,inverted"], "fgm, noise")],
)
def test_several_detectors_and_threats_give_what_each_pair_gives_alone(options, detectors, threats):
    together = bench.evaluate(detectors, threats, eps=0.3, **options)
    alone = [bench.evaluate(d, t, eps=0.3, **options) for d in ("net", "inverted") for t in ("fgm", "noise")]
    keys = dict.fromkeys(cell.meta.key for found in alone for cell in found.cells)
    assert [meta.key for meta in together.metas] == list(keys)
    assert [(m.detector, m.threat) for m in together.metas] == [
        (detector, threat) for detector in ("net", "inverted") for threat in ("clean", "fgm", "noise")
    ]
    assert len(together.table()) == 6 * 4


def test_objects_of_one_class_stand_beside_each_other_by_a_number(options):
    attacks = [PGD(PGDParams(steps=steps, restarts=1)) for steps in (1, 2)]
    found = bench.evaluate([Darkness(), "net", Darkness()], [*attacks, "noise"], eps="l2:0.3", **options)
    ran = [(meta.detector, meta.threat, meta.gradients // 80) for meta in found.metas]
    assert ran[:4] == [
        ("darkness", "clean", 0),
        ("darkness", "noise", 0),
        ("darkness", "pgd", 1),
        ("darkness", "pgd-2", 2),
    ]
    assert [detector for detector, threat, _ in ran if threat == "clean"] == ["darkness", "net", "darkness-2"]
    assert len(ran) == 12


def test_of_several_one_that_cannot_be_computed_is_left_out_with_a_warning(options):
    with pytest.warns(UserWarning, match="nan x clean on tiny: .*not finite"):
        found = bench.evaluate("nan,net", "fgm", eps=0.3, **options)
    assert {meta.detector for meta in found.metas} == {"net"}
    with pytest.raises(NotApplicableError, match="follows gradients"):
        bench.evaluate(Hidden(), ["pgd", "fgm"], eps="l2:0.3", **options)


def test_the_notes_of_a_run_are_at_hand_and_named(options):
    found = bench.evaluate(lambda x: -x.mean((1, 2, 3)) + torch.rand(()), "noise", eps="l2:0.3", **options)
    assert any("twice" in note or "differ" in note for note in found.notes), found.notes
    assert f"({len(found.notes)} notes to read in `notes`)" in repr(found)
    assert not bench.evaluate("net", "noise", eps=0.3, **options).notes


def test_the_function_says_what_it_takes_and_what_it_gives():
    """What an editor shows, and `help`: the arguments of the function that computes, and tables in place of cells."""
    own, inner = inspect.signature(bench.evaluate), inspect.signature(computed.evaluate)
    assert own.return_annotation is Evaluation
    assert own.parameters == inner.parameters and len(own.parameters) > 5
    assert (bench.evaluate.__name__, bench.evaluate.__doc__) == ("evaluate", computed.evaluate.__doc__)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"detector": nn.Linear(1, 1)}, r"Linear cannot score 2 images of shape \(1, 6, 6\)"),
        ({"detector": Darkness}, "detector is the class Darkness; give a name, a function"),
        ({"detector": {"net": 1}}, "detector is of type dict"),
        ({"detector": ["net", {"net": 1}]}, "detector is of type dict"),
        ({"detector": []}, "no detector was given"),
        ({"detector": "net,nett"}, "did you mean net"),
        ({"threat": ["pgd", 3]}, "threat is of type int"),
        ({"threat": 3}, "threat is of type int"),
        ({"track": {"test": None}}, "track is of type dict; give a name, a TrackCard or a Track"),
        ({"track": TensorDataset(torch.zeros(2, 1, 6, 6))}, "track is of type TensorDataset"),
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


class Hidden(Darkness):
    @torch.inference_mode()
    def score(self, x):
        return super().score(x)


@pytest.mark.parametrize("threat", ["pgd", PGD(PGDParams(steps=1, restarts=1))], ids=["card", "object"])
def test_a_threat_that_follows_gradients_is_refused_on_a_module_without_one(threat, options):
    with pytest.raises(NotApplicableError, match="follows gradients and detector 'hidden' has none"):
        bench.evaluate(Hidden(), threat, eps="l2:0.3", **options)
    assert len(bench.evaluate(Hidden(), "noise", eps=0.3, **options).cells) == 2


def test_a_gradient_that_is_zero_at_every_image_is_none(options):
    steps = lambda x: (4 * x.mean((1, 2, 3))).round() + 0 * x.sum((1, 2, 3))  # noqa: E731
    with pytest.raises(NotApplicableError, match="has one that is zero at every image that was tried"):
        bench.evaluate(steps, "pgd", eps="l2:0.3", **options)


def test_a_gradient_that_is_zero_at_made_up_images_alone_is_followed(options):
    """The track's dark images have a mean of about 0.3; made-up ones of 0.31 to 0.33 are none."""
    narrow = lambda x: -(x.mean((1, 2, 3)) - 0.3125).abs().clamp(max=0.015)  # noqa: E731
    _, attacked = bench.evaluate(narrow, "pgd", eps="l2:0.3", steps=2, restarts=1, **options).cells
    assert attacked.meta.gradients > 0


def test_a_function_and_a_plain_classifier_are_scored_as_a_callable_is(options):
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    tables = [bench.evaluate(given, "fgm", eps=0.3, **options).table() for given in (net, lambda x: {"logits": net(x)})]
    assert tables[0]["auroc"].equals(tables[1]["auroc"])


def test_an_offset_changes_no_rank_of_float64_scores(options):
    scores = lambda x: -x.double().mean((1, 2, 3))  # noqa: E731
    near, far = (
        bench.evaluate(f, "pgd", eps="l2:0.3", steps=5, restarts=2, **options)
        for f in (scores, lambda x: 1e-2 * scores(x) - 1_000_000.0)
    )
    assert [meta.mean.auroc for meta in near.metas] == [meta.mean.auroc for meta in far.metas]
    samples = far.cells[1].samples
    assert {str(samples[column].dtype) for column in ("clean_score", "score", "last_score")} == {"float64"}


def test_scores_of_float32_stay_so(options):
    samples = bench.evaluate("net", "fgm", eps=0.3, **options).cells[1].samples
    assert {str(samples[column].dtype) for column in ("clean_score", "score", "last_score")} == {"float32"}
