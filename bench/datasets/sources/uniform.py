"""Uniform pixel noise."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import DrawnArgs, check_size


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Every byte of HxWxC images independent and uniform in 0..255, without labels.

    Raises:
        DataError: A wrong argument.
    """
    wanted = DrawnArgs.parse(args, "uniform")
    channels, height, width = wanted.shape
    check_size(wanted.count, height, width, channels, "source 'uniform'")
    rng = np.random.default_rng(wanted.seed)
    images = rng.integers(256, size=(wanted.count, height, width, channels), dtype=np.uint8)
    return RawImages(images, np.full(wanted.count, -1, dtype=np.int64))
