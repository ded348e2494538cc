"""Headers that lie, in every place where the project reads safetensors."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from bench.detectors.checkpoints import read_checkpoint
from bench.detectors.weights import load_tensors
from bench.errors import WeightsError
from bench.evaluation.cell_files import DamagedError, tensors
from bench.leaderboards.arrays import unpack
from bench.leaderboards.row import RowError
from bench.tensor_files import MAX_HEADER, check_header
from bench.training.runner import _progress


def crafted(header: object, body: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LIES = {
    "empty": b"",
    "seven bytes": b"\1" * 7,
    "a header of gigabytes": crafted({}, length=1 << 33),
    "a header of 2**64 - 1": crafted({}, length=2**64 - 1),
    "beyond the end": crafted({"trace": tensor(0, 1 << 30, [1 << 28])}),
    "before the beginning": crafted({"trace": tensor(-8, 0, [2])}),
    "overlapping": crafted({"trace": tensor(0, 8, [2]), "images": tensor(4, 8, [1])}),
    "a gap": crafted({"trace": tensor(0, 4, [1]), "images": tensor(5, 8, [1])}),
    "another size than its shape": crafted({"trace": tensor(0, 8, [1 << 40])}),
    "a shape that overflows": crafted({"trace": tensor(0, 8, [1 << 62, 1 << 62])}),
    "an unknown type": crafted({"trace": tensor(0, 8, [2], "F33")}),
    "more than its tensors": crafted({"trace": tensor(0, 8, [2])}, body=b"\0" * 16),
    "no JSON": crafted(b"{]"),
    "deep JSON": crafted(b"[" * 100_000),
    "a list": crafted([1]),
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_header_that_lies_is_one_sentence_everywhere(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    for read in (load_tensors, read_checkpoint):
        with pytest.raises(WeightsError) as error:
            read(file)
        assert "are not a safetensors file" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(RowError, match="is no safetensors file; submit the row again"):
        unpack(file, what="scores", sha256=hashlib.sha256(content).hexdigest())
    if content:
        with pytest.raises(DamagedError, match=r"arrays.safetensors cannot be read \(.+\)"):
            tensors(content, 3)
    assert _progress(file) is None


def test_a_header_of_many_empty_tensors_is_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench.detectors.weights as weights

    monkeypatch.setattr(weights, "load_bytes", lambda data: pytest.fail("it was read"))
    many = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % k for k in range(90_000))
    content = crafted(b"{" + many + b"}", body=b"")
    assert len(content) > MAX_HEADER
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"its header has 5,\d+,\d+ bytes; allowed are 4,194,304"):
        load_tensors(file)


def test_a_network_of_a_thousand_tensors_is_read(tmp_path: Path) -> None:
    content = save({f"layers.{k}.weight": torch.zeros(1) for k in range(1_000)})
    check_header(content, len(content))
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    assert len(load_tensors(file)) == 1_000


def test_a_cells_arrays_have_names_that_cells_have() -> None:
    with pytest.raises(DamagedError, match="holds 'other', which no cell has"):
        tensors(save({"other": torch.zeros(1)}), 3)


IMAGES, ROWS = torch.zeros(2, 1, 4, 4), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("arrays", "wrong"),
    [
        ({"trace": torch.zeros(2, 5)}, "trace"),
        ({"trace": torch.zeros(3)}, "trace"),
        ({"trace": torch.zeros(3, 5, dtype=torch.int64)}, "trace"),
        ({"images": IMAGES}, "images"),
        ({"image_rows": ROWS}, "images"),
        ({"images": IMAGES[0], "image_rows": ROWS}, "images"),
        ({"images": IMAGES, "image_rows": ROWS[:1]}, "image_rows"),
        ({"images": IMAGES, "image_rows": ROWS + 1}, "image_rows"),
        ({"images": IMAGES, "image_rows": ROWS - 1}, "image_rows"),
        ({"images": IMAGES, "image_rows": ROWS.float()}, "image_rows"),
    ],
)
def test_arrays_that_do_not_fit_the_samples_are_damage(arrays: dict[str, torch.Tensor], wrong: str) -> None:
    with pytest.raises(DamagedError, match=f"'{wrong}' in arrays.safetensors does not fit the cell's 3 samples"):
        tensors(save(arrays), 3)


def test_arrays_that_fit_are_read() -> None:
    found = tensors(save({"trace": torch.zeros(3, 5), "images": IMAGES, "image_rows": ROWS}), 3)
    assert sorted(found) == ["image_rows", "images", "trace"]


def test_a_header_may_be_as_long_as_the_limit_and_take_the_whole_file() -> None:
    for length, more in ((MAX_HEADER, 0), (MAX_HEADER, 5), (2, 0)):
        check_header(struct.pack("<Q", length), length + 8 + more)
    for length, size, said in (
        (MAX_HEADER + 1, MAX_HEADER + 9, "allowed are 4,194,304"),
        (3, 10, "has 3 bytes, and the file has 10"),
    ):
        with pytest.raises(ValueError, match=said):
            check_header(struct.pack("<Q", length), size)
    with pytest.raises(ValueError, match="shorter than a header"):
        check_header(b"1234567", 7)
