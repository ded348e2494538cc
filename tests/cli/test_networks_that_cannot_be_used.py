"""What is wrong with a network is one sentence of `bench run` with exit code 2: what was given, and what to do."""

import re

import numpy as np
import pytest
import torch
import yaml
from toy_runs import bench

from bench.datasets.base import content_digest
from bench.detectors.networks import makers
from bench.detectors.weights import save_tensors

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.head = nn.Conv2d(4, 4, 3), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x))).mean((2, 3)))

class NoHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.first(x).mean((2, 3))

class OneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 2)

    def forward(self, x):
        return self.head(x.flatten(1))

def black_box(x):
    return -x.numpy().mean(axis=(1, 2, 3))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder, sets = tmp_path_factory.mktemp("nets"), {}
    rng = np.random.default_rng(5)
    for name, count in {"train": 12, "calibration": 8, "test": 4, "other": 4}.items():
        images, labels = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), np.arange(count) % 2
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
        sets[name] = {"source": "npz", "args": {"file": f"{name}.npz"}, "digest": content_digest(images, labels)}
    card = {
        "name": "small",
        "summary": "few images",
        "shape": [3, 8, 8],
        "classes": 2,
        **{name: sets[name] for name in ("train", "calibration", "test")},
        "ood": {"other": sets["other"]},
    }
    (folder / "robustood.toml").touch()
    (folder / "nets_of_somebody.py").write_text(MODULE)
    write(folder / "datasets/small.yaml", card)
    return folder


def write(file, card):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(card))


def run(workspace, detector, *more):
    places = ("--workspace", workspace, "--data-dir", workspace, "--out", workspace / "runs")
    return bench("run", "--track", "small", "--quiet", "--detector", detector, "--threat", "clean", *more, *places)


def run_on(workspace, method, detector="energy", **settings):
    card = {"name": "theirs", "summary": "a net", "track": "small", "method": method, **settings}
    write(workspace / "detectors/networks/theirs.yaml", card)
    return run(workspace, detector, "--network", "theirs")


def said(refused):
    """The one sentence of a command that ended with 2."""
    assert refused.exit_code == 2, refused.output
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in refused.output, refused.output
    return errors[0]


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        ("NoHead", {}, "the last linear layer of network .* cannot be found; name its layers: layers: {penultimate: "),
        ("Net", {"args": {"classes": 5}}, "has 5 logits and must have 2; correct its args"),
        ("Net", {"layers": {"penultimate": "nose"}}, "has no layer 'nose'; its layers begin with: first, norm, second"),
        ("Net", {"layers": {"hidden": ["first", "ear"]}}, "has no layer 'ear'; its layers begin with: first"),
        ("OneSize", {}, r"cannot take images of shape \(3, 8, 8\) .*; give the size that it was made for"),
        ("OneSize", {"resize": 16}, r"cannot take images of shape \(3, 16, 16\) .*; give the size"),
    ],
    ids=["no-head", "outputs", "penultimate", "hidden", "size", "resize"],
)
def test_a_network_that_does_not_fit_the_track_or_its_card(workspace, method, settings, sentence):
    assert re.search(sentence, said(run_on(workspace, f"nets_of_somebody:{method}", **settings)))


def state_of(workspace, **changes):
    """The tensors of `Net`, some of them changed, None for absent ones."""
    names: dict[str, object] = {}
    exec(MODULE, names)
    state = {**names["Net"]().state_dict(), **changes}
    return {name: value for name, value in state.items() if value is not None}


def run_with(workspace, state):
    save_tensors(workspace / "detectors/weights/theirs.safetensors", state)
    return run_on(workspace, "nets_of_somebody:Net", weights=[{"file": "theirs.safetensors"}])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            dict.fromkeys(["first.weight", "first.bias", "head.weight", "head.bias"]),
            r"missing \S+first\.weight, \S+first\.bias, \S+head\.weight and 1 more; use the weights made",
        ),
        (
            {f"extra.{n}": torch.zeros(1) for n in "abcde"},
            r"unexpected \S+extra\.a, \S+extra\.b, \S+extra\.c and 2 more; use the weights made",
        ),
        (
            {name: torch.zeros(9) for name in ("first.bias", "second.bias", "head.bias", "norm.bias")},
            r"another shape of \S+first\.bias, \S+norm\.bias, \S+second\.bias and 1 more "
            r"\(\S+first\.bias is \(9,\) and must be \(4,\)\)",
        ),
        ({"head.bias": torch.tensor([0.0, torch.nan])}, r"hold NaN or infinite numbers in \S+head\.bias"),
    ],
    ids=["missing", "unexpected", "reshaped", "nan"],
)
def test_weights_that_do_not_fit_with_the_first_three_named(workspace, changes, sentence):
    assert re.search(sentence, said(run_with(workspace, state_of(workspace, **changes))))


def test_weights_in_half_precision_with_their_counters_are_loaded(workspace):
    state = state_of(workspace, **{"norm.num_batches_tracked": torch.tensor(100_000)})
    halved = {name: value.half() for name, value in state.items()}
    assert halved["norm.num_batches_tracked"].isinf()
    done = run_with(workspace, halved)
    assert done.exit_code == 0, done.stderr


def test_a_class_without_training_images_is_named_by_a_fit(workspace):
    told = said(run_on(workspace, "nets_of_somebody:Net", "klm", weights=[saved_one_class(workspace)]))
    assert re.search(r"the network predicts class 1 for no calibration image, and every class needs one; use a", told)


def saved_one_class(workspace):
    """Weights of a network that predicts class 0 for everything."""
    state = state_of(workspace, **{"head.weight": torch.zeros(2, 4), "head.bias": torch.tensor([1.0, 0.0])})
    save_tensors(workspace / "detectors/weights/one-class.safetensors", state)
    return {"file": "one-class.safetensors"}


@pytest.mark.parametrize(
    "settings",
    [
        {"tracks": {"small": {"network": {"method": "nets_of_somebody:Net", "resize": 16}}}},
        {"tracks": {"small": {"network": {"method": "nets_of_somebody:Net", "crop": 4}}}},
        {"on_network": True},
    ],
    ids=["resize", "crop", "on-network"],
)
@pytest.mark.parametrize("kind", ["callable", "exported"])
def test_a_resize_or_a_network_that_is_asked_of_a_black_box(workspace, kind, settings, monkeypatch):
    monkeypatch.chdir(workspace)
    method, params = {
        "callable": ("callable:CallableDetector", {"target": "nets_of_somebody:black_box"}),
        "exported": ("exported:ExportedDetector", {"path": "gone.pt2", "sha256": "0" * 64}),
    }[kind]
    card = {"name": "dark", "summary": "theirs", "method": f"bench.detectors.adapters.{method}", "params": params}
    write(workspace / "detectors/dark.yaml", {**card, **settings})
    more = ("--network", "theirs") if "on_network" in settings else ()
    write(
        workspace / "detectors/networks/theirs.yaml",
        {"name": "theirs", "summary": "", "track": "small", "method": "nets_of_somebody:Net"},
    )
    told = said(run(workspace, "dark", *more))
    assert "is asked as a program, with the track's images as they are: no network, crop or resize stands" in told
    assert "bench new network" in told


@pytest.mark.parametrize(
    ("library", "method", "sentence"),
    [
        ("torchvision", "torchvision:resnet81", "torchvision has no network 'resnet81'; did you mean resnet18"),
        ("timm", "timm:resnet_18", "timm has no network 'resnet_18'; did you mean resnet18"),
        ("transformers", "hf:nobody/nothing", "no config of it is on this machine; write it into the card"),
    ],
)
def test_an_unknown_name_of_a_library(workspace, library, method, sentence, monkeypatch):
    pytest.importorskip(library)
    asked = []
    monkeypatch.setattr("socket.socket.connect", lambda *told: asked.append(told))
    assert sentence in said(run_on(workspace, method))
    assert asked == []


@pytest.mark.parametrize(("method", "extra"), [("timm:resnet18", "timm"), ("hf:vit", "hf"), ("file:a.onnx", "onnx")])
def test_a_library_that_is_not_there_is_named_with_its_extra(workspace, method, extra, monkeypatch):
    there = makers.import_module

    def gone(name):
        if name in ("timm", "transformers", "onnx", "onnx2torch"):
            raise ImportError(name)
        return there(name)

    monkeypatch.setattr(makers, "import_module", gone)
    args = {"args": {"sha256": "0" * 64}} if extra == "onnx" else {}
    assert f"pip install 'robustood[{extra}]'" in said(run_on(workspace, method, **args))
