"""Training a Glow: its losses against their definition, its start, and that it learns."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from bench.detectors.base import DetectorParams
from bench.detectors.gat import GAT
from bench.detectors.glow import Glow as GlowDetector
from bench.errors import CardError
from bench.training.base import seeded
from bench.training.glow import Glow
from bench.training.likelihood import shifted

SHAPE = (1, 8, 8)


def recipe_for(data, args=None, **params):
    torch.manual_seed(0)
    settings = GlowDetector.Params(blocks=(1, 2), hidden=(4, 8), **params)
    detector = GlowDetector(None, shape=SHAPE, classes=2, params=settings)
    return Glow(detector, data, {"steps": 40, "batch_size": 16, "lr": 0.01, "shift": 0, **(args or {})}, seed=0)


def run(recipe, steps):
    return [recipe.step(n, seeded(recipe.seed, "step", n))["bits/dim"] for n in range(steps)]


@pytest.mark.parametrize("params", [{}, {"prior": "split"}, {"prior": "none"}, {"noise_channels": False}])
def test_training_lowers_the_bits_per_dimension(toy_data, params):
    bits = run(recipe_for(toy_data, **params), 40)
    assert all(math.isfinite(b) for b in bits)
    assert sum(bits[-5:]) / 5 < bits[0] - 0.3


@pytest.mark.parametrize("prior", ["classes", "split"])
def test_with_a_weight_on_classification_it_learns_two_classes(toy_data, prior):
    recipe = recipe_for(toy_data, {"classification": 1.0}, prior=prior)
    run(recipe, 40)
    recipe.detector.eval()
    assert recipe.evaluate()["ID accuracy"] == 1.0


def test_losses_are_those_of_equation_6(toy_data):
    recipe = recipe_for(toy_data)
    x, labels = toy_data.train.pixels()[:6], toy_data.train.labels[:6]
    draws = recipe.draws(6, seeded(0))
    density, classification = recipe.losses(x, labels, draws)
    conditional = recipe.detector.class_log_likelihoods(x, draws)
    expected = -sum(conditional[i, y] for i, y in enumerate(labels)) / 6 / 64
    torch.testing.assert_close(density, expected)
    torch.testing.assert_close(classification, cross_entropy(conditional, labels))


def test_a_split_prior_is_classified_by_its_subspace_alone(toy_data):
    recipe = recipe_for(toy_data, prior="split")
    with torch.no_grad():
        recipe.detector.prior.output.normal_()  # the rest of the latent numbers knows the class
    x, labels = toy_data.train.pixels()[:6], toy_data.train.labels[:6]
    draws = recipe.draws(6, seeded(0))
    top = recipe.detector.flow(recipe.detector.flow_input(x, draws))[0][-1].flatten(1)
    _, classification = recipe.losses(x, labels, draws)
    subspace = -((top[:, None, :2] - torch.eye(2)) ** 2).sum(dim=2).double() / (2 * 0.04)
    torch.testing.assert_close(classification, cross_entropy(subspace, labels), rtol=1e-5, atol=1e-6)


def test_the_first_step_normalises_the_first_batch(toy_data):
    recipe = recipe_for(toy_data, {"lr": 0.0})
    run(recipe, 1)
    norm = recipe.detector.flow.levels[0][0].norm
    out, _ = norm(recipe.detector.flow_input(toy_data.train.pixels(), recipe.draws(40, seeded(0))))
    torch.testing.assert_close(out.std(dim=(0, 2, 3)), torch.ones(2), rtol=0.15, atol=0)  # another draw of 16 of 40


def test_training_that_is_resumed_ends_with_the_same_weights(toy_data, trained_whole_and_resumed):
    whole, resumed = trained_whole_and_resumed(lambda: recipe_for(toy_data, {"steps": 6}), at=3)
    for name, value in whole.detector.state_dict().items():
        assert torch.equal(value, resumed.detector.state_dict()[name]), name


def test_figures_after_training_come_from_more_images(toy_data):
    recipe = recipe_for(toy_data, {"steps": 1})
    recipe.evaluated = toy_data.calibration.limited(3)
    recipe.finish()
    assert len(recipe.evaluated) == len(toy_data.calibration)


def test_classification_without_classes_is_refused(toy_data):
    with pytest.raises(CardError, match="set it to 0"):
        recipe_for(toy_data, {"classification": 1.0}, prior="none")


def test_another_detector_is_refused(toy_data, tiny_network):
    detector = GAT(tiny_network(1), shape=SHAPE, classes=2, params=DetectorParams())
    with pytest.raises(CardError, match="makes a GAT"):
        Glow(detector, toy_data, {}, seed=0)


def test_images_are_moved_by_whole_pixels_and_edges_are_repeated():
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(200, -1, -1, -1)
    moved = shifted(x, 1, torch.Generator().manual_seed(0))
    expected = [
        torch.nn.functional.pad(x[:1], (1, 1, 1, 1), mode="replicate")[0, :, i : i + 8, j : j + 8]
        for i in range(3)
        for j in range(3)
    ]
    found = {next(k for k, e in enumerate(expected) if torch.equal(e, image)) for image in moved}
    assert found == set(range(9))


def test_a_shift_of_zero_moves_nothing():
    x = torch.rand(5, 3, 8, 8)
    assert torch.equal(shifted(x, 0, torch.Generator().manual_seed(0)), x)
