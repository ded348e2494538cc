"""Sets in NumPy's own format: `images` uint8 (N, H, W, C) and `labels` int64 (N,)."""

import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import StringConstraints

from bench.datasets.base import RawImages
from bench.datasets.sources._args import SourceArgs, check_size
from bench.datasets.sources._files import data_file
from bench.errors import DataError


class NpzArgs(SourceArgs):
    """A file below the data folder."""

    file: Annotated[str, StringConstraints(pattern=r"\.npz$", max_length=200)]


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """The images and labels of one `.npz` file; other arrays in it are left alone, and nothing is unpickled.

    Labels are any integers, -1 where there is none; a file without `labels` has none.

    Raises:
        DataError: The file is missing, damaged, too large, or its arrays are not of the type and shape above.
    """
    path = data_file(data_dir, NpzArgs.parse(args, "npz").file)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "images" not in arrays.files:
                raise DataError(f"{path} has no array 'images' (it has {', '.join(arrays.files) or 'none'}): add it.")
            shape, dtype = array_header(path, "images")
            _check_images(path, shape, dtype)
            images = arrays["images"]
            labels = _labels(path, arrays, len(images))
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        # ValueError is NumPy's answer to an array of Python objects, which it could only read by unpickling.
        raise DataError(
            f"{path} cannot be read as an .npz of plain arrays ({type(error).__name__}): write it again with "
            "numpy.savez_compressed(images=..., labels=...)."
        ) from error
    return RawImages(images, labels)


def array_header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, before memory is taken for it."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


def _check_images(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise DataError(f"'images' in {path} is {dtype} {shape}: it must be uint8 (N, H, W, 1 or 3), N above 0.")
    check_size(*shape, what=str(path))


def _labels(path: Path, arrays: Any, count: int) -> np.ndarray:
    if "labels" not in arrays.files:
        return np.full(count, -1, dtype=np.int64)
    shape, dtype = array_header(path, "labels")
    if shape != (count,) or not np.issubdtype(dtype, np.integer):
        raise DataError(f"'labels' in {path} is {dtype} {shape}: it must be integers ({count},), one for each image.")
    labels: np.ndarray = arrays["labels"].astype(np.int64)
    return labels
