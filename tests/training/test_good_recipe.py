"""Training for guarantees: which outliers are taken in the ball, and that bounds come out small."""

import pytest
import torch

from bench.cards.threat import Norm
from bench.detectors.autoencoder import Autoencoder
from bench.detectors.good import GOOD as GOODDetector
from bench.detectors.intervals import ball, pairwise_bounds
from bench.errors import CardError
from bench.metrics import auroc
from bench.training.base import seeded
from bench.training.good import GOOD

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(**args) -> GOOD:
        detector = GOODDetector(tiny_network(2), shape=SHAPE, classes=2, params=GOODDetector.Params())
        settings = {"batch_size": 16, "lr": 0.02, "steps": 200, "eps": 0.05, "weight": 1.0, **args}
        return GOOD(detector, toy_data, settings, seed=0)

    return build


def run(made):
    for number in range(made.total_steps):
        made.step(number, seeded(0, "step", number))
    return made


@pytest.mark.parametrize(("quantile", "count"), [(0.0, 0), (0.3, 6), (0.5, 10), (1.0, 20)])
def test_those_with_the_lowest_bounds_are_taken_in_the_ball(recipe, toy_data, quantile, count):
    made = recipe(quantile=quantile)
    x = toy_data.outliers.pixels()[:20]
    with torch.no_grad():
        bounds = pairwise_bounds(made.detector.network, ball(x, Norm.LINF, 0.05)).amax(dim=(1, 2))
        logits = made.logits(x)
        found = made.largest_differences(x, 0.05)
    lowest = set(bounds.argsort()[:count].tolist())
    at_outlier = logits.amax(dim=1) - logits.amin(dim=1)
    expected = [float(bounds[i] if i in lowest else at_outlier[i]) for i in range(20)]
    assert found.tolist() == pytest.approx(expected)
    assert (bounds > at_outlier).all()


def test_the_radius_and_the_weight_grow_to_their_size(recipe):
    made = recipe(steps=100)
    assert [made.grown(number, 0.2) for number in (0, 5, 20, 99)] == [0.0, 0.25, 1.0, 1.0]
    assert made.grown(0, 0.0) == 1.0


def guaranteed(made, eps: float) -> float:
    detector = made.detector.eval()
    with torch.no_grad():
        inside = detector.score(made.data.calibration.pixels())
        return auroc(inside.tolist(), detector.bound(made.data.outliers.pixels(), Norm.LINF, eps).tolist())


def test_training_gives_guarantees_that_training_without_balls_does_not(recipe):
    plain, good = run(recipe(quantile=0.0, eps=0.2)), run(recipe(eps=0.2))
    assert good.evaluate()["ID accuracy"] == 1.0
    assert guaranteed(good, 0.2) > 0.95
    assert guaranteed(plain, 0.2) < 0.8


def test_a_network_of_unknown_layers_is_refused_in_a_sentence(toy_data):
    detector = Autoencoder(None, shape=SHAPE, classes=2, params=Autoencoder.Params(channels=(4, 4)))
    with pytest.raises(CardError, match=r"bounds networks of bench.detectors.networks.small:SmallConvNet"):
        GOOD(detector, toy_data, {}, seed=0)
