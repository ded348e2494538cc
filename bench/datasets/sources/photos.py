"""Crops of the two photographs that ship with scikit-learn."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from bench.datasets.base import RawImages
from bench.datasets.sources._args import DrawnArgs, check_size
from bench.datasets.sources.digits import sklearn_file
from bench.errors import DataError

SMALLEST, LARGEST = 32, 320
"""Sides of the crops in pixels of the photograph (640x427)."""

FLAT = 12.0
"""Grey levels: what varies less shows nothing."""


class PhotosArgs(DrawnArgs):
    """Which photograph, how many crops of it and of what shape."""

    image: Literal["china.jpg", "flower.jpg"]


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Square crops at random places, HxWxC, without labels.

    The crops' sides are spread evenly in their logarithm, from fine texture to whole scenes; each crop is averaged down
    to the shape (Pillow's BOX filter), grey by ITU-R 601 luma where C = 1. Crops of plain background, with a standard
    deviation below `FLAT`, are drawn again.

    Raises:
        DataError: A wrong argument, or scikit-learn's photograph is missing or unreadable.
    """
    wanted = PhotosArgs.parse(args, "photos")
    channels, height, width = wanted.shape
    check_size(wanted.count, height, width, channels, "source 'photos'")
    path = sklearn_file(f"images/{wanted.image}")
    try:
        with Image.open(path, formats=("JPEG",)) as opened:
            photo = opened.convert("L" if channels == 1 else "RGB")
    except OSError as error:
        raise DataError(f"{path} cannot be read as a JPEG image: install scikit-learn again.") from error
    rng = np.random.default_rng(wanted.seed)
    crops = [_crop(photo, rng, (width, height)) for _ in range(wanted.count)]
    images = np.stack(crops).reshape(wanted.count, height, width, channels)
    return RawImages(images, np.full(wanted.count, -1, dtype=np.int64))


def _crop(photo: Image.Image, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    for _ in range(1000):
        side = int(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST + 1))))
        left = int(rng.integers(photo.width - side + 1))
        top = int(rng.integers(photo.height - side + 1))
        crop = np.asarray(photo.resize(size, Image.Resampling.BOX, box=(left, top, left + side, top + side)))
        if crop.std() >= FLAT:
            return crop
    raise DataError(f"source 'photos' found no crop with any contrast at {size[0]}x{size[1]} pixels: ask for more.")
