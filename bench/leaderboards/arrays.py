"""The files beside a row: plain arrays in the safetensors format, from which nothing is ever unpickled."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from bench.leaderboards.json_files import read_bytes
from bench.leaderboards.row import RowError
from bench.tensor_files import check_header

Arrays = dict[str, NDArray[Any]]

MAX_FILE_BYTES = 64 * 2**20

SCORE_TYPES = ("float32", "float64")
"""Of scores: what the detector gives."""

IDS, CLEAN = "ids", "clean"
"""(n + m,) int64 sample ids and clean scores: the ID test images, then every OOD set in the track's order."""

RIGHT = "right"
"""(n,) int8, of a detector with a classifier: 1 where an ID test image's class is predicted, 0 where another, -1 where
the image has no label."""


def worst_name(entry: int) -> str:
    """(m,) scores of the OOD images in the worst case of an entry."""
    return f"worst.{entry}"


def norm_name(entry: int) -> str:
    """(m,) float32: distances of those images from the clean ones."""
    return f"norm.{entry}"


def member_name(entry: int, threat: str) -> str:
    """(m,) scores of the OOD images under one attack of an entry."""
    return f"member.{entry}.{threat}"


def rows_name(entry: int) -> str:
    """(k,) int64: which of the OOD images the kept ones are."""
    return f"rows.{entry}"


def images_name(entry: int) -> str:
    """(k, C, H, W) float32: images of the worst case of an entry."""
    return f"images.{entry}"


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as the content of one file; equal arrays give equal bytes."""
    return bytes(save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}))


def unpack(path: Path, *, what: str, sha256: str, max_bytes: int = MAX_FILE_BYTES) -> Arrays:
    """The arrays of a file that has this sha256.

    Raises:
        RowError: It is missing, larger than `max_bytes`, another one, or no safetensors file.
    """
    content = read_bytes(path, what=what, max_bytes=max_bytes)
    if bytes_sha256(content) != sha256:
        raise RowError(f"{what} '{path}' differs from the sha256 that the row records; submit the row again.")
    try:
        check_header(content, len(content))
        return dict(load(content))
    except Exception:  # whatever the parser makes of a stranger's bytes
        raise RowError(f"{what} '{path}' is no safetensors file; submit the row again.") from None


def bytes_sha256(content: bytes) -> str:
    """sha256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def array_sha256(array: NDArray[Any]) -> str:
    """sha256 of an array: type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
