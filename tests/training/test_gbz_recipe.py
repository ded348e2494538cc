"""Training the generative classifier GBZ."""

import pytest
import torch

from bench.detectors.autoencoder import Autoencoder
from bench.detectors.gbz import GBZ as GBZDetector
from bench.errors import CardError
from bench.training.base import seeded
from bench.training.gbz import GBZ

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(toy_data) -> GBZ:
    torch.manual_seed(0)
    params = GBZDetector.Params(channels=(4, 4), hidden=8, latent=3, samples=5)
    detector = GBZDetector(None, shape=SHAPE, classes=2, params=params)
    return GBZ(detector, toy_data, {"steps": 150, "batch_size": 16, "lr": 0.02}, seed=0)


def test_it_learns_the_classes_and_scores_outliers_low(recipe, toy_data):
    for number in range(150):
        recipe.step(number, seeded(0, "step", number))
    assert recipe.evaluate()["ID accuracy"] == 1.0
    with torch.no_grad():
        inside = recipe.detector.score(toy_data.calibration.pixels())
        outside = recipe.detector.score(toy_data.outliers.pixels())
    assert inside.min() > outside.max()


def test_the_bound_is_below_what_many_samples_make_of_it(recipe, toy_data):
    """Jensen: the mean of log weights is at most the log of their mean, with the same draws."""
    x, y = toy_data.calibration.pixels(), toy_data.calibration.labels
    detector = recipe.detector
    with torch.no_grad():
        weights = detector.log_weights(x, detector.encoded(x), y, detector.draws.expand(len(x), -1, -1))
        assert (weights.mean(dim=1) < detector.logits(x).gather(1, y[:, None])[:, 0]).all()


def test_another_method_is_refused_in_a_sentence(toy_data):
    detector = Autoencoder(None, shape=SHAPE, classes=2, params=Autoencoder.Params(channels=(4, 4)))
    with pytest.raises(CardError, match="trains the method GBZ, not Autoencoder"):
        GBZ(detector, toy_data, {}, seed=0)
