"""Checkerboards: starting images of the attack on OOD detectors by feature matching (Liang, Wang and Xu)."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import DrawnArgs, check_size
from bench.datasets.sources.spiral import blend


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Checkerboards, HxWxC, without labels.

    Each image has its own angle, phase and cell size (from eight cells a side, as the paper's 8x8 board, to two, as
    its 2x2 board) and two colours (grey levels where C = 1) at least 0.4 of the range apart in every channel.

    Raises:
        DataError: A wrong argument.
    """
    wanted = DrawnArgs.parse(args, "checkerboard")
    channels, height, width = wanted.shape
    check_size(wanted.count, height, width, channels, "source 'checkerboard'")
    rng = np.random.default_rng(wanted.seed)
    images = np.stack([_board(rng, channels, height, width) for _ in range(wanted.count)])
    return RawImages(images, np.full(wanted.count, -1, dtype=np.int64))


def _board(rng: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] + 0.5
    cell = min(height, width) / rng.uniform(2.0, 8.0)
    angle = rng.uniform(0.0, np.pi / 2)
    across, down = rng.uniform(0.0, 2.0, size=2)
    u = (np.cos(angle) * x + np.sin(angle) * y) / cell + across
    v = (np.cos(angle) * y - np.sin(angle) * x) / cell + down
    return blend((np.floor(u) + np.floor(v)) % 2, rng, channels)
