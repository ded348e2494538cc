"""Published checkpoints become weights files, and nothing in them runs."""

import os
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorCard
from bench.cards.track import TrackCard
from bench.detectors import checkpoints
from bench.detectors.checkpoints import read_checkpoint
from bench.detectors.convert import convert_checkpoint
from bench.detectors.loading import load_detector
from bench.detectors.networks.resnet import ResNet
from bench.detectors.weights import load_tensors, save_tensors
from bench.errors import UsageError, WeightsError

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
        lambda state: {"net": state, "acc": 95.2, "epoch": 3},
        lambda state: {"whatever": {"deeper": state}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
        lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
        lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
        lambda state: {k.replace("layer1.", "layer1._orig_mod."): v for k, v in state.items()},
        lambda state: {"state_dict": {f"model.backbone.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {"n_averaged": torch.tensor(7), **{f"module.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": state, "best": np.float64(93.2), "seen": np.int32(4), "args": Namespace(lr=0.1)},
        lambda state: {"model": state, "losses": np.arange(3.0), "kept": state},
        lambda state: {"state_dict": [state, {}], "epoch": 3},
    ],
    ids=[
        "plain",
        "nested",
        "parallel",
        "without-counters",
        "float64",
        "net",
        "deeper",
        "compiled",
        "compiled-parallel",
        "compiled-inside",
        "lightning",
        "averaged",
        "numbers",
        "arrays-and-twice",
        "cascade",
    ],
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
    save_tensors(tmp_path / "n.safetensors", network.state_dict())
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
    with pytest.raises(WeightsError, match=r"found at the top, do not fit: unexpected layer1.1.conv1.weight"):
        convert_checkpoint(file, spec(), track, catalog)
    assert catalog.weights_path("w.safetensors") is None


def test_another_checkpoint_than_the_cards_is_not_written(network, tmp_path, catalog, track):
    card = spec(weights=[{"file": "w.safetensors", "sha256": "0" * 64}])
    with pytest.raises(WeightsError, match="the card expects 0000"):
        convert_checkpoint(saved(network.state_dict(), tmp_path), card, track, catalog)
    assert catalog.weights_path("w.safetensors") is None


def test_a_checkpoint_above_the_size_limit_is_refused_unread(network, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SIZE_LIMIT", 100)
    with pytest.raises(WeightsError, match="allowed are 100"):
        read_checkpoint(saved(network.state_dict(), tmp_path))


def test_a_card_without_a_weights_file_asks_for_one(network, tmp_path, catalog, track):
    with pytest.raises(UsageError, match="or give --out"):
        convert_checkpoint(saved(network.state_dict(), tmp_path), spec(weights=()), track, catalog)


def test_a_card_without_a_network_has_nothing_to_convert(network, tmp_path, catalog, track):
    with pytest.raises(UsageError, match="nothing to convert"):
        convert_checkpoint(saved(network.state_dict(), tmp_path), spec(network=None), track, catalog)


def test_half_precision_becomes_float32(network, tmp_path, catalog, track):
    state = {k: v.bfloat16() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    path, _ = convert_checkpoint(saved({"ema": state}, tmp_path), spec(), track, catalog)
    written = load_tensors(path)["network.network.conv1.weight"]
    assert written.dtype is torch.float32 and torch.equal(written, state["conv1.weight"].float())


def test_of_several_states_that_fit_and_differ_one_must_be_named(network, tmp_path, catalog, track):
    other = ResNet(channels=1, blocks=1)
    file = saved({"model": network.state_dict(), "averages": {"model": other.state_dict()}}, tmp_path)
    with pytest.raises(WeightsError, match=r"one below 'model' and another below 'averages.model'; say which by --key"):
        convert_checkpoint(file, spec(), track, catalog)
    path, _ = convert_checkpoint(file, spec(), track, catalog, key="averages.model")
    assert torch.equal(load_tensors(path)["network.network.conv1.weight"], other.state_dict()["conv1.weight"])
    with pytest.raises(WeightsError, match=r"its keys with some: model, averages\.model"):
        convert_checkpoint(file, spec(), track, catalog, key="ema")


def test_of_a_cascade_a_network_is_named_by_its_position(network, tmp_path, catalog, track):
    other = ResNet(channels=1, blocks=1)
    file = saved({"state_dict": [network.state_dict(), other.state_dict()]}, tmp_path)
    with pytest.raises(WeightsError, match=r"one below 'state_dict.0' and another below 'state_dict.1'"):
        convert_checkpoint(file, spec(), track, catalog)
    path, _ = convert_checkpoint(file, spec(), track, catalog, key="state_dict.1")
    assert torch.equal(load_tensors(path)["network.network.conv1.weight"], other.state_dict()["conv1.weight"])


def test_what_does_not_fit_is_told_with_its_container_and_prefix(network, tmp_path, catalog, track):
    state = {f"module.{k}": v for k, v in network.state_dict().items() if not k.startswith("bn1.")}
    expected = (
        r"found below 'net' with the prefix 'module\.', do not fit: missing bn1.weight, bn1.bias, bn1.running_mean"
    )
    with pytest.raises(WeightsError, match=expected):
        convert_checkpoint(saved({"net": state}, tmp_path), spec(), track, catalog)


def test_tensors_of_another_kind_are_told(network, tmp_path, catalog, track):
    state = {**network.state_dict(), "conv1.weight": network.state_dict()["conv1.weight"].to(torch.int8)}
    with pytest.raises(WeightsError, match=r"conv1.weight is torch.int8 and must be torch.float32"):
        convert_checkpoint(saved(state, tmp_path), spec(), track, catalog)


def test_safetensors_are_told_by_their_content_and_npz_is_refused(network, tmp_path, catalog, track):
    save_tensors(tmp_path / "n.bin", network.state_dict())
    convert_checkpoint(tmp_path / "n.bin", spec(), track, catalog)
    np.savez(tmp_path / "n.npz", a=np.zeros(3))
    with pytest.raises(WeightsError, match="npz of NumPy arrays; give a state_dict"):
        read_checkpoint(tmp_path / "n.npz")


def test_what_an_archive_unpacks_to_is_bounded_too(network, tmp_path, monkeypatch):
    file = tmp_path / "bomb.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 2**20)
    monkeypatch.setattr(checkpoints, "SIZE_LIMIT", 2**19)
    assert file.stat().st_size < 2**19
    with pytest.raises(WeightsError, match="allowed are 524,288"):
        read_checkpoint(file)


def test_a_damaged_checkpoint_is_a_sentence_wherever_it_is_damaged(network, tmp_path):
    """Every byte of the pickle in turn, and truncations: whatever its operations raise, it is one sentence or read."""
    torch.save({"a": torch.zeros(2), "b": np.float64(1.0)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pt").read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        for changed in (whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :], whole[:place]):
            (tmp_path / "x.pt").write_bytes(changed)
            try:
                read_checkpoint(tmp_path / "x.pt")
            except WeightsError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused >= len(range(0, len(whole), 3))  # every truncation, at least


def test_a_checkpoint_may_be_just_as_large_as_the_limit_packed_and_unpacked(network, tmp_path, monkeypatch):
    file = saved(network.state_dict(), tmp_path)
    with zipfile.ZipFile(file) as archive:
        size = max(file.stat().st_size, sum(entry.file_size for entry in archive.infolist()))
    monkeypatch.setattr(checkpoints, "SIZE_LIMIT", size)
    assert read_checkpoint(file)
    monkeypatch.setattr(checkpoints, "SIZE_LIMIT", size - 1)
    with pytest.raises(WeightsError, match=f"has {size:,} bytes; allowed are {size - 1:,}"):
        read_checkpoint(file)
