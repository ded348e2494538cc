"""`.npz` files, good and bad: nothing is unpickled, and never more is unpacked than is allowed."""

import io
import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.datasets.sources import _args, load_source
from bench.errors import DataError

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(256, size=(6, 8, 8, 3), dtype=np.uint8)


def npz(folder: Path, **arrays: Any) -> None:
    np.savez(folder / "set.npz", **arrays)


def load_npz(folder: Path) -> Any:
    return load_source("npz", {"file": "set.npz"}, folder)


def member(array: np.ndarray | None = None, header: dict[str, Any] | str | None = None) -> bytes:
    """An array as NumPy writes it, with another header where one is given."""
    buffer = io.BytesIO()
    if array is not None:
        np.lib.format.write_array(buffer, array)
        return buffer.getvalue()
    text = (header if isinstance(header, str) else repr(header)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def archive(folder: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    path = folder / "set.npz"
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return path


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


@pytest.mark.parametrize(("shape", "told"), [((6,), True), ((6, 30), True), ((6, 8, 8), False)])
def test_signals_are_told_that_images_alone_are_taken_and_what_to_do(tmp_path: Path, shape: Any, told: bool) -> None:
    npz(tmp_path, images=np.zeros(shape, np.uint8))
    with pytest.raises(DataError) as raised:
        load_npz(tmp_path)
    assert ("images only; 1-D data can be stored as images of height 1" in str(raised.value)) is told


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


# --------------------------------------------------------------------------- hostile files


def zeros(count: int, side: int) -> bytes:
    return member(header={"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}) + bytes(
        count * side * side * 3
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_ways_of_packing_are_refused(tmp_path: Path, method: int) -> None:
    archive(tmp_path, method, images=member(IMAGES))
    with pytest.raises(DataError, match=r"packed by a method of its own"):
        load_npz(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        "(" * 5000,  # no parser of expressions comes out of this
        "{'descr': '|u1', 'fortran_order': False, 'shape': (",
        {"descr": "|u1", "fortran_order": False, "shape": (2**62, 8, 8, 3)},
        {"descr": "|u1", "fortran_order": False, "shape": (-1, 8, 8, 3)},
        {"descr": "|u1", "fortran_order": False, "shape": ("6", 8, 8, 3)},
        {"descr": [["a"]], "fortran_order": False, "shape": (6, 8, 8, 3)},
        {"descr": "|u1", "fortran_order": False, "shape": (True, 8, 8, 3)},
        "\x00\x00",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 3}",
        "[]",
        " " * 60_000,
    ],
)
def test_a_header_that_lies_or_cannot_be_read_is_one_sentence(tmp_path: Path, header: Any) -> None:
    archive(tmp_path, images=member(header=header) + bytes(100))
    with pytest.raises(DataError) as error:
        load_npz(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


def test_labels_are_parsed_as_carefully_as_images(tmp_path: Path) -> None:
    archive(tmp_path, images=member(IMAGES), labels=member(header="(" * 5000))
    with pytest.raises(DataError, match="cannot be read as an"):
        load_npz(tmp_path)


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_an_archive_whose_account_differs_from_the_header_is_refused(tmp_path: Path, change: int) -> None:
    count = 6 + change if change < 10 else change
    lying = member(header={"descr": "|u1", "fortran_order": False, "shape": (count, 8, 8, 3)}) + IMAGES.tobytes()
    archive(tmp_path, images=lying)
    with pytest.raises(DataError, match="and the archive says"):
        load_npz(tmp_path)


def test_an_archive_that_says_less_than_it_holds_gives_no_more_than_it_says(tmp_path: Path) -> None:
    path = archive(tmp_path, images=zeros(40_000, 64))
    content = bytearray(path.read_bytes())
    size = (len(zeros(0, 64)) + 40_000 * 64 * 64 * 3).to_bytes(4, "little")
    small = (len(zeros(0, 64)) + 64 * 64 * 3).to_bytes(4, "little")
    path.write_bytes(bytes(content).replace(size, small))
    with pytest.raises(DataError):
        load_npz(tmp_path)


def test_a_bomb_is_refused_before_it_is_unpacked_and_in_little_memory(tmp_path: Path) -> None:
    shape = (25_000, 100, 100, 3)  # 750 MB of zeros
    with zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED) as made, made.open("images.npy", "w") as file:
        file.write(member(header={"descr": "|u1", "fortran_order": False, "shape": shape}))
        for _ in range(25):
            file.write(bytes(1000 * 100 * 100 * 3))
    packed = (tmp_path / "set.npz").stat().st_size
    assert packed < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"unpacks to 715 MiB; allowed are 256 MiB \(100 times its size\)"):
        load_npz(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_a_large_set_of_one_colour_can_be_written_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.npz_files.ALWAYS_ALLOWED", 1000)
    plain = np.zeros((2000, 8, 8, 3), np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=plain)
    with pytest.raises(DataError, match=r"write it with numpy\.savez"):
        load_npz(tmp_path)
    np.savez(tmp_path / "set.npz", images=plain)
    assert len(load_npz(tmp_path).images) == 2000


def test_more_images_than_are_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.sources.npz.MAX_IMAGES", 5)
    npz(tmp_path, images=IMAGES)
    with pytest.raises(DataError, match="holds 6 images; allowed are 5"):
        load_npz(tmp_path)


def test_labels_that_do_not_fit_are_refused_and_not_wrapped(tmp_path: Path) -> None:
    npz(tmp_path, images=IMAGES, labels=np.array([0, 1, 2, 3, 4, 2**64 - 1], np.uint64))
    with pytest.raises(DataError, match="18446744073709551615"):
        load_npz(tmp_path)


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", ">i8", "<u8"])
def test_labels_of_every_whole_type_keep_their_values(tmp_path: Path, dtype: str) -> None:
    npz(tmp_path, images=IMAGES, labels=np.arange(6).astype(dtype))
    assert load_npz(tmp_path).labels.tolist() == list(range(6))


def test_arrays_in_fortran_order_are_read_as_they_are(tmp_path: Path) -> None:
    npz(tmp_path, images=np.asfortranarray(IMAGES))
    assert np.array_equal(load_npz(tmp_path).images, IMAGES)


def test_random_damage_is_always_one_sentence(tmp_path: Path) -> None:
    path = archive(tmp_path, images=member(IMAGES), labels=member(np.arange(6)))
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole), size=rng.integers(1, 5)):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_npz(tmp_path)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100  # the rest hit bytes that nobody reads
