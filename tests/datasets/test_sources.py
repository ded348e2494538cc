"""Files of all kinds, good and bad, read safely."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.datasets.sources import load_source, source_names
from bench.datasets.sources._files import MissingDataError
from bench.errors import DataError

RNG = np.random.default_rng(1)


# --------------------------------------------------------------------------- torchvision


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for prefix in ("train", "t10k"):  # torchvision wants both halves to be there
        head = b"\0\0\x08\x03" + np.array(images.shape, ">i4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = b"\0\0\x08\x01" + np.array(labels.shape, ">i4").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())


def test_torchvisions_files_are_read_as_they_are(tmp_path: Path) -> None:
    images, labels = RNG.integers(256, size=(5, 28, 28), dtype=np.uint8), np.arange(5)
    write_idx(tmp_path / "MNIST" / "raw", images, labels)
    found = load_source("torchvision", {"dataset": "MNIST", "train": True}, tmp_path)
    assert np.array_equal(found.images[..., 0], images)
    assert np.array_equal(found.labels, labels)


def test_torchvisions_missing_files_are_never_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MNIST is missing"):
        load_source("torchvision", {"dataset": "MNIST", "train": True}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_file_of_torchvisions_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path / "MNIST" / "raw", np.zeros((2, 28, 28), np.uint8), np.zeros(2))
    (tmp_path / "MNIST" / "raw" / name).unlink()
    with pytest.raises(MissingDataError, match=f"{name} of torchvision's MNIST is missing"):
        load_source("torchvision", {"dataset": "MNIST", "train": True}, tmp_path)


@pytest.mark.parametrize("content", [b"", b"?", b"\0\0\x08\x03", b"\0\0\x08\x03" + b"\xff" * 12 + b"1"])
def test_damaged_files_of_torchvisions_are_not_called_missing(tmp_path: Path, content: bytes) -> None:
    write_idx(tmp_path / "MNIST" / "raw", np.zeros((2, 28, 28), np.uint8), np.zeros(2))
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="are damaged: remove and fetch them again") as error:
        load_source("torchvision", {"dataset": "MNIST", "train": True}, tmp_path)
    assert not isinstance(error.value, MissingDataError)


def test_a_folder_in_place_of_a_file_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(DataError, match="is a folder") as error:
        load_source("npz", {"file": "a.npz"}, tmp_path)
    assert not isinstance(error.value, MissingDataError)


def test_classes_whose_files_have_no_reader_here_are_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'MNIST', 'FashionMNIST', 'KMNIST', 'CIFAR10' or 'CIFAR100'"):
        load_source("torchvision", {"dataset": "STL10", "train": True}, tmp_path)


# --------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("source", "args", "sentence"),
    [
        ("unifrom", {}, "unknown source 'unifrom': allowed are background, checkerboard"),
        ("_args", {}, "unknown source '_args'"),
        ("../digits", {}, "unknown source"),
        ("no_such_package:load", {}, "there is no module 'no_such_package'"),
        ("digits", {"split": "all"}, "given: 'all'"),
        ("digits", {}, "argument 'split': Field required"),
        ("uniform", {"count": 0, "seed": 1, "shape": [1, 2, 2]}, "argument 'count'"),
        ("uniform", {"count": 1, "seed": -1, "shape": [1, 2, 2]}, "argument 'seed'"),
        ("uniform", {"count": 1, "seed": 1, "shape": [2, 2, 2]}, "1 or 3, height, width"),
        ("uniform", {"count": 1, "seed": 1, "shape": [1, 2, 2], "size": 3}, "argument 'size'"),
        ("uniform", {"count": 1_000_000, "seed": 1, "shape": [3, 4096, 4096]}, "take fewer images"),
        ("photos", {"count": 1, "seed": 1, "shape": [1, 1, 1], "image": "china.jpg"}, "no crop with any contrast"),
    ],
)
def test_a_wrong_source_or_argument_is_one_sentence(source: str, args: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as error:
        load_source(source, args, Path("nowhere"))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_all_sources_are_found_without_a_list() -> None:
    assert {"digits", "glyphs", "npz", "folder", "torchvision"} <= set(source_names())
