"""Outside truth: ODIN, Mahalanobis and Gram rank 1,000 images as pytorch-ood's own implementations do.

On the published CIFAR-10 DenseNet-BC-100, 500 test images and 500 house numbers; both sides are fitted on the same
600 training images. Needs pytorch-ood, the environment variable ROBUSTOOD_DATA, and densenet-cifar10.safetensors.

Where the definitions differ, and what removes each difference here:

ODIN: none; its steps are in units of the images that it is given, here pixels.
Mahalanobis: pytorch-ood scores one layer: so does each layer of ours on its own. It keeps every direction of the
    features, with 1e-6 added to the diagonal of a float32 scatter matrix; ours drops directions below 1e-6 of the
    largest variance, which the first convolution's averages and the 342 penultimate features have: it is given the
    features in the directions that ours keeps. The distance itself does not depend on the choice of axes.
Gram: pytorch-ood takes ranges by true label, ours (and the paper) by predicted class: it is given the predictions as
    labels. It holds out a random tenth of what it is fitted on for the expected deviations, ours takes calibration
    images: it is given ours. It does not divide by the confidence: switched off in ours. Its orders are 1 to the
    number of layers by default: set to 1 to 10. Its powers leave float32: it is given the activations in float64.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from bench.cards.catalog import Catalog
from bench.datasets.base import TrainingData
from bench.datasets.track import Track
from bench.detectors.base import Detector, DetectorParams
from bench.detectors.gaussian import TiedGaussians
from bench.detectors.gram import Gram, GramParams
from bench.detectors.loading import load_detector
from bench.detectors.mahalanobis import Mahalanobis, MahalanobisParams
from bench.detectors.networks.base import FromPixels
from bench.detectors.odin import ODIN, ODINParams

pytestmark = [pytest.mark.data, pytest.mark.slow]

SAME_RANKS = 0.999
FITTED, SCORED, BATCH = 600, 500, 50


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("pytorch_ood.detector")


@pytest.fixture(scope="module")
def data() -> tuple[TrainingData, Tensor]:
    """What both sides are fitted on, and the (1000, 3, 32, 32) images that both score."""
    folder = Path(os.environ.get("ROBUSTOOD_DATA", "no-data"))
    if not (folder / "cifar10_train.npz").is_file():
        pytest.skip("CIFAR-10 is not here")
    track = Track(Catalog().track("cifar10"), folder)
    fitting = TrainingData(track.set("train").limited(FITTED), track.set("calibration").limited(300), None, 10)
    return fitting, torch.cat([track.set(name).limited(SCORED).pixels() for name in ("test", "svhn")])


@pytest.fixture(scope="module")
def network() -> FromPixels:
    catalog = Catalog()
    if catalog.weights_path("densenet-cifar10.safetensors") is None:
        pytest.skip("densenet-cifar10.safetensors is not here")
    spec = catalog.detector_spec("energy@densenet", "cifar10")
    detector = load_detector(spec, catalog.track("cifar10"), catalog)
    assert detector.network is not None
    return detector.network.eval().requires_grad_(False)


def on(network: FromPixels, method: type[Detector], params: DetectorParams) -> Detector:
    return method(network, shape=(3, 32, 32), classes=10, params=params).eval()


def scores(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([score(batch).detach() for batch in images.split(BATCH)])


def loader(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(BATCH), labels.split(BATCH), strict=True))


def rank_correlation(ours: Tensor, outlier_score: Tensor) -> float:
    return float(spearmanr(ours.numpy(), -outlier_score.numpy()).statistic)


def pooled(network: FromPixels, x: Tensor) -> dict[str, Tensor]:
    """Every layer but the logits, averaged over the image."""
    activations = network.activations(x)
    layers = {name: activations[name] for name in network.layers if name != "logits"}
    return {name: a.flatten(2).mean(dim=2) if a.ndim > 2 else a for name, a in layers.items()}


class Part(nn.Module):
    """A part of a network that works in float32 and hands its output on in another type."""

    def __init__(self, part: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.part, self.dtype = part, dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x.float()).to(self.dtype)


def parts_of(network: FromPixels, dtype: torch.dtype) -> tuple[list[Part], Part]:
    """The layers between one activation and the next, and what makes logits of the last."""
    inner = network.network

    def pooled(x: Tensor) -> Tensor:
        return functional.relu(inner.bn1(inner.block3(x))).mean(dim=(2, 3))

    parts = [
        lambda x: inner.conv1(network.own_input(x)),
        lambda x: inner.trans1(inner.block1(x)),
        lambda x: inner.trans2(inner.block2(x)),
        pooled,
    ]
    return [Part(part, dtype) for part in parts], Part(inner.fc, dtype)


def test_odin_ranks_images_as_pytorch_ood_does(library, network, data):
    _, images = data
    ours = on(network, ODIN, ODINParams(temperature=1000.0, magnitude=0.0014))
    theirs = library.ODIN(network, eps=0.0014, temperature=1000.0)
    assert rank_correlation(scores(ours.score, images), scores(theirs.predict, images)) >= SAME_RANKS


@pytest.fixture(scope="module")
def mahalanobis(network, data):
    return on(network, Mahalanobis, MahalanobisParams()).fit(data[0])


@pytest.fixture(scope="module")
def train_features(network, data):
    """Every layer of the training images, averaged over the image."""
    with torch.no_grad():
        parts = [pooled(network, batch) for batch in data[0].train.pixels().split(BATCH)]
    return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}


def kept(gaussians: TiedGaussians, features: Tensor) -> Tensor:
    """(N, D) features -> (N, D') along the directions that are not dropped."""
    directions = gaussians.whitening[:, gaussians.whitening.abs().sum(dim=0) > 0]
    return (features - gaussians.centre) @ directions


def test_mahalanobis_ranks_images_as_pytorch_ood_does_in_every_layer(
    library, network, data, mahalanobis, train_features
):
    fitting, images = data
    with torch.no_grad():
        test = [pooled(network, batch) for batch in images.split(BATCH)]
        ours = torch.cat([torch.stack(mahalanobis.layer_scores(batch), dim=1) for batch in images.split(BATCH)])
    for k, (layer, features) in enumerate(train_features.items()):
        gaussians = mahalanobis.gaussians[k]
        theirs = library.Mahalanobis(None).fit_features(kept(gaussians, features), fitting.train.labels)
        given = theirs.predict_features(kept(gaussians, torch.cat([part[layer] for part in test])))
        assert rank_correlation(ours[:, k], given) >= SAME_RANKS, layer


def test_mahalanobis_with_preprocessing_ranks_images_as_pytorch_ood_does(
    library, network, data, mahalanobis, train_features
):
    fitting, images = data
    images = images[::5]  # the step of every layer costs as much as its score
    ours = on(network, Mahalanobis, MahalanobisParams(magnitude=0.0014))
    ours.load_state_dict(mahalanobis.state_dict())
    gaussians = ours.gaussians[-1]
    theirs = library.MahalanobisODIN(lambda x: kept(gaussians, pooled(network, x)["penultimate"]), eps=0.0014)
    theirs.fit_features(kept(gaussians, train_features["penultimate"]), fitting.train.labels)
    last = scores(lambda x: ours.layer_scores(x)[-1], images)
    assert rank_correlation(last, scores(theirs.predict, images)) >= SAME_RANKS


def test_gram_ranks_images_as_pytorch_ood_does(library, network, data):
    fitting, images = data
    ours = on(network, Gram, GramParams(confidence=False)).fit(fitting)
    parts, head = parts_of(network, torch.float64)
    theirs = library.Gram(head, parts, num_classes=10, num_poles_list=range(1, 11))
    theirs.validation_fraction = 0.0
    train = fitting.train.pixels()
    with torch.no_grad():
        predicted = scores(network, train).argmax(dim=1)
        theirs.fit(loader(train, predicted))
        theirs.layer_norm = ours.expected
        assert rank_correlation(scores(ours.score, images), scores(theirs.predict, images)) >= SAME_RANKS
