"""`bench new`: what it writes validates and runs, and what it cannot use is one sentence that leaves nothing behind."""

import sys

import pytest
import torch
import yaml
from photo_folders import make_photos
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cli.app import app
from bench.detectors.loading import load_detector
from bench.validation.checks import check_catalog


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder: images of two classes, two folders of others, and a module with networks."""
    module = make_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield module
    sys.modules.pop(module, None)


@pytest.fixture
def new(folder):
    """Runs `bench new` with words, MODULE standing for the user's module."""

    def run(*words: str):
        return CliRunner().invoke(app, ["new", *(word.replace("MODULE", folder) for word in words)])

    return run


TRACK = ("track", "things", "--id", "photos/things", "--ood", "photos/leaves", "--ood", "rocks=photos/stones")


def test_three_commands_lead_from_folders_to_a_table(new, tmp_path):
    assert new(*TRACK).exit_code == 0
    made = new("network", "mine", "--from", "MODULE:Small", "--track", "things")
    assert made.exit_code == 0, made.output
    assert "penultimate: the input of head" in made.output and "layers: stem" in made.output
    ran = CliRunner().invoke(
        app, ["run", "--detector", "energy,residual,vim", "--network", "mine", "--track", "things", "--threat",
              "clean,pgd-linf", "--eps", "8/255", "--steps", "2", "--restarts", "1", "--limit", "6", "--quiet"],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    assert "6 cells in 'runs': 6 computed" in ran.output
    assert all(checked.ok for checked in check_catalog(Catalog(tmp_path, builtin=tmp_path)))


def test_a_track_is_cut_in_three_that_hold_different_images(new, tmp_path):
    new(*TRACK)
    card = Catalog(tmp_path).track("things")
    assert (card.shape, card.classes, list(card.ood)) == ((3, 8, 8), 2, ["leaves", "rocks"])
    bounds = [(part.start, part.stop) for part in (card.train, card.calibration, card.test)]
    assert bounds == [(0, 24), (24, 32), (32, None)]


def test_a_workspace_is_made_where_there_is_none_and_said(new, tmp_path):
    said = new(*TRACK).output.replace("\n", "")
    assert (tmp_path / "robustood.toml").is_file()
    assert str(tmp_path / "robustood.toml") in said
    assert "robustood.toml" not in new("detector", "mine").output


def test_a_network_becomes_the_own_one_of_a_track_that_has_none(new, tmp_path):
    new(*TRACK)
    for name in ("first", "second"):
        new("network", name, "--from", "MODULE:Small", "--track", "things")
    assert Catalog(tmp_path).track("things").network == "first"


def test_weights_of_a_checkpoint_are_kept_under_the_network_s_own_names(new, tmp_path):
    new(*TRACK)
    torch.manual_seed(5)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    state = {
        "module.stem.weight": torch.rand(4, 3, 3, 3),
        "module.stem.bias": torch.rand(4),
        "module.norm.weight": torch.ones(4),
        "module.norm.bias": torch.zeros(4),
        "module.norm.running_mean": torch.zeros(4),
        "module.norm.running_var": torch.ones(4),
        "module.norm.num_batches_tracked": torch.tensor(3),
        "module.head.weight": torch.rand(2, 4),
        "module.head.bias": torch.rand(2),
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pth")
    made = new("network", "mine", "--from", "MODULE:Small", "--track", "things", "--weights", "w.pth")
    assert made.exit_code == 0, made.output
    found = Catalog(tmp_path)
    card = yaml.safe_load((tmp_path / "detectors/networks/mine.yaml").read_text())
    assert card["args"] == {"num_classes": 2} and len(card["weights"][0]["sha256"]) == 64
    loaded = load_detector(found.detector_spec("energy", "things"), found.track("things"), found)
    inside = getattr(loaded, "inner", loaded).network.network.module
    assert torch.equal(inside.head.bias, state["module.head.bias"])
    torch.save(module.state_dict(), tmp_path / "other.pth")
    wrong = new("network", "wrong", "--from", "MODULE:Small", "--track", "things", "--weights", "other.pth")
    assert wrong.exit_code == 2
    assert "missing stem.weight, stem.bias, norm.weight and 5 more" in wrong.output.replace("\n", " ")


def test_a_module_that_is_made_already_in_half_precision_and_another_memory_format_is_a_network(new):
    new(*TRACK)
    made = new("network", "mine", "--from", "MODULE:made", "--track", "things")
    assert made.exit_code == 0, made.output


def test_images_are_brought_to_the_size_that_a_network_takes(new, tmp_path):
    new(*TRACK)
    made = new("network", "mine", "--from", "MODULE:Fixed", "--track", "things")
    assert made.exit_code == 0, made.output
    assert "brought to 28" in made.output
    assert Catalog(tmp_path).network("mine").resize == 28


@pytest.mark.parametrize("kind", ["detector", "threat"])
def test_a_score_and_a_threat_to_begin_with_validate_and_run(new, tmp_path, kind):
    made = new(kind, f"my-{kind}")
    assert made.exit_code == 0, made.output
    words = {"detector": ["my-detector", "pgd-l2"], "threat": ["energy", "my-threat"]}[kind]
    ran = CliRunner().invoke(
        app, ["run", "--detector", words[0], "--threat", words[1], "--track", "digits", "--eps", "0.1", "--limit", "5",
              "--quiet", *(["--steps", "2", "--restarts", "1"] if kind == "detector" else [])],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    again = new(kind, f"my-{kind}")
    assert again.exit_code == 2 and "already" in again.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("track", "No Name", "--id", "photos/things", "--ood", "photos/leaves"), "name 'No Name' is not allowed"),
        (("track", "t", "--id", "photos/nowhere", "--ood", "photos/leaves"), "folder 'photos/nowhere' is missing"),
        (("track", "t", "--id", "photos/leaves", "--ood", "photos/stones"), "has no class folders; say how many"),
        (("track", "t", "--id", "photos/things", "--ood", "photos/leaves", "--classes", "3"), "has 2 class folders"),
        (("network", "n", "--from", "MODULE:headless", "--track", "things"), "last linear layer"),
        (("network", "n", "--from", "MODULE:broken", "--track", "things"), "makes no network (no file)"),
        (("network", "n", "--from", "MODULE:Small", "--track", "things", "--arg", "num_classes=3"), "has 3 logits"),
        (("network", "n", "--from", "MODULE:Small", "--track", "things", "--arg", "width"), "allowed is NAME=VALUE"),
        (("network", "n", "--from", "MODULE:Fixed", "--track", "things", "--size", "30"), "cannot take images"),
        (("network", "n", "--from", "MODULE:gone", "--track", "things"), "has no 'gone'"),
        (("network", "n", "--from", "torchvision:resnet18", "--track", "things"), "is made without weights"),
        (("network", "n", "--from", "torchvision:resnet81", "--track", "things"), "did you mean resnet18"),
        (("network", "n", "--from", "file:gone.pt2", "--track", "things"), "cannot be read"),
        (("network", "n", "--from", "subprocess:run", "--track", "things"), "belongs to Python's own library"),
        (("network", "n", "--from", "MODULE:Small", "--track", "nowhere"), "unknown track 'nowhere'"),
        (("network", "n", "--from", "MODULE:Small", "--track", "things", "--weights", "gone.pth"), "cannot be read"),
        (("network", "n", "--from", "MODULE:Small", "--track", "things", "--mean", "a,b"), "allowed are numbers"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_writes_no_card(new, tmp_path, words, sentence):
    new(*TRACK)
    before = sorted(tmp_path.rglob("*.yaml"))
    asked = new(*words)
    assert asked.exit_code == 2, asked.output
    assert sentence in asked.output.replace("\n", " ")
    assert sorted(tmp_path.rglob("*.yaml")) == before


@pytest.mark.parametrize(
    ("kind", "next_command"),
    [
        ("detector", "bench run --detector mine --threat clean,pgd-l2 --limit 100"),
        ("threat", "--threat mine"),
    ],
)
def test_the_last_line_is_the_command_that_runs_what_was_written(folder, kind, next_command):
    done = CliRunner().invoke(app, ["new", kind, "mine"])
    assert done.exit_code == 0, done.output
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("next: bench run ")
    assert next_command in last
