"""The joint training of a confident classifier and a GAN."""

import pytest
import torch

from bench.detectors.confident import ConfidentClassifier
from bench.detectors.msp import MSPParams
from bench.training.base import seeded
from bench.training.confident import Confident

SHAPE = (1, 8, 8)
ARGS = {"steps": 200, "batch_size": 16, "lr": 0.02, "latent": 4, "channels": (4, 8), "gan_lr": 0.02}


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(**args) -> Confident:
        torch.manual_seed(0)
        detector = ConfidentClassifier(tiny_network(2), shape=SHAPE, classes=2, params=MSPParams())
        return Confident(detector, toy_data, {**ARGS, **args}, seed=0)

    return build


def weights(module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


@pytest.mark.parametrize("part", ["detector", "generator", "critic"])
def test_a_part_is_trained_alone_and_leaves_the_others_as_they_are(recipe, part):
    made = recipe()
    modules = {name: getattr(made, name) for name in ("detector", "generator", "critic")}
    before = {name: weights(module) for name, module in modules.items()}
    fakes = made.made(4, seeded(1))
    loss = {"detector": made.surprise(fakes), "generator": -made.told(fakes).mean(), "critic": made.told(fakes).mean()}
    made.update_part(modules[part].parameters(), loss[part], 0.01)
    assert {name for name, module in modules.items() if not torch.equal(weights(module), before[name])} == {part}


def test_the_classifier_becomes_unsure_of_what_the_generator_makes_and_keeps_its_accuracy(recipe):
    sure = {}
    for beta in (0.0, 1.0):
        made = recipe(beta=beta)
        for number in range(made.total_steps):
            made.step(number, seeded(0, "step", number))
        assert made.evaluate()["ID accuracy"] == 1.0
        with torch.no_grad():
            fakes = made.made(200, seeded(3))
            sure[beta] = float(torch.softmax(made.logits(fakes), dim=1).amax(dim=1).mean())
    assert sure[1.0] < 0.75
    assert sure[0.0] > sure[1.0] + 0.1


def test_images_of_the_generator_are_in_the_box_and_differ(recipe):
    fakes = recipe().made(5, seeded(1))
    assert fakes.shape == (5, *SHAPE)
    assert 0 < fakes.min() < fakes.max() < 1
    assert not torch.equal(fakes[0], fakes[1])


def test_the_divergence_is_zero_of_equal_logits_and_that_of_its_formula_elsewhere(recipe):
    made = recipe()
    made.logits = lambda x: torch.tensor([[1.0, 1.0]])
    assert float(made.surprise(torch.zeros(1, *SHAPE))) == pytest.approx(0.0, abs=1e-7)
    made.logits = lambda x: torch.tensor([[0.0, 2.0]])
    p = torch.softmax(torch.tensor([0.0, 2.0]), dim=0)
    expected = 0.5 * (0.5 / p[0]).log() + 0.5 * (0.5 / p[1]).log()
    assert float(made.surprise(torch.zeros(1, *SHAPE))) == pytest.approx(float(expected))


def test_a_resumed_training_ends_with_the_same_bits(recipe, trained_whole_and_resumed):
    whole, resumed = trained_whole_and_resumed(lambda: recipe(steps=8), at=4)
    for name, value in whole.trained().state_dict().items():
        assert torch.equal(value, resumed.trained().state_dict()[name]), name
