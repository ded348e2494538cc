"""CIFAR's archives in small, written as Python 2 wrote the official ones."""

import dataclasses
import hashlib
import io
import pickle
import tarfile
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from bench.datasets.published import BATCHES, Batches, PublishedFile


class Python2(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python, whose opcodes can be chosen
    """Protocol 2 with texts as strings of bytes, the opcodes that the official files hold."""

    def save_bytes(self, obj: bytes) -> None:
        self.write(b"T" + len(obj).to_bytes(4, "little") + obj)
        self.memoize(obj)

    dispatch: ClassVar[dict[type, Any]] = {**pickle._Pickler.dispatch, bytes: save_bytes}  # type: ignore[attr-defined]


def batch(images: np.ndarray, labels: list[int], entry: str) -> bytes:
    """One file: images (N, 32, 32, 3) and the entry of their labels."""
    data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
    file = io.BytesIO()
    names = [b"picture_%d.png" % k for k in range(len(images))]
    Python2(file, 2).dump({b"batch_label": b"one", entry.encode(): labels, b"data": data, b"filenames": names})
    return file.getvalue()


def archive(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar.gz file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            body = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return packed.getvalue()


@dataclass(frozen=True)
class SmallCifar:
    """One of the two data sets with a few images in each file."""

    dataset: str
    each: int
    images: dict[str, np.ndarray]
    labels: dict[str, list[int]]
    files: dict[str, bytes]
    archive: bytes

    @classmethod
    def of(cls, dataset: str, each: int) -> "SmallCifar":
        """The data set with `each` images in every file, the same whenever it is made."""
        real, rng = BATCHES[dataset], np.random.default_rng(3)
        images, labels, files = {}, {}, {}
        for half, names in real.files.items():
            images[half] = rng.integers(256, size=(each * len(names), 32, 32, 3), dtype=np.uint8)
            labels[half] = rng.integers(10, size=each * len(names)).tolist()
            for k, name in enumerate(names):
                part = slice(k * each, (k + 1) * each)
                files[name] = batch(images[half][part], labels[half][part], real.labels)
        packed = archive({f"{real.folder}/{name}": content for name, content in files.items()})
        return cls(dataset, each, images, labels, files, packed)

    def batches(self, file: PublishedFile | None = None, **changed: Any) -> Batches:
        """What is published of it."""
        real = BATCHES[self.dataset]
        md5 = {
            half: {name: hashlib.md5(self.files[name]).hexdigest() for name in names}
            for half, names in real.files.items()
        }
        given = {"archive": file or real.archive, "files": md5, "count": {"train": self.each, "test": self.each}}
        return dataclasses.replace(real, **(given | changed))


def shrink_cifar(
    monkeypatch: pytest.MonkeyPatch, small: SmallCifar, file: PublishedFile | None = None, **changed: Any
) -> None:
    """Put the small one in the place of the published one."""
    monkeypatch.setitem(BATCHES, small.dataset, small.batches(file, **changed))
