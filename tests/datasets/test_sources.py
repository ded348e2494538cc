"""Files of all kinds, good and bad, read safely."""

import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.datasets.download import distinct, fetch, read_binary
from bench.datasets.sources import _args, load_source, source_names
from bench.errors import DataError
from bench.specs import SetSpec

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(256, size=(6, 8, 8, 3), dtype=np.uint8)


def npz(folder: Path, **arrays: Any) -> None:
    np.savez(folder / "set.npz", **arrays)


def load_npz(folder: Path) -> Any:
    return load_source("npz", {"file": "set.npz"}, folder)


# --------------------------------------------------------------------------- npz


def test_an_npz_without_labels_has_none(tmp_path: Path) -> None:
    npz(tmp_path, images=IMAGES)
    found = load_npz(tmp_path)
    assert np.array_equal(found.images, IMAGES)
    assert found.labels.tolist() == [-1] * 6


def test_an_npz_with_a_pickled_object_is_refused(tmp_path: Path) -> None:
    npz(tmp_path, images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="must be uint8"):
        load_npz(tmp_path)


def test_pickled_labels_are_refused(tmp_path: Path) -> None:
    npz(tmp_path, images=IMAGES, labels=np.array([None] * 6, dtype=object))
    with pytest.raises(DataError, match="must be integers"):
        load_npz(tmp_path)


def test_a_file_that_is_no_archive_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        load_npz(tmp_path)


def test_a_truncated_archive_is_one_sentence(tmp_path: Path) -> None:
    npz(tmp_path, images=IMAGES)
    path = tmp_path / "set.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        load_npz(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"pictures": IMAGES}, "has no array 'images'"),
        ({"images": IMAGES.astype(float)}, "must be uint8"),
        ({"images": IMAGES[0]}, "must be uint8"),
        ({"images": IMAGES[:0]}, "N above 0"),
        ({"images": IMAGES, "labels": np.arange(5)}, "one for each image"),
        ({"images": IMAGES, "labels": np.zeros(6)}, "must be integers"),
    ],
)
def test_wrong_arrays_are_one_sentence(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    npz(tmp_path, **arrays)
    with pytest.raises(DataError, match=sentence):
        load_npz(tmp_path)


def test_an_npz_larger_than_allowed_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npz(tmp_path, images=IMAGES)
    monkeypatch.setattr(_args, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="take fewer images"):
        load_npz(tmp_path)


@pytest.mark.parametrize("name", ["../set.npz", "/etc/set.npz", "a/../../set.npz", "a//set.npz"])
def test_a_file_name_cannot_leave_the_data_folder(tmp_path: Path, name: str) -> None:
    npz(tmp_path, images=IMAGES)
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="is not a relative path"):
        load_source("npz", {"file": name}, tmp_path / "inner")


# --------------------------------------------------------------------------- folders


def save(folder: Path, name: str, image: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def load_folder(folder: Path, shape: tuple[int, int, int] = (3, 8, 8), **args: Any) -> Any:
    return load_source(f"folder:{folder}", {"shape": shape, **args}, folder)


def test_a_folder_is_read_in_order_with_its_folders_last(tmp_path: Path) -> None:
    for name, image in zip(("b.png", "a.png", "sub/a.png", "a/z.png"), IMAGES, strict=False):
        save(tmp_path, name, image)
    assert np.array_equal(load_folder(tmp_path).images, IMAGES[[1, 0, 3, 2]])


def test_a_broken_image_is_skipped_and_reported(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGES[0])
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    (tmp_path / "c.jpg").write_bytes(b"nothing")
    found = load_folder(tmp_path)
    assert len(found.images) == 1
    assert [sentence.split()[0] for sentence in found.skipped] == ["b.png", "c.jpg"]


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is of this size, in a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(8000, 8000), (12_000, 12_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_and_reported(tmp_path: Path, size: tuple[int, int]) -> None:
    save(tmp_path, "a.png", IMAGES[0])
    (tmp_path / "bomb.png").write_bytes(png_of(*size))
    found = load_folder(tmp_path)
    assert len(found.images) == 1
    assert "bomb.png" in found.skipped[0]
    assert "allowed" in found.skipped[0]


def test_links_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path, "in/a.png", IMAGES[0])
    save(tmp_path, "out/b.png", IMAGES[1])
    save(tmp_path, "in/.hidden.png", IMAGES[1])
    save(tmp_path, "in/.hidden/c.png", IMAGES[1])
    (tmp_path / "in" / "notes.txt").write_text("hello")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out" / "b.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    found = load_folder(tmp_path / "in")
    assert np.array_equal(found.images, IMAGES[:1])
    assert found.skipped == ()


def test_images_are_cut_to_the_middle_and_resized(tmp_path: Path) -> None:
    wide = np.zeros((16, 48, 3), dtype=np.uint8)
    wide[:, 12:36] = 200  # more than the middle square: the filter reaches a little beyond it
    save(tmp_path, "wide.png", wide)
    assert (load_folder(tmp_path).images == 200).all()


def test_a_colour_image_becomes_grey_where_the_track_is(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGES[0])
    assert load_folder(tmp_path, (1, 8, 8)).images.shape == (1, 8, 8, 1)


def test_sixteen_bit_images_are_skipped_and_not_clipped(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGES[0])
    save(tmp_path, "deep.png", np.full((8, 8), 40_000, dtype=np.uint16))
    assert "8 bits" in load_folder(tmp_path).skipped[0]


def test_no_more_than_max_images_are_read(tmp_path: Path) -> None:
    for k, image in enumerate(IMAGES):
        save(tmp_path, f"{k}.png", image)
    assert len(load_folder(tmp_path, max_images=4).images) == 4


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="holds no readable image"):
        load_folder(tmp_path)


def test_a_relative_folder_stays_below_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="leaves the data folder"):
        load_source("folder:../", {"shape": [3, 8, 8]}, tmp_path / "data")


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"image folder 'mine' is missing below {tmp_path}"):
        load_source("folder:mine", {"shape": [3, 8, 8]}, tmp_path)


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


def test_classes_whose_files_are_pickles_are_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'MNIST', 'FashionMNIST' or 'KMNIST'"):
        load_source("torchvision", {"dataset": "CIFAR10", "train": True}, tmp_path)


# --------------------------------------------------------------------------- arguments and downloads


@pytest.mark.parametrize(
    ("source", "args", "sentence"),
    [
        ("unifrom", {}, "unknown source 'unifrom': allowed are checkerboard"),
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


def archive_of(folder: Path, records: np.ndarray) -> Path:
    path = folder / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("data.bin")
        info.size = records.nbytes
        tar.addfile(info, io.BytesIO(records.tobytes()))
    return path


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_cifars_binary_records_become_images_and_fine_labels(tmp_path: Path, label_bytes: int) -> None:
    images = RNG.integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    labels = np.array([[9] * (label_bytes - 1) + [k] for k in range(4)], dtype=np.uint8)
    records = np.hstack([labels, images.transpose(0, 3, 1, 2).reshape(4, -1)])
    found, fine = read_binary(archive_of(tmp_path, records), ["data.bin"], label_bytes, 3)
    assert np.array_equal(found, images[:3])
    assert fine.tolist() == [0, 1, 2]


def test_too_few_binary_records_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 records instead of 2"):
        read_binary(archive_of(tmp_path, np.zeros((1, 3073), dtype=np.uint8)), ["data.bin"], 1, 2)


def test_a_file_that_cannot_be_fetched_is_a_sentence_that_says_where_to_put_it(tmp_path: Path) -> None:
    sentence = fetch(SetSpec(source="npz", args={"file": "rare.npz"}), tmp_path)
    assert "rare.npz cannot be fetched: put it into" in sentence


def test_a_download_without_network_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("<urlopen error no route to host>")

    monkeypatch.setattr(torchvision.datasets, "MNIST", offline)
    with pytest.raises(DataError, match=r"could not be downloaded .*no route to host"):
        fetch(SetSpec(source="torchvision", args={"dataset": "MNIST", "train": True}), tmp_path)


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    npz(tmp_path, images=IMAGES)
    assert "there already" in fetch(SetSpec(source="npz", args={"file": "set.npz"}), tmp_path)


def test_parts_of_one_file_are_fetched_once() -> None:
    specs = [SetSpec(source="npz", args={"file": "a.npz"}, start=k) for k in range(3)]
    assert list(distinct(iter(specs))) == specs[:1]
