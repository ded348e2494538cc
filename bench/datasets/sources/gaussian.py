"""Gaussian pixel noise."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import DrawnArgs, check_size

MEAN, SD = 0.5, 0.25
"""Of a pixel before clipping to [0, 1], the same in every image: about 5 % of the pixels are clipped."""


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Every value of HxWxC images independent and normal, clipped to the range of a byte, without labels.

    Raises:
        DataError: A wrong argument.
    """
    wanted = DrawnArgs.parse(args, "gaussian")
    channels, height, width = wanted.shape
    check_size(wanted.count, height, width, channels, "source 'gaussian'")
    rng = np.random.default_rng(wanted.seed)
    images = np.empty((wanted.count, height, width, channels), dtype=np.uint8)
    for image in images:  # one at a time: the doubles of a whole set would be eight times its bytes
        noise = rng.normal(MEAN, SD, size=image.shape)
        image[...] = np.rint(np.clip(noise, 0.0, 1.0) * 255)
    return RawImages(images, np.full(wanted.count, -1, dtype=np.int64))
