"""The files of one cell: its figures as sealed JSON, its samples as Parquet, its arrays as safetensors."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bench.errors import CellError
from bench.evaluation.results import ARRAYS, FORMAT, SAMPLE_COLUMNS, Cell, CellMeta
from bench.evaluation.sample_tables import from_parquet, to_parquet
from bench.files import FileTooLargeError, read_file
from bench.lazy import lazily
from bench.seals import NoSealError, SealError, sealed_json, unsealed_json
from bench.tensor_files import check_header

with lazily():
    import numpy as np
    from safetensors import numpy as safetensors_numpy

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

META_FILE = "cell.json"
SAMPLES_FILE = "samples.parquet"
ARRAYS_FILE = "arrays.safetensors"
NAMES = (META_FILE, SAMPLES_FILE, ARRAYS_FILE)
"""The names of a cell's files; no other file is ever in its folder."""

_MAX_META_BYTES = 16 * 2**20
_MAX_SAMPLES_BYTES = 4 * 2**30


class DamagedError(Exception):
    """A stored file is not what was written."""


class OtherVersionError(Exception):
    """A cell of another version's layout: nobody's damage, but of no use here."""


class UnsealedError(Exception):
    """A cell without a seal: nothing tells whether its figures are those that were computed."""


def encode(cell: Cell) -> tuple[CellMeta, dict[str, bytes]]:
    """The figures with the sha256 of the other files, and the content of every file, the figures last.

    Raises:
        CellError: A figure is not a finite number, or a column is missing.
    """
    files = {SAMPLES_FILE: _parquet(cell)}
    arrays = _tensors(cell)
    if arrays:
        files[ARRAYS_FILE] = arrays
    digests = {"samples_sha256": _digest(files[SAMPLES_FILE]), "arrays_sha256": _digest(arrays) if arrays else ""}
    meta = cell.meta.model_copy(update=digests)
    try:
        return meta, {**files, META_FILE: sealed_json(meta.model_dump(mode="python"))}
    except ValueError:
        where = f"{meta.detector} x {meta.threat} on {meta.track}"
        raise CellError(f"cell {where} has a figure that is not a finite number; it is not stored.") from None


def read_meta(folder: Path, key: str) -> CellMeta:
    """The figures of a cell, after every check of their file.

    Raises:
        DamagedError: They are not what was written.
        OtherVersionError: They are of another version's layout.
        UnsealedError: They have no seal.
        OSError: The file cannot be read.
    """
    try:
        text = read_file(folder / META_FILE, _MAX_META_BYTES)
    except FileTooLargeError:
        raise DamagedError(f"{META_FILE} is larger than any cell's") from None
    try:
        content, sealed = unsealed_json(text), True
    except NoSealError:
        content, sealed = json.loads(text), False
    except SealError as error:
        if _is_of_another_format(text):
            raise OtherVersionError from None
        raise DamagedError(f"{META_FILE} cannot be used: {error}") from None
    if isinstance(content.get("format"), int) and content["format"] != FORMAT:
        raise OtherVersionError
    if content.get("key") != key:
        raise DamagedError(f"{META_FILE} belongs to another cell" if "key" in content else f"{META_FILE} has no key")
    try:
        meta = CellMeta.model_validate(content)
    except ValidationError:  # whole JSON of this very cell: written with other fields, not damaged
        raise OtherVersionError from None
    if not sealed:
        raise UnsealedError
    return meta


def read_samples(folder: Path, meta: CellMeta) -> bytes:
    """The samples' file of a cell, after the check of its sha256; `table` reads it.

    Raises:
        DamagedError: It is not what was written.
        OSError: It cannot be read.
    """
    return _checked(folder / SAMPLES_FILE, meta.samples_sha256)


def read_arrays(folder: Path, meta: CellMeta) -> bytes:
    """The arrays' file of a cell, after the check of its sha256; `tensors` reads it. Empty where there are none.

    Raises:
        DamagedError: It is not what was written.
        OSError: It cannot be read.
    """
    return _checked(folder / ARRAYS_FILE, meta.arrays_sha256) if meta.arrays_sha256 else b""


def table(samples: bytes) -> "pd.DataFrame":
    """The samples as a table.

    Raises:
        DamagedError: They cannot be read.
    """
    try:
        return from_parquet(samples)
    except Exception as error:  # sealed, but written by a stranger: whatever the parser raises is damage
        raise DamagedError(f"{SAMPLES_FILE} cannot be read ({_reason(error)})") from None


def tensors(arrays: bytes, count: int) -> "dict[str, NDArray[Any]]":
    """The arrays by name.

    Args:
        arrays: The content of their file.
        count: The rows of the samples, which arrays must fit.

    Raises:
        DamagedError: They cannot be read, or do not fit each other and the samples.
    """
    if not arrays:
        return {}
    try:
        check_header(arrays, len(arrays))
        found = dict(safetensors_numpy.load(arrays))
    except Exception as error:  # not only SafetensorError: a stranger's file is the parser's to choke on
        raise DamagedError(f"{ARRAYS_FILE} cannot be read ({_reason(error)})") from None
    if unknown := sorted(set(found) - set(ARRAYS)):
        raise DamagedError(f"{ARRAYS_FILE} holds {unknown[0][:40]!r}, which no cell has")
    if wrong := _misfit(found, count):
        raise DamagedError(f"'{wrong}' in {ARRAYS_FILE} does not fit the cell's {count:,} samples")
    return found


def _misfit(arrays: "dict[str, NDArray[Any]]", count: int) -> str:
    """The name of an array that is of another form than `ARRAYS` says; "" where all fit."""
    trace = arrays.get("trace")
    if trace is not None and (trace.dtype.kind != "f" or trace.ndim != 2 or len(trace) != count):
        return "trace"
    for name, rows_name in (("images", "image_rows"), ("plain_images", "plain_rows")):
        images, rows = arrays.get(name), arrays.get(rows_name)
        if images is not None and (images.dtype.kind != "f" or images.ndim != 4):
            return name
        if (images is None) is not (rows is None):
            return name
        if images is not None and rows is not None:
            formed = rows.dtype.kind == "i" and rows.shape == images.shape[:1]
            if not formed or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count):
                return rows_name
    return ""


def _reason(error: Exception) -> str:
    """Why a parser, or a check before it, refuses a file."""
    text = " ".join(str(error).split())[:200] if isinstance(error, ValueError) else ""
    return text or type(error).__name__


def _is_of_another_format(text: bytes) -> bool:
    """Whether it is JSON of a version whose seal may be made in another way."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] != FORMAT


def _checked(path: Path, sha256: str) -> bytes:
    try:
        content = read_file(path, _MAX_SAMPLES_BYTES)
    except FileTooLargeError:
        raise DamagedError(f"{path.name} is larger than any cell's") from None
    if _digest(content) != sha256:
        raise DamagedError(f"{path.name} differs from its sha256")
    return content


def _parquet(cell: Cell) -> bytes:
    if missing := [name for name in SAMPLE_COLUMNS if name not in cell.samples.columns]:
        raise CellError(f"the samples of cell {cell.meta.key[:12]} lack the columns {', '.join(missing)}.")
    return to_parquet(cell.samples)


def _tensors(cell: Cell) -> bytes:
    """The arrays in one file; nothing where the cell holds none."""
    if unknown := sorted(set(cell.arrays) - set(ARRAYS)):
        raise CellError(f"cell {cell.meta.key[:12]} has the array '{unknown[0]}'; allowed are {', '.join(ARRAYS)}.")
    if not cell.arrays:
        return b""

    return bytes(safetensors_numpy.save({name: np.ascontiguousarray(array) for name, array in cell.arrays.items()}))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
