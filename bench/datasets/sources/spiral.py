"""Spirals: starting images of the attack on OOD detectors by feature matching (Liang, Wang and Xu)."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import DrawnArgs, check_size


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Two-armed or one-armed spirals, HxWxC, without labels.

    Each image has its own phase, sense of rotation, number of arms, distance between windings, centre (within an eighth
    of the side of the middle) and two colours (grey levels where C = 1) at least 0.4 of the range apart in every
    channel; the colour varies between them as a cosine across the windings.

    Raises:
        DataError: A wrong argument.
    """
    wanted = DrawnArgs.parse(args, "spiral")
    channels, height, width = wanted.shape
    check_size(wanted.count, height, width, channels, "source 'spiral'")
    rng = np.random.default_rng(wanted.seed)
    images = np.stack([_spiral(rng, channels, height, width) for _ in range(wanted.count)])
    return RawImages(images, np.full(wanted.count, -1, dtype=np.int64))


def _spiral(rng: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    side = min(height, width)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    y = y - height / 2 - side * rng.uniform(-1 / 8, 1 / 8)
    x = x - width / 2 - side * rng.uniform(-1 / 8, 1 / 8)
    arms, sense = int(rng.integers(1, 3)), int(rng.choice((-1, 1)))
    spacing = side * rng.uniform(0.18, 0.4)
    phase = rng.uniform(0.0, 2 * np.pi)
    # Archimedes' spiral: the angle at which the arm is met grows in proportion to the radius.
    wave = np.cos(2 * np.pi * np.hypot(x, y) / spacing + sense * arms * np.arctan2(y, x) + phase)
    return blend((wave + 1) / 2, rng, channels)


def blend(weight: np.ndarray, rng: np.random.Generator, channels: int) -> np.ndarray:
    """(H, W) weights in [0, 1] -> (H, W, C) uint8 between two random colours at least 0.4 apart in every channel."""
    low = rng.uniform(0.0, 0.6, size=channels)
    high = low + rng.uniform(0.4, 1.0 - low)
    flip = rng.integers(2, size=channels).astype(bool)
    first, second = np.where(flip, high, low), np.where(flip, low, high)
    colours = first + weight[..., None] * (second - first)
    # Rounding to six digits first keeps a last-bit difference of cos between machines from moving a byte.
    image: np.ndarray = np.rint(np.round(colours * 255, 6)).astype(np.uint8)
    return image
