"""Outside truth: published weights on real images give the figures that their authors, or others, report.

Needs the environment variables ROBUSTOOD_DATA (real data files) and ROBUSTOOD_CHECKPOINTS (published checkpoints).
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn.functional import pad

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorCard
from bench.cards.track import TrackCard
from bench.detectors.base import Detector
from bench.detectors.convert import convert_checkpoint
from bench.detectors.loading import load_detector
from bench.metrics import auroc

DATA = Path(os.environ.get("ROBUSTOOD_DATA", "no-data"))
CHECKPOINTS = Path(os.environ.get("ROBUSTOOD_CHECKPOINTS", "no-checkpoints"))
NETWORKS = Path(__file__).parents[2] / "detectors" / "networks"
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

pytestmark = pytest.mark.data


def needed(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        pytest.skip(f"{name} is not here")
    return root / name


def idx_images(name: str) -> Tensor:
    """(N, 1, 28, 28) of an unpacked IDX file."""
    content = needed(DATA, name).read_bytes()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=16).reshape(-1, 1, 28, 28).copy())


def npz_images(name: str, limit: int | None = None) -> Tensor:
    return torch.from_numpy(np.load(needed(DATA, name))["images"][:limit]).permute(0, 3, 1, 2)


def npz_labels(name: str, limit: int | None = None) -> Tensor:
    return torch.from_numpy(np.load(needed(DATA, name))["labels"][:limit])


def converted(
    checkpoint: str,
    network: dict[str, object],
    shape: tuple[int, int, int],
    folder: Path,
    classes: int = 10,
    key: str | None = None,
) -> Detector:
    """MSP on a published checkpoint, by the way that `bench convert` and `bench run` take."""
    (folder / "builtin").mkdir()
    catalog = Catalog(folder, builtin=folder / "builtin")
    part = {"source": "none"}
    track = TrackCard(
        name="real", summary="", shape=shape, classes=classes, train=part, calibration=part, test=part,
        ood={"other": part},
    )  # fmt: skip
    here = {"network": network, "weights": [{"file": "w.safetensors"}]}
    card = DetectorCard(name="msp", summary="", method="bench.detectors.msp:MSP", tracks={"real": here})
    spec = card.on_track("real")
    convert_checkpoint(needed(CHECKPOINTS, checkpoint), spec, track, catalog, key=key)
    return load_detector(spec, track, catalog)


def logits_of(detector: Detector, images: Tensor, padding: int = 0) -> Tensor:
    with torch.no_grad():
        batches = [
            pad(batch.float() / 255, (padding,) * 4) for batch in images.split(32)
        ]  # small batches stay in the cache
        return torch.cat([detector.network(batch) for batch in batches])


@pytest.mark.parametrize(
    ("checkpoint", "fashion", "not_mnist", "error"),
    [("baseline/baseline_epoch_9", 99.31, 96.04, 0.94), ("oe_scratch/oe_scratch_epoch_9", 99.92, 98.60, 1.03)],
)
def test_mnist_with_outlier_exposure_has_the_authors_figures(checkpoint, fashion, not_mnist, error, tmp_path):
    network = {"method": "bench.detectors.networks.convnet28:ConvNet28", "crop": 28}
    file = f"hendrycks_outlier-exposure/MNIST/snapshots/{checkpoint}.pt"
    detector = converted(file, network, (1, 32, 32), tmp_path)

    def scores(images):
        return detector.score_logits(logits_of(detector, images, padding=2)).numpy()

    digits = idx_images("MNIST/raw/t10k-images-idx3-ubyte")
    labels = np.frombuffer(needed(DATA, "MNIST/raw/t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    wrong = logits_of(detector, digits, padding=2).argmax(dim=1).numpy() != labels
    assert 100 * wrong.mean() == pytest.approx(error, abs=0.005)  # same images: nothing but rounding is left
    inside = scores(digits)
    # 0.3: the authors took 2000 images of each set, and this notMNIST is a subset of theirs.
    assert 100 * auroc(inside, scores(idx_images("FashionMNIST/raw/t10k-images-idx3-ubyte"))) == pytest.approx(
        fashion, abs=0.3
    )
    assert 100 * auroc(inside, scores(npz_images("notmnist_test5000.npz"))) == pytest.approx(not_mnist, abs=0.3)


def test_cifar10_on_the_published_resnet20_has_the_published_error(tmp_path):
    network = {
        "method": "bench.detectors.networks.resnet:ResNet",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    file = "akamaster_pytorch_resnet_cifar10/pretrained_models/resnet20-12fca82f.th"
    detector = converted(file, network, (3, 32, 32), tmp_path)
    predicted = logits_of(detector, npz_images("cifar10_test.npz", 2000)).argmax(dim=1)
    accuracy = (predicted == npz_labels("cifar10_test.npz", 2000)).double().mean().item()
    # 8.27 % error on all 10,000 images; on 2,000 of them two standard errors are 1.2 points.
    assert 100 * accuracy == pytest.approx(91.73, abs=1.2)


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_cifar10_on_the_published_densenet_has_the_reported_figures(count, tmp_path):
    network = {"method": "bench.detectors.networks.densenet:DenseNet", "mean": CIFAR_MEAN, "std": CIFAR_STD}
    file = "deeplearning-wisc_dice/checkpoints/CIFAR-10/densenet/checkpoint_100.pth.tar"
    detector = converted(file, network, (3, 32, 32), tmp_path)
    inside = logits_of(detector, npz_images("cifar10_test.npz", count))
    outside = logits_of(detector, npz_images("svhn_train_first1083_unlabelled.npz", count))
    correct = inside.argmax(dim=1) == npz_labels("cifar10_test.npz", count)
    # All images: the figures themselves. 400 of each: two standard errors, 2.3 points of accuracy and 1.8 of AUROC.
    whole = count == 10_000
    assert 100 * correct.double().mean().item() == pytest.approx(94.54, abs=0.005 if whole else 2.3)
    scores = [detector.score_logits(logits).numpy() for logits in (inside, outside)]
    assert 100 * auroc(*scores) == pytest.approx(93.6, abs=0.05 if whole else 1.8)


@pytest.mark.parametrize("count", [400, pytest.param(3000, marks=pytest.mark.slow)])
def test_cifar100_on_the_published_densenet_has_the_reported_accuracy(count, tmp_path):
    card = yaml.safe_load((NETWORKS / "densenet-cifar100.yaml").read_text())
    network = {name: card[name] for name in ("method", "args", "mean", "std")}
    file = "deeplearning-wisc_dice/checkpoints/CIFAR-100/densenet/checkpoint_100.pth.tar"
    detector = converted(file, network, (3, 32, 32), tmp_path, classes=100)
    predicted = logits_of(detector, npz_images("cifar100_test.npz", count)).argmax(dim=1)
    accuracy = (predicted == npz_labels("cifar100_test.npz", count)).double().mean().item()
    # Reported of the first 3,000 images; on 400 of them two standard errors are 4.4 points.
    assert 100 * accuracy == pytest.approx(74.67, abs=0.005 if count == 3000 else 4.4)


VERIFIERS = "Verified-Intelligence_alpha-beta-CROWN/complete_verifier/models"


@pytest.mark.parametrize(
    ("name", "file", "key", "accuracy"),
    [
        ("resnet4b", f"{VERIFIERS}/cifar10_resnet/resnet4b.pth", None, 76.5),
        ("cnn-a-adv", f"{VERIFIERS}/sdp/cifar_cnn_a_adv.model", None, 70.4),
        ("cnn-a-certified", f"{VERIFIERS}/oval/cifar_wide.pth", None, 61.7),
        ("cnn-a-36px", "locuslab_convex_adversarial/models_scaled_l2/cifar_small_36px.pth", "state_dict.0", 53.65),
    ],
)
def test_cifar10_on_networks_that_were_trained_to_withstand_attacks_has_the_known_accuracy(
    name, file, key, accuracy, tmp_path
):
    card = yaml.safe_load((NETWORKS / f"{name}.yaml").read_text())
    network = {key: card[key] for key in ("method", "mean", "std")}
    detector = converted(file, network, (3, 32, 32), tmp_path, key=key)
    predicted = detector.logits(npz_images("cifar10_test.npz", 2000).float() / 255).argmax(dim=1)
    found = (predicted == npz_labels("cifar10_test.npz", 2000)).double().mean().item()
    assert 100 * found == pytest.approx(accuracy, abs=0.1)  # of the first 2,000 images, to the given digit
