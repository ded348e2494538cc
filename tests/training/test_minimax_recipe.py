"""Algorithm 2: samples that move on as D learns, in closed form and on a game small enough to end."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.training.base import seeded
from bench.training.minimax import MinimaxGAT

SHAPE = (1, 8, 8)
STILL = {"degrees": 0.0, "shift": 0.0, "scale": 0.0, "turn_outliers": False}


class LinearD(Detector):
    """The logit is linear in the pixels."""

    info = DetectorInfo(classifier=False)

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(None, shape=shape, classes=2, params=DetectorParams())
        self.linear = nn.Linear(shape[0] * shape[1] * shape[2], 1)

    def score(self, x, *, noise=None):
        return self.linear(x.flatten(1))[:, 0]


@pytest.fixture
def recipe(toy_data):
    def build(**args) -> MinimaxGAT:
        torch.manual_seed(0)
        settings = {"steps": 40, "batch_size": 8, "samples": 30, "updates": 4, "lr": 0.01, **STILL, **args}
        return MinimaxGAT(LinearD(SHAPE), toy_data, settings, seed=0)

    return build


def test_all_samples_move_by_one_step_along_the_gradient_after_so_many_steps_of_d(recipe):
    made = recipe(step_size=0.25)
    start = made.samples.clone()
    for number in range(3):
        assert made.step(number, seeded(number))["moves"] == 0
        assert torch.equal(made.samples, start)
    assert made.step(3, seeded(3))["moves"] == 1
    weight = made.detector.linear.weight.detach().view(SHAPE)  # after the step of D, before the move
    assert torch.allclose(made.samples, start + 0.25 * weight / weight.norm(), atol=1e-6)
    assert not made.samples.requires_grad


def test_samples_go_on_from_where_they_are_and_leave_the_box(recipe):
    made = recipe(step_size=2.0, updates=1)
    start, moved = made.samples.clone(), torch.zeros(SHAPE)
    for number in range(6):
        made.step(number, seeded(number))
        weight = made.detector.linear.weight.detach().view(SHAPE)
        moved = moved + 2.0 * weight / weight.norm()
    assert torch.allclose(made.samples, start + moved, atol=1e-5)
    assert made.samples.min() < 0 or made.samples.max() > 1


def test_the_samples_are_outliers_drawn_from_the_seed(recipe, toy_data):
    outliers = {image.numpy().tobytes() for image in toy_data.outliers.pixels()}
    made = recipe()
    assert {(image * 255).round().div(255).numpy().tobytes() for image in made.samples} <= outliers
    assert torch.equal(made.samples, recipe().samples)


def test_on_a_game_of_two_points_the_samples_end_at_the_in_distribution(toy_data):
    """Where p_t is p_k no D tells them apart: the value of the game, a loss of 2 log 2."""
    near, far = (torch.tensor(values, dtype=torch.uint8).view(1, 1, 1, 2) for values in ([204, 128], [51, 26]))

    def of(images, point):
        return dataclasses.replace(images, images=point.expand(len(images), 1, 1, 2).clone())

    data = dataclasses.replace(toy_data, train=of(toy_data.train, near), outliers=of(toy_data.outliers, far))
    torch.manual_seed(0)
    args = {"steps": 1500, "batch_size": 4, "samples": 3, "updates": 20, "step_size": 0.05, "lr": 0.3, **STILL}
    args["weight_decay"] = 0.5  # which keeps a linear D from growing while all it sees can be told apart
    made = MinimaxGAT(LinearD((1, 1, 2)), data, args, seed=0)
    aim = near[0].float() / 255
    away, losses = [float((made.samples - aim).norm(dim=-1).max())], []
    for number in range(700):
        losses.append(made.step(number, seeded(number))["loss"])
        away.append(float((made.samples - aim).norm(dim=-1).max()))
    assert away[0] > 0.6
    assert max(away[-300:]) < 0.1  # within two steps
    assert losses[-1] == pytest.approx(2 * math.log(2), abs=0.02)


def test_a_resumed_training_ends_with_the_same_bits(recipe, trained_whole_and_resumed):
    whole, resumed = trained_whole_and_resumed(lambda: recipe(steps=12), at=6)
    assert torch.equal(whole.samples, resumed.samples)
    for name, value in whole.detector.state_dict().items():
        assert torch.equal(value, resumed.detector.state_dict()[name]), name
