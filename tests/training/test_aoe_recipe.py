"""Outlier Exposure on outliers that moved towards low energy."""

import dataclasses

import pytest
import torch

from bench.detectors.aoe import AOE as AOEDetector
from bench.detectors.energy import EnergyParams
from bench.errors import DataError
from bench.training.aoe import AOE
from bench.training.base import seeded
from bench.training.outlier_exposure import OutlierExposure

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(**args) -> AOE:
        detector = AOEDetector(tiny_network(2), shape=SHAPE, classes=2, params=EnergyParams())
        return AOE(detector, toy_data, {"batch_size": 16, "lr": 0.02, "steps": 150, **args}, seed=0)

    return build


def linear_logits(weight):
    """Logits whose energy falls along `weight`: x.w and 0."""
    return lambda x: torch.stack([(x * weight).flatten(1).sum(1), torch.zeros(len(x))], dim=1)


def test_outliers_take_one_step_of_eps_against_the_sign_of_the_energys_gradient(recipe):
    aoe = recipe(eps=0.1)
    weight = torch.randn(SHAPE, generator=seeded(1))
    aoe.logits = linear_logits(weight)
    x = torch.full((3, *SHAPE), 0.5)
    assert torch.allclose(aoe.moved(x, seeded(4)), x + 0.1 * weight.sign())


def test_the_step_lowers_the_energy_of_a_network(recipe, toy_data):
    aoe = recipe(eps=0.02)
    x = toy_data.outliers.pixels()
    moved = aoe.moved(x, seeded(4))
    with torch.no_grad():
        assert (aoe.detector.score(moved) > aoe.detector.score(x)).all()


def test_moved_outliers_stay_in_the_box(recipe):
    aoe = recipe(eps=0.6)
    aoe.logits = linear_logits(torch.ones(SHAPE))
    assert torch.equal(aoe.moved(torch.full((2, *SHAPE), 0.5), seeded(4)), torch.ones(2, *SHAPE))


def test_moving_outliers_leaves_no_gradient_in_the_parameters(recipe, toy_data):
    aoe = recipe()
    aoe.moved(toy_data.outliers.pixels(), seeded(4))
    assert all(p.grad is None and p.requires_grad for p in aoe.detector.parameters())


def test_noise_is_gaussian_and_as_large_as_the_signed_step(recipe):
    aoe = recipe(eps=0.05, perturbation="noise")
    x = torch.full((400, *SHAPE), 0.5)
    moved = aoe.moved(x, seeded(4)) - x
    # 25,600 draws within ten standard deviations of the box: the mean and the size have errors of 0.0003 and 0.0002.
    assert float(moved.mean()) == pytest.approx(0.0, abs=1.5e-3)
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.05, abs=1e-3)
    assert float((moved.abs() < 0.05).double().mean()) == pytest.approx(0.683, abs=0.015)
    assert not torch.equal(moved, aoe.moved(x, seeded(5)) - x)


def test_noise_is_kept_in_the_box(recipe, toy_data):
    aoe = recipe(eps=0.6, perturbation="noise")
    moved = aoe.moved(toy_data.outliers.pixels(), seeded(4))
    assert moved.min() == 0
    assert moved.max() == 1


def test_margins_are_squared_hinges_on_the_energies(recipe):
    aoe = recipe(margin_inside=-10.0, margin_outside=-4.0)
    # With one logit far above the other the energy is minus that logit: -7 and -11 inside, -6 and -3 outside.
    inside = torch.tensor([[7.0, -90.0], [11.0, -90.0]])
    outside = torch.tensor([[6.0, -90.0], [3.0, -90.0]])
    assert aoe.exposure(inside, outside) == pytest.approx(3.0**2 / 2 + 2.0**2 / 2)


def test_the_uniform_loss_is_that_of_outlier_exposure(recipe):
    inside, outside = torch.randn(2, 5, 2, generator=seeded(0))
    uniform = recipe(loss="uniform")
    assert uniform.exposure(inside, outside) == OutlierExposure.exposure(uniform, inside, outside)


def test_without_a_step_and_with_its_loss_it_is_outlier_exposure(recipe, toy_data, tiny_network):
    aoe = recipe(eps=0.0, loss="uniform", weight=0.5)
    detector = AOEDetector(tiny_network(2), shape=SHAPE, classes=2, params=EnergyParams())
    plain = OutlierExposure(detector, toy_data, {"batch_size": 16, "lr": 0.02, "steps": 150}, seed=0)
    for number in range(3):
        assert aoe.step(number, seeded(number)) == plain.step(number, seeded(number))


def test_training_classifies_and_rejects_outliers_that_move(recipe, toy_data):
    aoe = recipe(eps=0.03, margin_inside=-6.0, margin_outside=-2.0)
    for number in range(aoe.total_steps):
        aoe.step(number, seeded(0, "step", number))
    assert aoe.evaluate()["ID accuracy"] == 1.0
    inside = aoe.detector.score(toy_data.calibration.pixels())
    assert inside.min() > aoe.detector.score(aoe.moved(toy_data.outliers.pixels(), seeded(4))).max()


def test_a_track_without_outliers_is_refused_in_one_sentence(toy_data, recipe):
    bare = dataclasses.replace(toy_data, outliers=None)
    with pytest.raises(DataError, match="needs training outliers"):
        AOE(recipe().detector, bare, {}, seed=0)


def test_more_steps_stay_in_the_ball_of_the_one():
    """On a linear energy every step goes the same way: four of them end at the edge, where one step ends too."""
    from types import SimpleNamespace

    from bench.training.aoe import AOE, AOEArgs

    outliers = torch.full((2, 1, 1, 2), 0.5)
    weights = torch.tensor([[1.0, -2.0]])
    ends, asked = {}, {}
    for steps in (1, 4):
        seen = []
        fake = SimpleNamespace(
            args=AOEArgs(attack_steps=steps, eps=0.1),
            detector=torch.nn.Linear(1, 1),
            logits=lambda x, seen=seen: seen.append(x) or x.flatten(1) @ weights.T,
        )
        ends[steps] = AOE.moved(fake, outliers, torch.Generator())
        asked[steps] = len(seen)
    assert asked == {1: 1, 4: 4}
    expected = torch.tensor([0.6, 0.4]).expand(2, 2)
    for steps in (1, 4):
        torch.testing.assert_close(ends[steps].flatten(1), expected)
