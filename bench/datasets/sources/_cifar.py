"""CIFAR's archives for Python, without unpickling what they may hold: images and labels are read, nothing is called."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.published import BATCHES, Batches
from bench.datasets.sources._files import missing
from bench.datasets.unpacking import read_members
from bench.errors import DataError

SIDE = 32
"""Height and width of CIFAR's images."""

PIXELS = 3 * SIDE * SIDE

MAX_IMAGE_BYTES = PIXELS + 128
"""Bytes of a file for each of its images: pixels, labels and the name of the picture's own file."""


def load_cifar(dataset: str, half: Literal["train", "test"], data_dir: Path) -> RawImages:
    """One half of CIFAR-10 or CIFAR-100 in its own order: (N, 32, 32, 3) images and fine labels.

    Args:
        dataset: A name of `BATCHES`.
        half: Which one.
        data_dir: Where the unpacked folder lies, or else the archive.

    Raises:
        DataError: Neither is there (`MissingDataError`), or a file in it is another one than torchvision reads.
    """
    batches = BATCHES[dataset]
    count, files = batches.count[half], batches.files[half]
    images, labels = [], []
    place, contents = _contents(dataset, batches, half, data_dir)
    for name, content in zip(files, contents, strict=True):
        where = f"{name} of torchvision's {dataset} in {place}"
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != files[name]:
            raise DataError(
                f"{where} has another md5 than torchvision's, {files[name]}: remove {place.name} and run `bench data "
                "download`."
            )
        pixels, own = read_batch(content, batches.labels, where)
        if len(own) != count:
            raise DataError(f"{where} holds {len(own):,} images instead of {count:,}: fetch it again.")
        images.append(pixels)
        labels.append(own)
    return RawImages(np.concatenate(images), np.concatenate(labels))


def _contents(
    dataset: str, batches: Batches, half: Literal["train", "test"], data_dir: Path
) -> tuple[Path, list[bytes]]:
    """The folder where it is whole, else the archive; and what the files hold."""
    folder, archive, names = data_dir / batches.folder, data_dir / batches.archive.name, tuple(batches.files[half])
    largest = batches.count[half] * MAX_IMAGE_BYTES
    if all((folder / name).is_file() for name in names):
        return folder, [_bounded(folder / name, largest) for name in names]
    if archive.is_file():
        members = tuple(f"{batches.folder}/{name}" for name in names)
        every = sum(len(files) * batches.count[kind] for kind, files in batches.files.items())
        return archive, read_members(archive, members, max_bytes=every * MAX_IMAGE_BYTES)
    raise missing(f"torchvision's {dataset} ({batches.folder} or {batches.archive.name})", data_dir)


def _bounded(path: Path, largest: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise DataError(f"{path} has more than {largest:,} bytes: remove it and fetch it again.")
    return content


def read_batch(content: bytes, labels: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) of one file.

    Args:
        content: The file, a pickle.
        labels: The entry that has its labels.
        where: The file, for the sentence.

    Raises:
        DataError: It is no such pickle, or holds or asks for anything else.
    """
    try:
        found = _Plain(io.BytesIO(content), encoding="latin1").load()
        data, own = found["data"], np.array(found[labels])
        assert isinstance(data, _Array) and own.dtype.kind == "i"
        images = np.frombuffer(data.content, dtype=np.uint8).reshape(len(own), 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    except Exception as error:  # a stranger's pickle may be anything
        raise DataError(
            f"{where} is no file of CIFAR's images ({type(error).__name__}): remove it and fetch it again."
        ) from error
    return np.ascontiguousarray(images), own.astype(np.int64)


class _Array:
    """Stands for what a pickle calls an array: its bytes, whatever it says of their type and order."""

    content = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the bytes of (version, shape, type, Fortran order, bytes)."""
        _, _, kind, fortran, content = state
        if not isinstance(kind, _Kind) or kind.code != "u1" or fortran or not isinstance(content, str | bytes):
            raise ValueError("an array of something else than bytes")
        self.content = content.encode("latin1") if isinstance(content, str) else content


class _Kind:
    """Stands for the type of an array."""

    def __init__(self, code: str = "", *rest: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """The order of bytes, of which single bytes have none."""


def _array(*described: object) -> _Array:
    return _Array()


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in a pickle that Python 2 can read."""
    return text.encode("latin1")


class _Plain(pickle.Unpickler):
    """Reads numbers, text, lists, dictionaries and arrays of bytes; every other name is refused before it is looked up.

    The four names that CIFAR's files use stand for functions and classes of this module, not for NumPy's.
    """

    _NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _array,
        ("numpy._core.multiarray", "_reconstruct"): _array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encoded,
    }

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name of the pickle.

        Raises:
            UnpicklingError: It is not one of the names above.
        """
        if (module, name) not in self._NAMES:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return self._NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what lies outside of the file."""
        raise pickle.UnpicklingError("persistent")
