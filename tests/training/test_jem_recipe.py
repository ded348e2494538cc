"""Langevin chains, the replay buffer, and the training of joint energy-based models."""

import pytest
import torch

from bench.detectors.jem import JEM as JEMDetector
from bench.detectors.jem import JEMParams
from bench.metrics import auroc
from bench.training.base import seeded
from bench.training.jem import JEM, DivergedError
from bench.training.sgld import ReplayBuffer, langevin

SHAPE = (1, 8, 8)
CPU = torch.device("cpu")
ARGS = {"steps": 8, "batch_size": 8, "samples": 4, "sgld_steps": 3, "buffer_size": 12, "lr": 0.01}


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(seed: int = 0, **args) -> JEM:
        detector = JEMDetector(tiny_network(2), shape=SHAPE, classes=2, params=JEMParams())
        return JEM(detector, toy_data, {**ARGS, **args}, seed=seed)

    return build


def quadratic(x):
    return -0.5 * (x - 0.25).flatten(1).square().sum(1)


def test_without_noise_a_chain_is_gradient_ascent_on_the_log_density():
    start = torch.full((2, *SHAPE), 0.75)
    end = langevin(quadratic, start, seeded(0), steps=3, step_size=0.2, noise=0.0)
    assert torch.allclose(end, torch.full_like(start, 0.25 + 0.5 * 0.8**3))


def test_a_long_chain_on_a_quadratic_spreads_as_the_step_and_the_noise_say():
    start = torch.full((400, *SHAPE), 0.25)
    end = langevin(quadratic, start, seeded(0), steps=60, step_size=0.2, noise=0.03)
    expected = 0.03 / (1 - 0.8**2) ** 0.5  # the stationary deviation of x <- 0.8 x + noise, one sixth of the way to 0
    assert end.mean() == pytest.approx(0.25, abs=0.003)
    assert end.std() == pytest.approx(expected, rel=0.02)  # its standard error over 25,600 pixels is 0.5 %


def test_chains_are_kept_in_the_box_and_their_start_as_it_is():
    start = torch.rand(2, *SHAPE, generator=seeded(1))
    before = start.clone()
    end = langevin(lambda x: 1e3 * x.flatten(1).sum(1), start, seeded(0), steps=1, step_size=1.0, noise=0.0)
    assert torch.equal(end, torch.ones_like(end))
    assert torch.equal(start, before)


def test_a_clipped_gradient_moves_no_pixel_further():
    start = torch.full((1, *SHAPE), 0.5)
    end = langevin(lambda x: -99 * x.flatten(1).sum(1), start, seeded(0), steps=2, step_size=1.0, noise=0.0, clip=0.1)
    assert torch.allclose(end, torch.full_like(end, 0.3))


def test_a_step_is_its_formula_with_the_draws_of_its_generator():
    start = torch.rand(3, *SHAPE, generator=seeded(1))
    draws = torch.randn(start.shape, generator=seeded(0))
    end = langevin(quadratic, start, seeded(0), steps=1, step_size=0.2, noise=0.5)
    assert torch.allclose(end, (start + 0.2 * (0.25 - start) + 0.5 * draws).clamp(0.0, 1.0))
    assert (end == 0).any() and (end == 1).any() and not end.requires_grad
    for slope, moved in ((99.0, 0.1), (-99.0, -0.1), (0.05, 0.05)):
        end = langevin(
            lambda x, slope=slope: slope * x.flatten(1).sum(1),
            torch.full((1, *SHAPE), 0.5),
            seeded(0),
            steps=1,
            step_size=1.0,
            noise=0.0,
            clip=0.1,
        )
        assert torch.allclose(end, torch.full_like(end, 0.5 + moved))
    assert torch.equal(langevin(quadratic, start, seeded(0), steps=0, step_size=0.2, noise=0.5), start)
    again = langevin(quadratic, start.clone().requires_grad_(True), seeded(0), steps=2, step_size=0.2, noise=0.5)
    assert not again.requires_grad


def test_the_buffer_begins_and_begins_anew_with_uniform_images():
    buffer = ReplayBuffer((5, *SHAPE), seeded(0), CPU)
    assert torch.equal(buffer.images, torch.rand((5, *SHAPE), generator=seeded(0)))
    draws = seeded(1)
    order, share = torch.randperm(5, generator=draws)[:4], torch.rand(4, generator=draws)
    noise = torch.rand((4, *SHAPE), generator=draws)
    places, images = buffer.draw(4, 0.5, seeded(1))
    assert torch.equal(places, order)
    assert torch.equal(images, torch.where((share < 0.5)[:, None, None, None], noise, buffer.images[order]))
    assert 0 < int((share < 0.5).sum()) < 4


def test_the_buffer_gives_different_places_and_takes_back_what_was_drawn():
    buffer = ReplayBuffer((10, *SHAPE), seeded(0), CPU)
    before = buffer.images.clone()
    places, images = buffer.draw(6, 0.0, seeded(1))
    assert len(places.unique()) == 6
    assert torch.equal(images, before[places])
    buffer.put(places, torch.zeros_like(images))
    assert torch.equal(buffer.images[places], torch.zeros_like(images))
    rest = torch.ones(10, dtype=torch.bool)
    rest[places] = False
    assert torch.equal(buffer.images[rest], before[rest])


def test_chains_begin_anew_as_often_as_asked():
    buffer = ReplayBuffer((4000, 1, 1, 1), seeded(0), CPU)
    places, images = buffer.draw(4000, 0.05, seeded(1))
    anew = (images != buffer.images[places]).double().mean()
    assert anew == pytest.approx(0.05, abs=0.014)  # four standard errors


def test_a_buffer_smaller_than_the_draw_gives_what_it_has():
    places, images = ReplayBuffer((3, *SHAPE), seeded(0), CPU).draw(8, 0.05, seeded(1))
    assert len(places) == len(images) == 3


def test_every_step_puts_its_chains_back(recipe):
    jem = recipe(reinit=0.0)
    before = jem.buffer.images.clone()
    jem.step(1, seeded(0, "step", 1))
    assert int((jem.buffer.images != before).flatten(1).any(dim=1).sum()) == ARGS["samples"]


def test_the_loss_is_cross_entropy_plus_the_gap_plus_the_penalty(recipe):
    figures = recipe(energy_penalty=0.0, density_weight=0.3).step(0, seeded(0))
    assert figures["loss"] == pytest.approx(figures["classification"] + 0.3 * figures["gap"], abs=1e-6)
    assert recipe(energy_penalty=1.0, density_weight=0.3).step(0, seeded(0))["loss"] > figures["loss"]


def test_chains_draw_from_the_generator_alone(recipe):
    torch.manual_seed(1)
    first = recipe().sample(seeded(0))
    torch.manual_seed(2)
    assert torch.equal(first, recipe().sample(seeded(0)))
    assert not torch.equal(first, recipe().sample(seeded(1)))


def test_an_interrupted_training_ends_with_the_same_bits_and_the_same_chains(recipe, trained_whole_and_resumed):
    whole, resumed = trained_whole_and_resumed(recipe, at=5)
    assert torch.equal(whole.buffer.images, resumed.buffer.images)
    for name, value in whole.detector.state_dict().items():
        assert torch.equal(value, resumed.detector.state_dict()[name])


def test_training_classifies_and_learns_where_the_images_are(recipe, toy_data):
    jem = recipe(steps=150, sgld_steps=5, buffer_size=64, samples=16, batch_size=16)
    train_in_memory(jem)
    assert jem.evaluate()["ID accuracy"] == 1.0
    with torch.no_grad():
        inside = jem.detector.score(toy_data.calibration.pixels())
        noise = jem.detector.score(torch.rand(50, *SHAPE, generator=seeded(3)))
    assert auroc(inside.tolist(), noise.tolist()) > 0.9  # of two modes, noise lies between them in brightness


def test_energies_that_run_away_end_the_training_in_one_sentence(recipe):
    with pytest.raises(DivergedError, match=r"lie .* apart at step 4, allowed are 1e-09; lower training.args.lr"):
        recipe(largest_gap=1e-9).step(4, seeded(0))


def test_energies_that_are_not_numbers_end_the_training_too(recipe):
    jem = recipe()
    with torch.no_grad():
        next(jem.detector.parameters()).fill_(torch.nan)
    with pytest.raises(DivergedError, match="nan apart at step 0"):
        jem.step(0, seeded(0))


def train_in_memory(jem: JEM) -> None:
    for number in range(jem.total_steps):
        jem.step(number, seeded(jem.seed, "step", number))
