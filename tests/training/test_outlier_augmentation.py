"""Outliers are augmented as ID images are, so that no recipe can tell the two by what augmentation does to an image."""

import dataclasses

import pytest
import torch
from torch import Tensor

from bench.detectors.base import DetectorParams
from bench.detectors.ccu import CCU as CCUDetector
from bench.detectors.ccu import CCUParams
from bench.detectors.committee import GATCommittee
from bench.detectors.energy import Energy, EnergyParams
from bench.detectors.gat import GAT as GATDetector
from bench.training.aoe import AOE
from bench.training.augment import OutlierAugmentArgs, augmented_outliers
from bench.training.base import seeded
from bench.training.ccu import CCU
from bench.training.committee import CommitteeGAT
from bench.training.gat import GAT
from bench.training.good import GOOD
from bench.training.minimax import MinimaxGAT
from bench.training.outlier_exposure import OutlierExposure

SHAPE, BATCH = (1, 8, 8), 256
RECIPES = ["gat", "minimax", "oe", "aoe", "good", "ccu", "committee"]


@pytest.fixture
def twin_data(toy_data):
    """ID images and outliers are one and the same image, full of edges; only augmentation could tell them apart."""
    image = torch.randint(0, 256, (1, *SHAPE), generator=seeded(3), dtype=torch.uint8)

    def alike(images):
        return dataclasses.replace(images, images=image.expand_as(images.images).clone())

    return dataclasses.replace(toy_data, train=alike(toy_data.train), outliers=alike(toy_data.outliers))


@pytest.fixture
def seen(twin_data, tiny_network):
    """The ID images and the outliers of one training step, as the network is given them, without an attack."""

    def of(name: str, **args: object) -> tuple[Tensor, Tensor]:
        args = {"batch_size": BATCH, "turn_outliers": False, **args}
        form = {"shape": SHAPE, "classes": 2}
        given: list[Tensor] = []
        if name == "committee":
            detector = GATCommittee(tiny_network(2), **form, params=GATCommittee.Params(channels=(4, 4), hidden=8))
            inside, attacked = CommitteeGAT(detector, twin_data, {**args, "outliers": 1.0}, seed=0).sample(seeded(0))
            return inside.flatten(0, 1), attacked.flatten(0, 1)
        if name == "ccu":
            params = CCUParams(components=3, outlier_components=2)
            recipe = CCU(CCUDetector(tiny_network(2), **form, params=params), twin_data, args, seed=0)
            return recipe.labelled(seeded(0))[0], recipe.unlabelled(BATCH, seeded(1))
        if name == "minimax":
            detector = GATDetector(tiny_network(1), **form, params=DetectorParams())
            recipe = MinimaxGAT(detector, twin_data, {**args, "samples": BATCH}, seed=0)
            return recipe.inside(seeded(0)), recipe.samples
        if name == "good":
            detector = Energy(tiny_network(2), **form, params=EnergyParams())
            recipe = GOOD(detector, twin_data, args, seed=0)
            recipe.largest_differences = lambda outliers, eps: given.append(outliers) or outliers.flatten(1).amax(1)
            detector.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach()))
            recipe.step(0, seeded(0))
            return given[0], given[1]
        if name == "gat":
            detector = GATDetector(tiny_network(1), **form, params=DetectorParams())
            recipe = GAT(detector, twin_data, {**args, "max_k": 0}, seed=0)
        else:
            kind, extra = (AOE, {"eps": 0.0}) if name == "aoe" else (OutlierExposure, {})
            detector = Energy(tiny_network(2), **form, params=EnergyParams())
            recipe = kind(detector, twin_data, {**args, **extra}, seed=0)
        detector.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach()))
        recipe.step(0, seeded(0))
        (images,) = given
        return images[:BATCH], images[BATCH:]

    return of


def roughness(images: Tensor) -> float:
    """Mean square of the differences of neighbours, which resampling lowers."""
    return float(images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean())


@pytest.mark.parametrize("name", RECIPES)
def test_outliers_are_resampled_as_id_images_are(name, seen, twin_data):
    inside, outside = seen(name)
    raw = twin_data.outliers.pixels()[:1]
    assert roughness(outside) == pytest.approx(roughness(inside), rel=0.05)  # two samples of 256 images or more
    assert roughness(outside) < 0.8 * roughness(raw)


@pytest.mark.parametrize("name", RECIPES)
def test_without_amounts_outliers_are_as_they_are(name, seen, twin_data):
    _, outside = seen(name, degrees=0.0, shift=0.0, scale=0.0)
    assert torch.allclose(outside, twin_data.outliers.pixels()[:1].expand_as(outside), atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_outliers_are_mirrored_where_id_images_are(name, seen, twin_data):
    _, outside = seen(name, degrees=0.0, shift=0.0, scale=0.0, mirror=True)
    raw = twin_data.outliers.pixels()[:1]
    mirrored = (outside - raw.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 0.3 < float(mirrored.double().mean()) < 0.7


def test_turning_comes_on_top():
    x = torch.rand(1, *SHAPE, generator=seeded(4)).expand(400, *SHAPE)
    still = OutlierAugmentArgs(degrees=0.0, shift=0.0, scale=0.0)
    turned = augmented_outliers(x, still, seeded(0))
    assert len(torch.unique(turned.mul(1e3).round().flatten(1), dim=0)) >= 8
    straight = augmented_outliers(x, still.model_copy(update={"turn_outliers": False}), seeded(0))
    assert torch.allclose(straight, x, atol=1e-5)
