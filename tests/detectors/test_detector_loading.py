"""Detectors from cards: what is built, what is refused, and in which words."""

from pathlib import Path

import pytest
import torch

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorCard
from bench.cards.track import TrackCard
from bench.detectors.energy import Energy
from bench.detectors.loading import build_detector, last_weights, load_detector, load_for_training
from bench.detectors.mahalanobis import Mahalanobis
from bench.detectors.weights import save_tensors
from bench.errors import CardError, UsageError, WeightsError

NETWORK = {"method": "bench.detectors.networks.convnet28:ConvNet28", "args": {"classes": 3}, "crop": 28}
TRAINING = {"recipe": "bench.training.classifier:Classifier"}


@pytest.fixture
def track() -> TrackCard:
    part = {"source": "none"}
    return TrackCard(
        name="toy", summary="", shape=(1, 32, 32), classes=3,
        train=part, calibration=part, test=part, ood={"other": part},
    )  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "cache"))
    (tmp_path / "builtin").mkdir()
    (tmp_path / "workspace" / "detectors").mkdir(parents=True)
    return Catalog(tmp_path / "workspace", builtin=tmp_path / "builtin")


def spec(method="bench.detectors.energy:Energy", network=NETWORK, params=None, **settings):
    card = DetectorCard(
        name="mine", summary="", method=method, params=params or {}, tracks={"toy": {"network": network, **settings}}
    )
    return card.on_track("toy")


def written(catalog, spec, track, file="w.safetensors", keep=lambda name: True):
    """Weights other than the initial ones, as a file; returns its sha256."""
    state = {k: torch.rand_like(v) for k, v in build_detector(spec, track, catalog).state_dict().items() if keep(k)}
    return save_tensors(catalog.weights_dir_for_writing() / file, state)


def test_a_loaded_detector_has_the_files_weights_frozen_in_evaluation_mode(catalog, track):
    card = spec(weights=[{"file": "w.safetensors"}])
    sha = written(catalog, card, track)
    detector = load_detector(spec(weights=[{"file": "w.safetensors", "sha256": sha}]), track, catalog)
    assert isinstance(detector, Energy)
    assert not any(module.training for module in detector.modules())
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    path = catalog.weights_path("w.safetensors")
    again = save_tensors(path.with_name("again"), detector.state_dict())
    assert again == sha


def test_several_files_together_make_the_state(catalog, track):
    method = "bench.detectors.mahalanobis:Mahalanobis"
    card = spec(method, weights=[{"file": "net.safetensors"}, {"file": "statistics.safetensors"}])
    written(catalog, card, track, "net.safetensors", lambda name: name.startswith("network."))
    written(catalog, card, track, "statistics.safetensors", lambda name: not name.startswith("network."))
    assert isinstance(load_detector(card, track, catalog), Mahalanobis)


def test_training_starts_from_the_earlier_files_and_writes_the_rest(catalog, track):
    method = "bench.detectors.mahalanobis:Mahalanobis"
    card = spec(method, weights=[{"file": "net.safetensors"}, {"file": "statistics.safetensors"}])
    written(catalog, card, track, "net.safetensors", lambda name: name.startswith("network."))
    detector = load_for_training(card, track, catalog)
    first = build_detector(card, track, catalog)
    assert not torch.equal(detector.network.network.fc2.bias, first.network.network.fc2.bias)
    assert {name.split(".")[0] for name in last_weights(detector, card, catalog)} == {"gaussians", "weights"}


def test_building_leaves_the_global_generator_alone_and_is_repeatable(catalog, track):
    before = torch.get_rng_state()
    one, two = (build_detector(spec(), track, catalog).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_missing_weights_name_the_training_that_makes_them(catalog, track):
    card = spec(weights=[{"file": "w.safetensors"}], training=TRAINING)
    with pytest.raises(WeightsError, match="`bench train --detector mine --track toy` makes them"):
        load_detector(card, track, catalog)


def test_missing_weights_of_another_detector_name_that_detectors_training(catalog, track):
    (catalog.workspace / "detectors" / "other.yaml").write_text(
        "name: other\nsummary: x\nmethod: bench.detectors.msp:MSP\ntracks:\n  toy:\n"
        "    weights: [{file: w.safetensors}]\n    training: {recipe: 'bench.training.classifier:Classifier'}\n"
    )
    with pytest.raises(WeightsError, match="`bench train --detector other --track toy`"):
        load_detector(spec(weights=[{"file": "w.safetensors"}]), track, catalog)


@pytest.mark.parametrize("folder", ["detectors", "networks"])
def test_a_broken_card_hides_no_other_that_makes_missing_weights(folder, catalog, track):
    made = {
        "detectors": "name: other\nsummary: x\nmethod: bench.detectors.msp:MSP\ntracks:\n  toy:\n"
        "    weights: [{file: w.safetensors}]\n"
        "    training: {recipe: 'bench.training.classifier:Classifier'}\n",
        "networks": "name: other\nsummary: x\nmethod: bench.detectors.networks.convnet28:ConvNet28\n"
        "args: {classes: 3}\ntrack: toy\nweights: [{file: w.safetensors}]\n",
    }[folder]
    parts = {"detectors": catalog.workspace / "detectors", "networks": catalog.workspace / "detectors" / "networks"}
    parts[folder].mkdir(exist_ok=True)
    (parts[folder] / "aaa.yaml").write_text("name: aaa\nsummary: [broken\n")
    (parts[folder] / "other.yaml").write_text(made)
    way = "bench convert FILE --network other" if folder == "networks" else "bench train --detector other --track toy"
    with pytest.raises(WeightsError, match=f"`{way}` makes them"):
        load_detector(spec(weights=[{"file": "w.safetensors"}]), track, catalog)


def test_missing_weights_that_a_network_card_trains_name_that_training(catalog, track):
    folder = catalog.workspace / "detectors" / "networks"
    folder.mkdir(exist_ok=True)
    (folder / "other.yaml").write_text(
        "name: other\nsummary: x\nmethod: bench.detectors.networks.convnet28:ConvNet28\nargs: {classes: 3}\n"
        "track: toy\nweights: [{file: w.safetensors}]\ntraining: {recipe: 'bench.training.classifier:Classifier'}\n"
    )
    with pytest.raises(WeightsError, match="`bench train --network other` makes them"):
        load_detector(spec(weights=[{"file": "w.safetensors"}]), track, catalog)


def test_missing_weights_without_a_training_name_the_conversion(catalog, track):
    with pytest.raises(WeightsError, match="`bench convert FILE --detector mine --track toy`"):
        load_detector(spec(weights=[{"file": "w.safetensors"}]), track, catalog)


def test_missing_weights_name_where_their_checkpoint_is_published_if_that_is_known(catalog, track):
    weights = {"file": "w.safetensors", "source": "https://example.org/w.pt"}
    with pytest.raises(WeightsError, match=r"--track toy`, with FILE from https://example\.org/w\.pt, makes them"):
        load_detector(spec(weights=[weights]), track, catalog)
    with pytest.raises(WeightsError, match="--track toy` makes them"):
        load_detector(spec(weights=[{"file": "w.safetensors"}]), track, catalog)


def test_a_wrong_sha256_is_refused_unless_it_is_not_asked_for(catalog, track):
    card = spec(weights=[{"file": "w.safetensors", "sha256": "0" * 64}])
    written(catalog, card, track)
    with pytest.raises(WeightsError, match="the card expects 0000"):
        load_detector(card, track, catalog)
    load_detector(card, track, catalog, check_weights=False)


def test_weights_of_another_network_are_refused_by_name(catalog, track):
    card = spec(weights=[{"file": "w.safetensors"}])
    save_tensors(catalog.weights_dir_for_writing() / "w.safetensors", {"network.network.conv1.weight": torch.zeros(1)})
    with pytest.raises(
        WeightsError, match=r"missing network.network.conv1.bias.*another shape of network.network.conv1.weight"
    ):
        load_detector(card, track, catalog)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": "bench.detectors.energy:EnergyParams"},
            "is the class EnergyParams; allowed: a subclass of bench.detectors.base.Detector",
        ),
        ({"method": "bench.detectors.nowhere:Energy"}, "bench.detectors.nowhere"),
        ({"params": {"temprature": 2}}, "has no parameter 'temprature'; allowed: shaping, temperature"),
        ({"params": {"temperature": -1}}, "parameter 'temperature' of .* greater than 0"),
        ({"params": {"temprature": 2, "temperature": -1}}, "parameter 'temperature' of .* greater than 0"),
        ({"params": {"temprature": 2, "shapin": 1}}, "has no parameter 'temprature'; allowed: shaping, temperature"),
        ({"network": {**NETWORK, "args": {"klasses": 3}}}, "cannot be made from its args"),
        ({"network": {**NETWORK, "args": {"classes": 7}}}, "has 7 logits and must have 3"),
        ({"network": {**NETWORK, "crop": 20}}, r"cannot take images of shape \(1, 32, 32\)"),
        ({"network": {**NETWORK, "crop": 40}}, "choose at most that"),
        ({"network": {**NETWORK, "mean": (0.1, 0.2, 0.3)}}, "has 3 numbers; give one for each of 1 channels"),
        ({"network": {**NETWORK, "std": (0.0,)}}, "every number must be above 0"),
        ({"network": {"method": "torch.nn:Identity"}}, "returns shape .* for 3 images; return .N, K. logits"),
        ({"network": {"method": "pathlib:Path"}}, "belongs to Python.s own library"),
        ({"method": "bench.detectors.gat:GAT"}, "has 3 logits and must have 1"),
    ],
)
def test_a_card_that_cannot_be_built_is_one_sentence(change, message, catalog, track):
    with pytest.raises(CardError, match=message) as caught:
        build_detector(spec(**change), track, catalog)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_a_sentence(catalog, track):
    with pytest.raises(UsageError, match="'cpu' always can"):
        load_detector(spec(), track, catalog, device="warp")
