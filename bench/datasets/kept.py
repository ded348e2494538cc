"""Decoded sets on disk: bytes of images that are mapped into memory page by page, under the hash of what made them.

    sets/HASH.npy     images, (N, C, H, W) uint8, in NumPy's own format; nothing is ever unpickled
    sets/HASH.json    the rest of the set under a seal, with the sha256 of the file above; written last

They lie in the user's cache folder. The hash is of all that the images depend on, so a file is never out of date, and
anything wrong with one only means that the set is made again. Both files are written aside and renamed: whoever reads
finds a whole set or none, however many write and wherever one of them is killed.
"""

import hashlib
import logging
import mmap
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from bench.files import put_file, read_file, why
from bench.places import user_cache
from bench.seals import sealed_json, unsealed_json

FOLDER = "sets"

SAID_FROM = 64 << 20
"""Bytes of a set from which it is said that it cannot be kept, since it then stands in memory."""

RELEASED_AFTER = 16 << 20
"""Bytes that are read of a mapped set before its pages are given back."""

_MAX_ABOUT = 1 << 28
_MAX_HEADER = 10_000
_LOG = logging.getLogger("bench")


class Pages:
    """What was read of a mapped file, and stands in memory until it is given back.

    Args:
        mapped: The file's pages.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._read = 0

    def used(self, count: int) -> None:
        """So many bytes more were read; now and then, all pages are given back: the system has them on disk."""
        self._read += count
        if self._read >= RELEASED_AFTER:
            self.release()

    def release(self) -> None:
        """Give all pages back now."""
        self._read = 0
        if hasattr(self._mapped, "madvise"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Kept:
    """A set as it lies on disk.

    Attributes:
        images: (N, C, H, W) uint8; read from the file where they are asked for.
        about: What was kept with them.
        pages: Of the file.
    """

    images: np.ndarray
    about: Mapping[str, Any]
    pages: Pages


def recall(name: str) -> Kept | None:
    """A kept set; None where there is none, or its files are not those that were written.

    Args:
        name: The hash of all that it depends on, 64 hexadecimal digits.
    """
    if (files := _files(name)) is None:
        return None
    images, about = files
    try:
        content = unsealed_json(read_file(about, _MAX_ABOUT))
        with images.open("rb") as file:
            if content.get("name") != name or content.get("sha256") != hashlib.file_digest(file, "sha256").hexdigest():
                return None
            file.seek(0)
            array, pages = _mapped(file)
            return Kept(array, content["about"], pages)
    except (OSError, ValueError, KeyError, TypeError):  # none, damaged, or another program's
        return None


def keep(name: str, images: np.ndarray, about: Mapping[str, Any]) -> Kept | None:
    """Keep a set; None where it cannot be kept, as without a home folder or on a full disk.

    Args:
        name: As in `recall`.
        images: (N, C, H, W) uint8.
        about: What JSON can hold.
    """
    if (files := _files(name)) is None:
        return None
    try:
        digest = _written(files[0], images)
        put_file(files[1], sealed_json({"name": name, "sha256": digest, "about": dict(about)}))
    except OSError as error:
        if images.nbytes >= SAID_FROM:
            _LOG.warning(
                "%s MiB of decoded images stand in memory, since %s cannot be written: %s.",
                f"{images.nbytes >> 20:,}",
                files[0].parent,
                why(error),
            )
        return None
    return recall(name)


def _files(name: str) -> tuple[Path, Path] | None:
    cache = user_cache()
    return None if cache is None else (cache / FOLDER / f"{name}.npy", cache / FOLDER / f"{name}.json")


def _mapped(file: Any) -> tuple[np.ndarray, Pages]:
    """The array of an open file.

    Raises:
        ValueError: It is no array of images.
    """
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file, max_header_size=_MAX_HEADER)
    if dtype != np.uint8 or len(shape) != 4 or fortran or min(shape) < 1:
        raise ValueError("no images")
    # Copy on write: torch warns of memory that nobody may write, and nothing that is written here reaches the file.
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(pages, np.uint8, offset=file.tell()).reshape(shape), Pages(pages)


def _written(target: Path, images: np.ndarray) -> str:
    """Write the array aside and rename it; the sha256 of the file.

    Raises:
        OSError: It cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".robustood-{uuid.uuid4().hex}.part")
    try:
        with aside.open("xb+") as file:
            np.save(file, np.ascontiguousarray(images), allow_pickle=False)
            file.flush()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        aside.replace(target)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return digest
