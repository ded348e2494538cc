"""Fetching public data sets into the data folder; the only module here that uses the network."""

import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import content_digest
from bench.datasets.sources import load_source
from bench.datasets.sources._files import MissingDataError
from bench.errors import DataError
from bench.specs import SetSpec

CIFAR = "https://www.cs.toronto.edu/~kriz"
CIFAR_10 = (f"{CIFAR}/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
CIFAR_100 = (f"{CIFAR}/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")

BINARY = {
    "cifar10_train.npz": (CIFAR_10, [f"cifar-10-batches-bin/data_batch_{k}.bin" for k in range(1, 6)], 1, 50_000),
    "cifar10_test.npz": (CIFAR_10, ["cifar-10-batches-bin/test_batch.bin"], 1, 10_000),
    "cifar100_test.npz": (CIFAR_100, ["cifar-100-binary/test.bin"], 2, 5_000),
}
"""File -> archive, its members, label bytes a record and records taken. The binary archives hold no pickles."""

IDX = {"kmnist_test.npz": {"dataset": "KMNIST", "train": False}}
"""File -> the set of torchvision that it is a copy of."""


def fetch(spec: SetSpec, data_dir: Path) -> str:
    """Fetch the files of one set unless they are there.

    Returns:
        One sentence: that they are there, were fetched, or have to be put there by hand, and where.

    Raises:
        DataError: They could not be downloaded, or are not what was published.
    """
    try:
        load_source(spec.source, spec.args, data_dir)
    except MissingDataError:
        pass
    else:
        return f"{_what(spec)} is there already."
    if spec.source == "torchvision":
        _fetch_torchvision(spec.args, data_dir)
        return f"{_what(spec)} was fetched into {data_dir}."
    name = str(spec.args.get("file", ""))
    if spec.source == "npz" and (name in IDX or name in BINARY):
        images, labels = _from_torchvision(IDX[name], data_dir) if name in IDX else _from_binary(name, data_dir)
        _write_npz(data_dir / name, images, labels)
        digest = content_digest(images, labels)
        if spec.digests() and digest not in spec.digests():
            return (
                f"{name} was fetched into {data_dir}, but its content {digest} is not the copy that this track was "
                "measured with: write a track card of your own that gives this digest."
            )
        return f"{name} was fetched into {data_dir}."
    return (
        f"{_what(spec)} cannot be fetched: put it into {data_dir}, an .npz of 'images' (uint8, N,H,W,C) and 'labels' "
        "(int64), as the card's note describes; `bench data check` then says whether it is the same."
    )


def _what(spec: SetSpec) -> str:
    return str(spec.args.get("file") or spec.args.get("dataset") or spec.args.get("path") or spec.source)


def _fetch_torchvision(args: dict[str, Any], data_dir: Path) -> None:
    import torchvision.datasets

    data_dir.mkdir(parents=True, exist_ok=True)
    _or_sentence(
        lambda: getattr(torchvision.datasets, args["dataset"])(data_dir, train=args["train"], download=True),
        f"torchvision's {args['dataset']}",
        data_dir,
    )


def _from_torchvision(args: dict[str, Any], data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    _fetch_torchvision(args, data_dir)
    raw = load_source("torchvision", args, data_dir)
    return raw.images, raw.labels


def _from_binary(name: str, data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets.utils import download_url

    (url, md5), members, label_bytes, count = BINARY[name]
    archive = data_dir / url.rsplit("/", 1)[1]
    data_dir.mkdir(parents=True, exist_ok=True)
    _or_sentence(lambda: download_url(url, str(data_dir), md5=md5), url, data_dir)
    try:
        return read_binary(archive, members, label_bytes, count)
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError) as error:
        raise DataError(
            f"{archive} is damaged ({type(error).__name__}): remove it and run the command again."
        ) from error


def read_binary(archive: Path, members: list[str], label_bytes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR's binary records: (count, 32, 32, 3) uint8 images and (count,) int64 labels, the fine ones.

    Nothing is unpacked to disk, and no more is read than the records should take.

    Args:
        archive: The tar.gz file.
        members: Files in it, in order.
        label_bytes: Bytes before the pixels of a record; the last one is the label.
        count: Records that are taken, from the first.
    """
    length = label_bytes + 3072
    with tarfile.open(archive, "r:gz") as tar:
        streams = [tar.extractfile(member) for member in members]
        blob = b"".join(stream.read(10_000 * length) for stream in streams if stream is not None)
    records = np.frombuffer(blob, dtype=np.uint8).reshape(-1, length)[:count]
    if len(records) != count:
        raise ValueError(f"{len(records)} records instead of {count}")
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, label_bytes - 1].astype(np.int64)


def _write_npz(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, images=images, labels=labels)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _or_sentence(download: Callable[[], Any], what: str, data_dir: Path) -> None:
    try:
        download()
    except (OSError, RuntimeError, EOFError) as error:  # URLError and its kind are OSErrors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{what} could not be downloaded ({reason}): check the network and run the command again, or put the "
            f"files into {data_dir} by hand."
        ) from error


def distinct(specs: Iterator[SetSpec]) -> Iterator[SetSpec]:
    """The specs whose files differ: train and calibration are often parts of one file, train and test of one class."""
    seen: set[str] = set()
    for spec in specs:
        key = f"{spec.source} {_what(spec)}"
        if key not in seen:
            seen.add(key)
            yield spec
