"""NumPy's archives from strangers: nothing is unpickled, and no more is unpacked than was known and allowed before."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from bench.errors import BenchError, DataError

MAX_RATIO = 100
"""Bytes in memory for one in the file; photographs take 1 to 2, drawings on an empty ground 10 to 50, a bomb 1,000."""

ALWAYS_ALLOWED = 256 << 20
"""Bytes in memory that any file may take."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How NumPy writes members; other decoders may take gigabytes for themselves."""

MAX_HEADER = 10_000
"""Bytes of an array's own header, as NumPy bounds it."""

Header = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of an array."""


class NpzFile:
    """The arrays of an open archive, by name; made by `opened_npz`."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self.names = tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))

    def header(self, name: str) -> Header:
        """Shape and type of an array, before memory is taken for it.

        Raises:
            DataError: The archive's account of the array's size is another one, or it is packed in another way.
        """
        info = self._archive.getinfo(f"{name}.npy")
        if info.compress_type not in METHODS:
            raise DataError(
                f"'{name}' in {self._path} is packed by a method of its own: write it with numpy.savez_compressed."
            )
        with self._archive.open(info) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file, max_header_size=MAX_HEADER)
            declared = size_of((shape, dtype)) + file.tell()
        if min(shape, default=0) < 0 or (not dtype.hasobject and declared != info.file_size):
            raise DataError(
                f"'{name}' in {self._path} is {dtype} {shape}, {declared:,} bytes with its header, and the archive "
                f"says {info.file_size:,}: write it again with numpy.savez_compressed."
            )
        return shape, dtype

    def check_ratio(self, *names: str) -> None:
        """Refuse arrays that are out of all proportion to the file.

        Raises:
            DataError: Together they take more than `ALWAYS_ALLOWED` and `MAX_RATIO` times the file's own size.
        """
        packed, size = self._path.stat().st_size, sum(size_of(self.header(name)) for name in names)
        allowed = max(ALWAYS_ALLOWED, MAX_RATIO * packed)
        if size > allowed:
            raise DataError(
                f"{self._path} has {packed:,} bytes and unpacks to {size / 2**20:,.0f} MiB; allowed are "
                f"{allowed / 2**20:,.0f} MiB ({MAX_RATIO} times its size): write it with numpy.savez, which packs "
                "nothing, if that is right."
            )

    def read(self, name: str) -> np.ndarray:
        """The array, read piece by piece into memory of the size that its header declares."""
        with self._archive.open(f"{name}.npy") as file:
            found: np.ndarray = npy.read_array(file, allow_pickle=False, max_header_size=MAX_HEADER)
        return found


@contextmanager
def opened_npz(path: Path) -> Iterator[NpzFile]:
    """An archive for reading; whatever its parsers raise is one sentence.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield NpzFile(archive, path)
    except BenchError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy's header parser: a stranger's bytes may raise anything in them
        raise DataError(
            f"{path} cannot be read as an .npz of plain arrays ({type(error).__name__}): write it again with "
            "numpy.savez_compressed."
        ) from error


def size_of(header: Header) -> int:
    """Bytes of an array in memory; exact, however absurd its shape."""
    shape, dtype = header
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def whole_numbers(array: np.ndarray, what: str) -> np.ndarray:
    """An array of integers as int64.

    Raises:
        DataError: One is too large for it, and would come out as another number.
    """
    if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
        raise DataError(f"{what} hold {array.max()}: allowed are whole numbers of 64 bits with a sign.")
    return array.astype(np.int64)
