"""`bench new network` on the modules and checkpoints that people have, and `bench show` of what was found in them."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from toy_runs import bench

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 6, 3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, num_classes)

    def features(self, x):
        return torch.relu_(self.second(torch.relu_(self.first(x)))).mean((2, 3))

    def forward(self, x):
        return {"hidden": x, "logits": self.head(self.drop(self.features(x)))}

class AlwaysRandom(Net):
    def forward(self, x):
        return self.head(nn.functional.dropout(self.features(x), training=True))

class NoLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.only(x).mean((2, 3))

class OneSize(Net):
    def forward(self, x):
        if x.shape[-1] != 32:
            raise ValueError("images of 32 pixels are needed")
        return super().forward(x)

def build(num_classes):
    return Net(num_classes).train().to(memory_format=torch.channels_last)

def half(num_classes):
    return Net(num_classes).half()

def nothing():
    return 3
"""


FOLDERS = (("id/a", 0, 60, 45), ("id/b", 40, 110, 45), ("planes", 120, 250, 6), ("cats", 90, 200, 6))
"""Name, lowest and highest byte, count."""


def images(folder, low, high, count):
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(low).integers(low, high, size=(count, 8, 8, 3), dtype=np.uint8)
    for number, pixel in enumerate(pixels):
        Image.fromarray(pixel).save(folder / f"{number}.png")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A user's folder with a module, images and a track that `bench new track` made of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_of_a_stranger.py").write_text(MODULE)
    for name, low, high, count in (
        ("id/a", 0, 60, 45),
        ("id/b", 40, 110, 45),
        ("planes", 120, 250, 6),
        ("cats", 90, 200, 6),
    ):
        images(tmp_path / name, low, high, count)
    made = bench("new", "track", "birds", "--id", "id", "--ood", "planes", "--ood", "felines=cats")
    assert made.exit_code == 0, made.output
    return tmp_path


def new_network(method, *more, name="mine"):
    return bench("new", "network", name, "--from", method, "--track", "birds", *more)


def refused(made, *parts):
    """It ends with exit code 2 and one sentence that holds all parts."""
    assert made.exit_code == 2, made.output
    said = " ".join(made.output.split())
    assert "Traceback" not in said
    for part in parts:
        assert part in said


@pytest.mark.parametrize("name", ["mine", "energy@mine"])
def test_a_network_is_shown_with_what_was_found_in_it(workspace, name):
    assert new_network("nets_of_a_stranger:build").exit_code == 0
    shown = bench("show", name)
    assert shown.exit_code == 0, shown.output
    for line in ("# penultimate: the input of head", "# logits: head", "# layers: first, second"):
        assert line in shown.output.splitlines()


def test_a_checkpoint_of_a_parallel_training_in_half_precision_gives_the_same_weights(workspace, monkeypatch):
    monkeypatch.syspath_prepend(str(workspace))
    from nets_of_a_stranger import Net

    state = {f"module.{name}": value.half() for name, value in Net().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, "mine.pth")
    made = new_network("nets_of_a_stranger:build", "--weights", "mine.pth")
    assert made.exit_code == 0, made.output
    from safetensors.torch import load_file

    written = load_file(workspace / "detectors/weights/mine.safetensors")
    assert written.keys() == Net().state_dict().keys()
    assert torch.equal(written["head.weight"].half(), state["module.head.weight"])


@pytest.mark.parametrize(
    ("method", "more", "parts"),
    [
        ("nets_of_a_stranger:NoLinear", [], ["last linear layer", "layers:"]),
        ("nets_of_a_stranger:AlwaysRandom", [], ["other logits for the same images"]),
        ("nets_of_a_stranger:nothing", [], ["makes a int", "nn.Module"]),
        ("nets_of_a_stranger:build", ["--arg", "num_classes=5"], ["5 logits", "2 classes"]),
        ("nets_of_a_stranger:build", ["--size", "1"], ["cannot take images of shape (3, 1, 1)", "resize"]),
        ("torchvision:resnet180", ["--weights", "x.pth"], ["no network 'resnet180'", "did you mean"]),
        ("torchvision:resnet18", [], ["without weights", "--weights FILE"]),
    ],
)
def test_what_cannot_be_a_network_of_the_track_is_refused_in_a_sentence(workspace, method, more, parts):
    refused(new_network(method, *more), *parts)
    assert not (workspace / "detectors/networks/mine.yaml").exists()


def test_an_input_size_that_alone_is_taken_is_found_and_told(workspace):
    made = new_network("nets_of_a_stranger:OneSize")
    assert made.exit_code == 0, made.output
    assert "brought to 32" in " ".join(made.output.split())
    assert yaml.safe_load((workspace / "detectors/networks/mine.yaml").read_text())["resize"] == 32


def test_weights_that_do_not_fit_are_named(workspace, monkeypatch):
    monkeypatch.syspath_prepend(str(workspace))
    from nets_of_a_stranger import Net

    torch.save(Net(num_classes=7).state_dict(), "other.pth")
    refused(new_network("nets_of_a_stranger:build", "--weights", "other.pth"), "head.weight")


def test_a_card_is_never_written_over(workspace):
    assert new_network("nets_of_a_stranger:build").exit_code == 0
    before = {file: file.read_bytes() for file in (workspace / "detectors").rglob("*.*")}
    refused(new_network("nets_of_a_stranger:half"), "'mine' already", "--replace")
    refused(new_network("nets_of_a_stranger:NoLinear", "--replace"), "last linear layer")
    refused(new_network("nets_of_a_stranger:build", "--replace", name="at-cifar10"), "'at-cifar10' already")
    assert before == {file: file.read_bytes() for file in (workspace / "detectors").rglob("*.*")}
    refused(bench("new", "track", "birds", "--id", "id", "--ood", "cats"), "'birds' already")


def test_a_network_is_written_over_where_that_is_asked_for(workspace):
    assert new_network("nets_of_a_stranger:build").exit_code == 0
    made = new_network("nets_of_a_stranger:OneSize", "--replace")
    assert made.exit_code == 0, made.output
    assert yaml.safe_load((workspace / "detectors/networks/mine.yaml").read_text())["resize"] == 32


def test_it_is_said_on_which_network_plain_scores_stand_and_replace_changes_it(workspace):
    track = workspace / "datasets/birds.yaml"
    made = new_network("nets_of_a_stranger:build")
    assert "a score such as knn stands on 'mine'" in " ".join(made.output.split())
    card = track.read_bytes()
    made = new_network("nets_of_a_stranger:build", name="other")
    said = " ".join(made.output.split())
    assert "a score such as knn stands on 'mine'; name the new one by `knn@other`" in said
    assert "--replace" in said
    assert track.read_bytes() == card
    made = new_network("nets_of_a_stranger:build", "--replace", name="other")
    assert "a score such as knn stands on 'other'" in " ".join(made.output.split())
    assert yaml.safe_load(track.read_bytes()) == yaml.safe_load(card) | {"network": "other"}
    assert "wrote datasets/birds.yaml" in made.output.replace(f"{workspace}/", "")


@pytest.mark.parametrize("name", ["../mine", "Mine", "a@b", ""])
def test_a_name_that_is_no_plain_file_name_is_refused(workspace, name):
    refused(new_network("nets_of_a_stranger:build", name=name), "is not allowed")


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--id", "nowhere", "--ood", "cats"], ["'nowhere'", "missing"]),
        (["--id", "cats", "--ood", "planes"], ["has 6 images", "ten or more"]),
        (["--id", "id", "--ood", "cats", "--ood", "cats"], ["NAME=FOLDER"]),
        (["--id", "id", "--ood", "cats", "--classes", "9"], ["2 class folders"]),
    ],
)
def test_folders_that_make_no_track_are_refused_in_a_sentence(workspace, more, parts):
    made = bench("new", "track", "other", *more)
    refused(made, *parts)


@pytest.mark.parametrize(("library", "method"), [("timm", "timm:no_such_one"), ("transformers", "hf:no-such-type")])
def test_an_unknown_name_of_a_library_is_refused_in_a_sentence(workspace, library, method):
    pytest.importorskip(library)
    torch.save({"a": torch.zeros(1)}, "some.pth")
    more = ["--arg", "config={hidden_size: 8}"] if library == "transformers" else []
    refused(new_network(method, "--weights", "some.pth", *more), "no-such-type" if more else "no_such_one")


def test_a_vision_transformer_of_a_config_is_a_network(workspace):
    transformers = pytest.importorskip("transformers")
    config = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "image_size": 8,
        "patch_size": 4,
        "num_labels": 2,
    }
    torch.save(transformers.ViTForImageClassification(transformers.ViTConfig(**config)).state_dict(), "hf.pth")
    made = new_network("hf:vit", "--weights", "hf.pth", "--arg", f"config={config}")
    assert made.exit_code == 0, made.output
    assert "classifier" in made.output
