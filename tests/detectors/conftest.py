"""Tiny networks and sets of images for the tests of detectors."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.datasets.base import ImageSet, TrainingData, sample_ids
from bench.detectors.base import Detector
from bench.detectors.networks.base import FromPixels, Network

SHAPE, CLASSES = (1, 8, 8), 3


class LinearNetwork(Network):
    """Pixels are the features, and the logits are linear in them."""

    def __init__(self, outputs: int = CLASSES) -> None:
        super().__init__()
        self.linear = nn.Linear(64, outputs)

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        penultimate = x.flatten(1)
        return {"penultimate": penultimate, "logits": self.linear(penultimate)}


class TinyConvNet(Network):
    """One convolution with a smooth activation, its pooled features, and logits."""

    layers = ("conv", "penultimate", "logits")

    def __init__(self, outputs: int = CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.hidden = nn.Linear(6 * 9, 8)
        self.linear = nn.Linear(8, outputs)

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        conv = nn.functional.silu(self.conv(x))
        penultimate = nn.functional.silu(self.hidden(nn.functional.avg_pool2d(conv, 2).flatten(1)))
        return {"conv": conv, "penultimate": penultimate, "logits": self.linear(penultimate)}


@pytest.fixture(autouse=True)
def _fixed_generator_and_one_thread() -> Iterator[None]:
    """The same weights in every test; at these sizes more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_detector() -> Callable[..., Detector]:
    """Builds a detector on a fresh tiny network: make_detector(method, network=TinyConvNet, **params)."""

    def make(method: type[Detector], network: type[Network] = TinyConvNet, **params: object) -> Detector:
        outputs = CLASSES if method.info.classifier else 1
        inside = FromPixels(network(outputs))  # type: ignore[call-arg]
        with torch.no_grad():
            for parameter in inside.parameters():
                parameter.mul_(3.0)  # untrained logits are nearly equal; these differ as trained ones do
        return method(inside, shape=SHAPE, classes=CLASSES, params=method.Params(**params)).eval()

    return make


@pytest.fixture
def linear_network() -> type[Network]:
    return LinearNetwork


@pytest.fixture
def images() -> Tensor:
    """(12, 1, 8, 8) different images."""
    return torch.rand(12, *SHAPE)


def image_set(name: str, count: int, classes: int = CLASSES, shift: float = 0.0) -> ImageSet:
    """Images of one bright row a class, with noise; `shift` makes all of them brighter."""
    generator = torch.Generator().manual_seed(len(name))
    labels = torch.arange(count) % classes
    pixels = 0.4 * torch.rand(count, *SHAPE, generator=generator) + shift
    pixels[torch.arange(count), 0, 2 * labels] += 0.4
    return ImageSet(name, (255 * pixels.clamp(0, 1)).to(torch.uint8), labels, sample_ids(name, count), "0" * 64)


@pytest.fixture
def training_data() -> TrainingData:
    return TrainingData(
        image_set("train", 600), image_set("calibration", 200), image_set("outliers", 200, shift=0.3), CLASSES
    )
