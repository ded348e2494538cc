"""Square patches of the pictures that ship with scikit-image: textures, faces, histology, scenes."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Count, Seed, Shape, SourceArgs, check_size
from bench.datasets.sources._decode import MAX_FILE_BYTES, MAX_PIXELS
from bench.datasets.sources._files import MissingDataError
from bench.errors import DataError


class SkimageArgs(SourceArgs):
    """Which pictures, which part of them, and how they are cut."""

    # files of scikit-image's folder `data`
    pictures: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]{1,40}\.(png|jpg|npy)$")], ...],
        Field(min_length=1, max_length=16),
    ]
    shape: Shape  # channels, height and width of every patch
    left: Annotated[int, Field(ge=0)] = 0  # the first column of a picture that is taken
    right: Annotated[int, Field(ge=1)] | None = None  # the first one that is no longer taken; nothing: all to the end
    labelled: bool = False  # the label of a patch is the place of its picture in the list, instead of none
    count: Count | None = None  # so many patches of each picture at random places; nothing: side by side, all that fit
    seed: Seed | None = None  # of the places, with count

    @model_validator(mode="after")
    def _drawn_with_a_seed(self) -> Self:
        if (self.count is None) != (self.seed is None):
            raise ValueError("count and seed go together: give both or neither")
        return self


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Patches HxWxC at the picture's own scale, picture after picture, row after row.

    Patches side by side share no pixel, so that each counts for itself; patches at random places overlap. A `.npy` file
    is a stack (N, h, w) of grey pictures in [0, 1], each of which is one patch, enlarged or reduced to the shape
    (Pillow's bicubic filter). Grey by ITU-R 601 luma where C = 1.

    Raises:
        DataError: A wrong argument, a picture that is unreadable or smaller than a patch, or scikit-image, which is no
            dependency, is not installed (`MissingDataError`).
    """
    wanted = SkimageArgs.parse(args, "skimage")
    channels, height, width = wanted.shape
    found, labels = [], []
    for number, name in enumerate(wanted.pictures):
        path = picture_file(name)
        patches = list(_stack(path, wanted) if path.suffix == ".npy" else _patches(path, number, wanted))
        check_size(len(patches) * len(wanted.pictures), height, width, channels, "source 'skimage'")
        found += patches
        labels += [number if wanted.labelled else -1] * len(patches)
    images = np.stack(found).reshape(len(found), height, width, channels)
    return RawImages(images, np.array(labels, dtype=np.int64))


def picture_file(name: str) -> Path:
    """A picture of the installed scikit-image, found without importing it.

    Raises:
        MissingDataError: scikit-image, or the picture in it, is not there.
        DataError: It is larger than any that ships.
    """
    spec = importlib.util.find_spec("skimage")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / name
        if path.is_file():
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DataError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: install scikit-image again.")
            return path
    raise MissingDataError(f"scikit-image's picture {name} is not here: `pip install scikit-image`, which ships it.")


def _patches(path: Path, number: int, wanted: SkimageArgs) -> Iterator[np.ndarray]:
    channels, height, width = wanted.shape
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise DataError(f"{path} has more than {MAX_PIXELS:,} pixels: install scikit-image again.")
            picture = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image: install scikit-image again.") from error
    part = picture[:, wanted.left : wanted.right]
    rows, columns = part.shape[0] - height, part.shape[1] - width
    if rows < 0 or columns < 0:
        raise DataError(
            f"source 'skimage': the part of {path.name} that is taken is {part.shape[1]}x{part.shape[0]} pixels, and a "
            f"patch {width}x{height}: take more of it, or smaller patches."
        )
    if wanted.count is None:
        places = [(top, left) for top in range(0, rows + 1, height) for left in range(0, columns + 1, width)]
    else:
        rng = np.random.default_rng([wanted.seed or 0, number])
        drawn = rng.integers((rows + 1, columns + 1), size=(wanted.count, 2))
        places = [(int(top), int(left)) for top, left in drawn]
    for top, left in places:
        yield part[top : top + height, left : left + width]


def _stack(path: Path, wanted: SkimageArgs) -> Iterator[np.ndarray]:
    channels, height, width = wanted.shape
    if channels != 1:
        raise DataError(f"source 'skimage': {path.name} holds grey pictures; set the shape's channels to 1.")
    try:
        stack = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array: install scikit-image again.") from error
    if stack.ndim != 3 or stack.dtype != np.float64 or not ((stack >= 0) & (stack <= 1)).all():
        raise DataError(f"{path} is no stack (N, h, w) of pictures in [0, 1]: install scikit-image again.")
    for picture in stack:
        image = Image.fromarray(np.rint(255 * picture).astype(np.uint8))
        yield np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
