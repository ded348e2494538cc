"""Outside truth: the published energy model of MNIST gives the measured figures, as a card and as one's own model.

Needs the environment variables ROBUSTOOD_DATA (real data files) and ROBUSTOOD_CHECKPOINTS (published checkpoints).
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.cards.catalog import Catalog
from bench.detectors.base import Detector
from bench.detectors.convert import convert_checkpoint
from bench.detectors.density import OutputScore
from bench.detectors.loading import load_detector
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.ebm28 import EBM28
from bench.metrics import auroc
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase

DATA = Path(os.environ.get("ROBUSTOOD_DATA", "no-data"))
CHECKPOINT = (
    Path(os.environ.get("ROBUSTOOD_CHECKPOINTS", "no-checkpoints")) / "phlippe_saved_models/tutorial8/MNIST.ckpt"
)
FIGURES = {"fashion": 98.63, "kmnist": 94.51}

OWN_MODULE = '''
"""The published model written from its description, without robustood."""

import torch
from torch import nn


def _layers():
    widths = [(1, 16, 5, 4), (16, 32, 3, 1), (32, 64, 3, 1), (64, 64, 3, 1)]
    for inputs, outputs, kernel, padding in widths:
        yield nn.Conv2d(inputs, outputs, kernel, stride=2, padding=padding)
        yield nn.SiLU()
    yield from (nn.Flatten(), nn.Linear(256, 64), nn.SiLU(), nn.Linear(64, 1))


cnn = nn.Sequential(*_layers())
state = torch.load(CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
cnn.load_state_dict({name.removeprefix("cnn.cnn_layers."): value for name, value in state.items()})


def score(x):
    return cnn(2 * x[..., 2:-2, 2:-2] - 1)
'''


@pytest.fixture
def detector() -> OutputScore:
    network = FromPixels(EBM28(), crop=28, mean=(0.5,), std=(0.5,))
    return OutputScore(network, shape=(1, 32, 32), classes=10, params=OutputScore.Params()).eval()


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_the_contract_is_kept(check, detector):
    check(DetectorCase(detector, torch.rand(8, 1, 32, 32)))


def test_the_score_is_the_networks_output(detector):
    x = torch.rand(4, 1, 32, 32)
    layers = detector.network.network.cnn.cnn_layers
    assert torch.equal(detector.score(x), layers((x[..., 2:-2, 2:-2] - 0.5) / 0.5)[:, 0])
    assert detector.logits(x) is None and detector.bits_per_dim(x) is None


def test_the_activations_are_those_after_each_swish(detector):
    found = detector.network.activations(torch.rand(2, 1, 32, 32))
    assert tuple(found) == detector.network.layers
    shapes = [tuple(value.shape[1:]) for value in found.values()]
    assert shapes == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (64, 2, 2), (64,), (1,)]
    assert all(float(value.detach().min()) > -0.2785 for value in list(found.values())[:-1])  # the minimum of Swish


def needed(file: Path) -> Path:
    if not file.is_file():
        pytest.skip(f"{file.name} is not here")
    return file


def real_images(name: str) -> Tensor:
    """(10000, 1, 32, 32) images in [0, 1], padded as on the track."""
    if name == "kmnist":
        pixels = np.load(needed(DATA / "kmnist_test.npz"))["images"][..., 0]
    else:
        file = needed(DATA / {"mnist": "MNIST", "fashion": "FashionMNIST"}[name] / "raw/t10k-images-idx3-ubyte")
        pixels = np.frombuffer(file.read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    return nn.functional.pad(torch.from_numpy(pixels.copy())[:, None].float() / 255, (2, 2, 2, 2))


def published_figures(detector: Detector) -> dict[str, float]:
    with torch.no_grad():
        scores = {
            name: torch.cat([detector(part) for part in real_images(name).split(200)]).numpy()
            for name in ("mnist", *FIGURES)
        }
    return {name: 100 * auroc(scores["mnist"], scores[name]) for name in FIGURES}


@pytest.mark.data
def test_the_card_on_the_published_checkpoint_gives_the_measured_figures(tmp_path):
    catalog = Catalog(tmp_path)
    spec, track = catalog.detector_spec("phlippe-ebm", "mnist"), catalog.track("mnist")
    convert_checkpoint(needed(CHECKPOINT), spec, track, catalog)  # of the card's own sha256, or it raises
    found = published_figures(load_detector(spec, track, catalog))
    assert found == pytest.approx(FIGURES, abs=0.05)  # the same images: nothing but rounding is left


@pytest.mark.data
def test_the_published_model_runs_through_the_callable_adapter_with_the_same_figures(tmp_path, monkeypatch):
    (tmp_path / "published_ebm.py").write_text(OWN_MODULE.replace("CHECKPOINT", repr(str(needed(CHECKPOINT)))))
    monkeypatch.chdir(tmp_path)
    catalog = Catalog()
    spec = catalog.detector_spec("callable:published_ebm:score", "mnist")
    detector = load_detector(spec, catalog.track("mnist"), catalog)
    assert detector.info.differentiable
    assert published_figures(detector) == pytest.approx(FIGURES, abs=0.05)
