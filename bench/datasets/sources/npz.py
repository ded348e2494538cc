"""Sets in NumPy's own format: `images` uint8 (N, H, W, C) and `labels` int64 (N,)."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import StringConstraints

from bench.datasets.base import RawImages
from bench.datasets.npz_files import NpzFile, opened_npz, whole_numbers
from bench.datasets.sources._args import MAX_IMAGES, SourceArgs, check_size
from bench.datasets.sources._files import data_file
from bench.errors import IMAGES_ONLY, DataError


class NpzArgs(SourceArgs):
    """A file below the data folder."""

    file: Annotated[str, StringConstraints(pattern=r"\.npz$", max_length=200)]


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """The images and labels of one `.npz` file; other arrays in it are left alone, and nothing is unpickled.

    Labels are any integers, -1 where there is none; a file without `labels` has none. Nothing is unpacked before the
    size that its headers declare is known to be allowed and to agree with the archive's own account of it.

    Raises:
        DataError: The file is missing, damaged, too large, or its arrays are not of the type and shape above.
    """
    path = data_file(data_dir, NpzArgs.parse(args, "npz").file)
    with opened_npz(path) as arrays:
        count = _checked_count(arrays, path)
        images = np.ascontiguousarray(arrays.read("images"))
        if "labels" not in arrays.names:
            return RawImages(images, np.full(count, -1, dtype=np.int64))
        return RawImages(images, whole_numbers(arrays.read("labels"), f"'labels' in {path}"))


def _checked_count(arrays: NpzFile, path: Path) -> int:
    """N, where the headers say what they must."""
    if "images" not in arrays.names:
        raise DataError(f"{path} has no array 'images' (it has {', '.join(arrays.names[:20]) or 'none'}): add it.")
    shape, dtype = arrays.header("images")
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        hint = f"; {IMAGES_ONLY}" if len(shape) < 3 else ""
        raise DataError(f"'images' in {path} is {dtype} {shape}: it must be uint8 (N, H, W, 1 or 3), N above 0{hint}.")
    check_size(*shape, what=str(path))
    count = shape[0]
    if count > MAX_IMAGES:
        raise DataError(f"{path} holds {count:,} images; allowed are {MAX_IMAGES:,}: take fewer images.")
    if "labels" in arrays.names:
        shape, dtype = arrays.header("labels")
        if shape != (count,) or not np.issubdtype(dtype, np.integer):
            raise DataError(
                f"'labels' in {path} is {dtype} {shape}: it must be integers ({count},), one for each image."
            )
    arrays.check_ratio(*{"images", "labels"} & set(arrays.names))
    return count
