"""Published checkpoints become weights files, and nothing in them runs."""

import os
from pathlib import Path

import pytest
import torch

from bench.catalog import Catalog
from bench.detectors import convert
from bench.detectors.convert import convert_checkpoint, read_checkpoint
from bench.detectors.loading import load_detector
from bench.detectors.networks.resnet import ResNet
from bench.errors import UsageError, WeightsError
from bench.specs import DetectorCard, TrackCard

NETWORK = {"method": "bench.detectors.networks.resnet:ResNet", "args": {"channels": 1, "blocks": 1}}


@pytest.fixture
def track() -> TrackCard:
    part = {"source": "none"}
    return TrackCard(
        name="toy", summary="", shape=(1, 8, 8), classes=10,
        train=part, calibration=part, test=part, ood={"other": part},
    )  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for folder in ("workspace", "builtin"):
        (tmp_path / folder).mkdir()
    return Catalog(tmp_path / "workspace", builtin=tmp_path / "builtin")


def spec(network=NETWORK, weights=({"file": "w.safetensors"},)):
    here = {"network": network, "weights": list(weights)}
    return DetectorCard(name="mine", summary="", method="bench.detectors.msp:MSP", tracks={"toy": here}).on_track("toy")


@pytest.fixture
def network() -> ResNet:
    return ResNet(channels=1, blocks=1)


def saved(content, folder: Path, name: str = "published.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize(
    "form",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "best": 0.9},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        lambda state: {k: v.double() if v.is_floating_point() else v for k, v in state.items()},
    ],
    ids=["plain", "nested", "parallel", "without-counters", "float64"],
)
def test_a_checkpoint_scores_as_its_network_does(form, network, tmp_path, catalog, track):
    file = saved(form(network.state_dict()), tmp_path)
    path, sha = convert_checkpoint(file, spec(), track, catalog)
    assert path == catalog.weights_dir_for_writing() / "w.safetensors"
    detector = load_detector(spec(weights=[{"file": "w.safetensors", "sha256": sha}]), track, catalog)
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(detector.logits(x), network.eval()(x))


def test_the_file_may_be_named(network, tmp_path, catalog, track):
    out = tmp_path / "elsewhere" / "w.safetensors"
    assert convert_checkpoint(saved(network.state_dict(), tmp_path), spec(), track, catalog, out=out)[0] == out
    assert out.is_file()


def test_safetensors_may_be_converted_too(network, tmp_path, catalog, track):
    convert.save_tensors(tmp_path / "n.safetensors", network.state_dict())
    convert_checkpoint(tmp_path / "n.safetensors", spec(), track, catalog)
    assert catalog.weights_path("w.safetensors") is not None


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    with pytest.raises(WeightsError, match="would run code"):
        read_checkpoint(saved({"state_dict": Bomb()}, tmp_path))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_checkpoint_is_a_sentence(content, tmp_path):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as weights alone"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_missing_checkpoint_is_a_sentence(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"a": 1}}, torch.zeros(3)])
def test_a_checkpoint_without_tensors_by_name_is_a_sentence(content, tmp_path):
    with pytest.raises(WeightsError, match="holds no state_dict"):
        read_checkpoint(saved(content, tmp_path))


def test_a_checkpoint_of_another_network_is_told_by_name(tmp_path, catalog, track):
    file = saved(ResNet(channels=1, blocks=2).state_dict(), tmp_path)
    with pytest.raises(WeightsError, match=r"do not fit: unexpected layer1.1.conv1.weight"):
        convert_checkpoint(file, spec(), track, catalog)
    assert catalog.weights_path("w.safetensors") is None


def test_another_checkpoint_than_the_cards_is_not_written(network, tmp_path, catalog, track):
    card = spec(weights=[{"file": "w.safetensors", "sha256": "0" * 64}])
    with pytest.raises(WeightsError, match="the card expects 0000"):
        convert_checkpoint(saved(network.state_dict(), tmp_path), card, track, catalog)
    assert catalog.weights_path("w.safetensors") is None


def test_a_checkpoint_above_the_size_limit_is_refused_unread(network, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "SIZE_LIMIT", 100)
    with pytest.raises(WeightsError, match="allowed are 100"):
        read_checkpoint(saved(network.state_dict(), tmp_path))


def test_a_card_without_a_weights_file_asks_for_one(network, tmp_path, catalog, track):
    with pytest.raises(UsageError, match="or give --out"):
        convert_checkpoint(saved(network.state_dict(), tmp_path), spec(weights=()), track, catalog)


def test_a_card_without_a_network_has_nothing_to_convert(network, tmp_path, catalog, track):
    with pytest.raises(UsageError, match="nothing to convert"):
        convert_checkpoint(saved(network.state_dict(), tmp_path), spec(network=None), track, catalog)
