"""What a training tells of held-out images is the mean over single images, in the unit that its name says."""

import dataclasses

import pytest
import torch
from test_recipes_against_naive import BASE, NAMES, RECIPES, detector  # noqa: F401

from bench.datasets.base import sample_ids
from bench.detectors.base import silent
from bench.training.base import seeded

COUNT = 517
"""More than two batches of any recipe, and of another length than their sum."""

ACCURATE = [name for name in NAMES if name not in ("Autoencoder", "GAT", "CommitteeGAT", "MinimaxGAT")]
AT_THE_END = ("Glow", "PixelCNN", "SDIM")
"""Recipes that tell of fewer images while they train."""


@pytest.fixture
def recipe(detector, toy_data):  # noqa: F811
    """A recipe before its first step, told to judge all of many calibration images with labels drawn at random."""

    def build(name):
        generator = seeded(11)
        images = torch.randint(0, 255, (COUNT, 1, 8, 8), generator=generator, dtype=torch.uint8)
        many = dataclasses.replace(
            toy_data.calibration,
            images=images,
            labels=torch.randint(0, 2, (COUNT,), generator=generator),
            ids=sample_ids("calibration", COUNT),
        )
        made = RECIPES[name](detector(name).eval(), dataclasses.replace(toy_data, calibration=many), BASE[name], seed=7)
        if name in AT_THE_END:
            made.detector.fit = lambda data, progress=silent: made.detector
            made.finish()
        return made, many

    return build


def alone(images, function):
    """What a function says of every image in a batch of its own."""
    with torch.no_grad():
        return torch.cat([function(image[None]) for image in images])


@pytest.mark.parametrize("name", ACCURATE)
def test_accuracy_is_the_share_of_images_that_are_taken_for_what_they_are(name, recipe):
    made, many = recipe(name)
    right = alone(many.pixels(), made.detector.logits).argmax(1) == many.labels
    assert 0.1 < float(right.double().mean()) < 0.9
    assert made.evaluate()["ID accuracy"] == pytest.approx(float(right.double().mean()), abs=1.5 / COUNT)


def test_bits_per_dimension_are_the_mean_of_those_of_the_images(recipe):
    made, many = recipe("Glow")
    bits = alone(many.pixels(), made.detector.bits_per_dim)
    assert made.evaluate()["held-out bits/dim"] == pytest.approx(float(bits.mean()), rel=1e-4)


def test_the_error_of_an_autoencoder_is_the_mean_of_those_of_the_images(recipe):
    made, many = recipe("Autoencoder")
    error = -alone(many.pixels(), made.detector.score)
    assert made.evaluate() == {"calibration MSE": pytest.approx(float(error.mean()), rel=1e-4)}


@pytest.mark.parametrize("name", ["GAT", "CommitteeGAT", "MinimaxGAT"])
def test_the_auroc_of_a_training_is_that_of_its_images_against_its_outliers(name, recipe):
    made, many = recipe(name)
    judged = many.pixels()[:500] if name == "CommitteeGAT" else many.pixels()
    inside, outside = (alone(images, made.detector.score) for images in (judged, made.data.outliers.pixels()))
    gaps = inside[:, None] - outside[None]
    expected = float((gaps > 0).double().mean() + 0.5 * (gaps == 0).double().mean())
    assert made.evaluate() == {"AUROC": pytest.approx(expected, abs=1e-3)}
