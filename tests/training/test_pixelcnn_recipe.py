"""Training a class-conditional PixelCNN++."""

import pytest
import torch

from bench.detectors.autoencoder import Autoencoder
from bench.detectors.pixelcnn import PixelCNN as PixelCNNDetector
from bench.errors import CardError
from bench.training.base import seeded
from bench.training.pixelcnn import PixelCNN

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(toy_data):
    torch.manual_seed(0)
    params = PixelCNNDetector.Params(width=4, blocks=(1, 1))
    detector = PixelCNNDetector(None, shape=SHAPE, classes=2, params=params)
    args = {"steps": 60, "batch_size": 16, "lr": 0.02, "shift": 0, "classification": 1.0}
    return PixelCNN(detector, toy_data, args, seed=0)


def test_it_learns_images_and_classes(recipe, toy_data):
    before = recipe.evaluate()["held-out bits/dim"]
    for number in range(60):
        recipe.step(number, seeded(0, "step", number))
    assert recipe.evaluate()["ID accuracy"] == 1.0
    assert recipe.evaluate()["held-out bits/dim"] < before - 1
    with torch.no_grad():
        inside = recipe.detector.score(toy_data.calibration.pixels())
        outside = recipe.detector.score(toy_data.outliers.pixels())
    assert inside.median() > outside.median()


def test_another_method_is_refused_in_a_sentence(toy_data):
    detector = Autoencoder(None, shape=SHAPE, classes=2, params=Autoencoder.Params(channels=(4, 4)))
    with pytest.raises(CardError, match="trains the method PixelCNN, not Autoencoder"):
        PixelCNN(detector, toy_data, {}, seed=0)
