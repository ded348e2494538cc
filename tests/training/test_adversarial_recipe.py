"""Adversarial training: where its images go, and that a classifier trained by it withstands them."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from bench.detectors.msp import MSP, MSPParams
from bench.training.adversarial import Adversarial
from bench.training.base import seeded
from bench.training.classifier import Classifier

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(kind=Adversarial, **args):
        detector = MSP(tiny_network(2), shape=SHAPE, classes=2, params=MSPParams())
        return kind(detector, toy_data, {"batch_size": 16, "lr": 0.02, "steps": 150, **args}, seed=0)

    return build


def run(made):
    for number in range(made.total_steps):
        made.step(number, seeded(0, "step", number))
    return made


def worst_accuracy(made, eps: float) -> float:
    """Of calibration images after twenty ascents, by hand."""
    x, y = made.data.calibration.pixels(), made.data.calibration.labels
    z = x.clone()
    for _ in range(20):
        z.requires_grad_(True)
        (slope,) = torch.autograd.grad(cross_entropy(made.logits(z), y), z)
        z = (z.detach() + eps / 8 * slope.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return float((made.logits(z).argmax(1) == y).float().mean())


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_images_stay_in_the_ball_and_the_box_and_reach_its_wall(recipe, toy_data, share):
    made = recipe(eps=0.1, step_size=0.3)
    x, y = toy_data.train.pixels(), toy_data.train.labels
    z = made.moved(x, y, share, seeded(1))
    assert (z - x).abs().max() == pytest.approx(share * 0.1, rel=1e-5)
    assert 0 <= z.min() <= z.max() <= 1


def test_a_linear_loss_is_raised_to_the_corner_that_is_its_maximum(recipe):
    made = recipe(eps=0.1, step_size=0.2)
    weight = torch.randn(SHAPE, generator=seeded(1))
    made.logits = lambda x: torch.stack([(x * weight).flatten(1).sum(1), torch.zeros(len(x))], dim=1)
    x = torch.full((2, *SHAPE), 0.5)
    z = made.moved(x, torch.tensor([0, 1]), 1.0, seeded(2))
    assert torch.allclose(z, x + 0.1 * torch.stack([-weight.sign(), weight.sign()]))


def test_without_ascents_images_are_uniform_in_the_ball(recipe):
    made = recipe(eps=0.1, ascents=0)
    x = torch.full((400, *SHAPE), 0.5)
    offset = made.moved(x, torch.zeros(400, dtype=torch.int64), 1.0, seeded(2)) - x
    # 25,600 draws, whose mean and mean square have standard errors of 0.0004 and 0.00002
    assert float(offset.mean()) == pytest.approx(0.0, abs=2e-3)
    assert float(offset.square().mean()) == pytest.approx(0.1**2 / 3, abs=1e-4)


def test_the_radius_grows_to_eps_over_its_share_of_the_steps(recipe):
    made = recipe(ramp=0.5)
    assert [made.share_at(number) for number in (0, 15, 75, 149)] == [0.0, 0.2, 1.0, 1.0]
    assert recipe(ramp=0.0).share_at(0) == 1.0


def test_without_a_ball_it_is_the_plain_classifier(recipe):
    adversarial, plain = recipe(eps=0.0), recipe(Classifier)
    for number in range(3):
        assert adversarial.step(number, seeded(number)) == pytest.approx(plain.step(number, seeded(number)))


def test_training_withstands_what_plain_training_does_not(recipe):
    # Classes lie 180 of 255 apart, so that a ball of 0.3 leaves them apart.
    plain, adversarial = run(recipe(Classifier)), run(recipe(eps=0.3, step_size=0.2))
    assert adversarial.evaluate()["ID accuracy"] == plain.evaluate()["ID accuracy"] == 1.0
    assert worst_accuracy(adversarial, 0.25) == 1.0
    assert worst_accuracy(plain, 0.25) < 1.0
