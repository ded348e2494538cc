from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.datasets.base import ImageSet, TrainingData, sample_ids
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.small import SmallConvNet
from bench.training.base import Recipe
from bench.training.runner import train


def image_set(name: str, images: torch.Tensor, labels: torch.Tensor) -> ImageSet:
    return ImageSet(name, images, labels, sample_ids(name, len(images)), "digest")


@pytest.fixture
def toy_data() -> TrainingData:
    """Two classes that brightness tells apart, and stripes as outliers, 1x8x8."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 40, (64, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(64) % 2
    images = noise + (labels * 180).to(torch.uint8)[:, None, None, None]
    stripes = noise.clone()
    stripes[..., ::2] += 200
    return TrainingData(
        image_set("train", images[:40], labels[:40]),
        image_set("calibration", images[40:], labels[40:]),
        image_set("outliers", stripes, torch.full((64,), -1)),
        2,
    )


@pytest.fixture
def tiny_network():
    """Builds a network of a few hundred parameters for 1x8x8 images."""

    def build(outputs: int) -> FromPixels:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return FromPixels(SmallConvNet((4, 4), 8, outputs, size=8))

    return build


@pytest.fixture
def trained_whole_and_resumed(tmp_path: Path):
    """Trains a recipe in one go, and once more with an interruption before step `at`; gives both."""

    def run(make: Callable[[], Recipe], at: int) -> tuple[Recipe, Recipe]:
        whole, broken, resumed = make(), make(), make()
        train(whole, checkpoint=tmp_path / "whole.safetensors", identity="x")
        take = broken.step

        def interrupted(number: int, generator: torch.Generator) -> dict[str, float]:
            if number == at:
                raise KeyboardInterrupt
            return take(number, generator)

        broken.step = interrupted
        with pytest.raises(KeyboardInterrupt):
            train(broken, checkpoint=tmp_path / "broken.safetensors", identity="x")
        assert train(resumed, checkpoint=tmp_path / "broken.safetensors", identity="x").resumed_at == at
        return whole, resumed

    return run
