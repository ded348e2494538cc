"""ACET: its noise, the search around it, and what training with it does."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bench.detectors.acet import ACET as ACETDetector
from bench.training.acet import ACET, log_confidence
from bench.training.base import seeded
from bench.training.noise import filtered_noise, low_passed, stretched

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(**args) -> ACET:
        detector = ACETDetector(tiny_network(2), shape=SHAPE, classes=2, params=ACETDetector.Params())
        return ACET(detector, toy_data, {"batch_size": 16, "lr": 0.02, "steps": 150, **args}, seed=0)

    return build


def run(made):
    for number in range(made.total_steps):
        made.step(number, seeded(0, "step", number))
    return made


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 9), (1, 32, 32), (1, 3, 5)])
def test_the_filter_is_that_of_scipy_with_reflected_edges(shape):
    x = torch.rand(4, *shape, generator=seeded(1))
    sigmas = torch.tensor([0.4, 1.0, 2.5, 9.0])
    expected = [
        gaussian_filter(image.numpy(), (0, float(sigma), float(sigma)), mode="reflect", radius=(0, 7, 7))
        for image, sigma in zip(x, sigmas, strict=True)
    ]
    torch.testing.assert_close(low_passed(x, sigmas), torch.from_numpy(np.stack(expected)), atol=1e-6, rtol=1e-5)


def test_grey_levels_are_stretched_by_one_shift_and_one_factor():
    x = torch.tensor([[[[0.4, 0.5], [0.6, 0.45]]], [[[0.3, 0.3], [0.3, 0.3]]]])
    expected = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    torch.testing.assert_close(stretched(x), expected)


def test_the_first_images_are_permuted_and_the_others_uniform():
    x = torch.rand(8, 3, 8, 8, generator=seeded(2)).square()
    x[:, :, 0, 0], x[:, :, 0, 1] = 0.0, 1.0  # stretching changes nothing
    noise = filtered_noise(x, seeded(3), permuted=0.5, sigmas=(1e-3, 1e-3))  # nor does so narrow a filter
    before, after = (t.flatten(2).transpose(1, 2) for t in (x, noise))
    for image, moved in zip(before[:4], after[:4], strict=True):
        assert not torch.equal(image, moved)
        assert {tuple(pixel.tolist()) for pixel in image} == {tuple(pixel.tolist()) for pixel in moved}
    # Four images of 192 uniform numbers: their mean square has a standard error of 0.011.
    assert float(noise[4:].square().mean()) == pytest.approx(1 / 3, abs=0.04)
    assert float(x.square().mean()) < 0.25


def test_noise_is_blurred_within_the_given_range_and_reaches_from_0_to_1():
    x = torch.rand(200, *SHAPE, generator=seeded(2))

    def roughness(low: float, high: float) -> torch.Tensor:
        noise = filtered_noise(x, seeded(3), permuted=0.5, sigmas=(low, high))
        assert torch.equal(noise.amin(dim=(1, 2, 3)), torch.zeros(200))
        assert torch.equal(noise.amax(dim=(1, 2, 3)), torch.ones(200))
        return noise.diff(dim=-1).square().mean(dim=(1, 2, 3))

    sharp, mixed, soft = roughness(1.0, 1.0), roughness(1.0, 2.5), roughness(2.5, 2.5)
    assert sharp.mean() > mixed.mean() > soft.mean()
    place = (mixed - soft) / (sharp - soft)  # of the same noise: the filter is of one width for each image
    assert 0.2 < float((place < 0.5).double().mean()) < 0.95
    assert float(place.std()) > 0.1


def test_a_search_on_a_linear_score_ends_in_the_corner_of_the_ball(recipe):
    made = recipe(eps=0.1, ascents=4, step_size=0.1)
    weight = torch.randn(SHAPE, generator=seeded(1))
    weight = weight * weight.sum().sign()  # of grey images the first class is the surer one
    made.logits = lambda x: torch.stack([(x * weight).flatten(1).sum(1), torch.zeros(len(x))], dim=1)
    x = torch.full((3, *SHAPE), 0.5)
    assert torch.allclose(made.surest(x, seeded(2)), x + 0.1 * weight.sign())


def test_the_surest_point_is_in_ball_and_box_and_no_less_sure_than_the_noise(recipe):
    made = recipe(eps=0.1, ascents=3, step_size=0.4)  # steps so long that most of them go too far
    x = torch.rand(40, *SHAPE, generator=seeded(4))
    z = made.surest(x, seeded(5))
    assert (z - x).abs().max() <= 0.1 + 1e-6
    assert 0 <= z.min() <= z.max() <= 1
    with torch.no_grad():
        before, after = (log_confidence(made.logits(images)) for images in (x, z))
    assert (after >= before).all()
    assert (after > before).sum() > 30
    assert all(parameter.grad is None and parameter.requires_grad for parameter in made.detector.parameters())


def test_a_point_on_the_way_is_kept_where_the_last_one_is_worse(recipe):
    made = recipe(eps=0.5, ascents=2, step_size=0.5)
    made.logits = lambda x: torch.nn.functional.pad((5 - 90 * (x[:, :1, 0, 0] - 0.6).abs()), (0, 2))
    x = torch.full((1, *SHAPE), 0.61)
    assert torch.equal(made.surest(x, seeded(6)), x)


def test_without_steps_noise_is_taken_as_it_is(recipe):
    x = torch.rand(3, *SHAPE, generator=seeded(4))
    assert torch.equal(recipe(ascents=0).surest(x, seeded(5)), x)


def test_training_makes_the_classifier_unsure_around_noise_and_keeps_its_accuracy(recipe, toy_data):
    search = {"eps": 0.1, "ascents": 3, "step_size": 0.05}
    plain, acet = run(recipe(weight=0.0, **search)), run(recipe(**search))
    assert acet.evaluate()["ID accuracy"] == 1.0
    x = toy_data.calibration.pixels()
    noise = filtered_noise(x, seeded(8), permuted=0.5, sigmas=(1.0, 2.5))
    confidences = [log_confidence(made.logits(made.surest(noise, seeded(9)))).exp() for made in (plain, acet)]
    assert confidences[0].mean() > 0.8
    assert confidences[1].mean() < 0.65
