"""Cells on disk: one folder a cell, written aside and renamed, so that a cell is there as a whole or not at all."""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ValidationError

from bench.errors import CellError, UsageError
from bench.evaluation.results import ARRAYS, FORMAT, SAMPLE_COLUMNS, Cell, CellMeta

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_T = TypeVar("_T")

META_FILE = "cell.json"
SAMPLES_FILE = "samples.parquet"
ARRAYS_FILE = "arrays.safetensors"
_KEY = re.compile(r"[0-9a-f]{64}")
_STALE_SECONDS = 24 * 3600  # leftovers of another machine's writer are younger while it may still be writing
_MAX_META_BYTES = 16 * 2**20


class StoreError(UsageError):
    """The store cannot be read or written; what it holds already is kept."""


class CellStore(Protocol):
    """Where an engine finds the cells that are there already, and puts the new ones."""

    def meta(self, key: str) -> CellMeta | None:
        """The figures of a whole cell, None where there is none."""

    def get(self, key: str) -> Cell | None:
        """A whole cell, None where there is none."""

    def put(self, cell: Cell) -> Cell:
        """Keep a cell."""

    def check_writable(self) -> None:
        """Raise where a cell could not be kept."""


class MemoryStore:
    """Cells that last as long as this object."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}

    def meta(self, key: str) -> CellMeta | None:
        """The figures of a cell, None where there is none."""
        return self._cells[key].meta if key in self._cells else None

    def get(self, key: str) -> Cell | None:
        """A cell, None where there is none."""
        return self._cells.get(key)

    def put(self, cell: Cell) -> Cell:
        """Keep a cell."""
        self._cells[cell.meta.key] = cell
        return cell

    def check_writable(self) -> None:
        """Memory can always be written."""


class Store:
    """Cells below one folder: `cells/<first two of the key>/<key>/{cell.json,samples.parquet,arrays.safetensors}`.

    Several processes may use one folder at the same time. A damaged cell is moved to `broken/` and counts as absent.

    Args:
        root: The folder; made with the first cell.

    Attributes:
        notices: One sentence for every damaged cell that was met.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.notices: list[str] = []
        self._others: set[str] = set()

    def meta(self, key: str) -> CellMeta | None:
        """The figures of a stored cell whose samples are whole; None where there is none."""
        return self._read(key, lambda meta, samples: meta)

    def get(self, key: str) -> Cell | None:
        """A stored cell with its samples; None where there is none."""
        return self._read(key, lambda meta, samples: Cell(meta, _table(samples), self._arrays(meta)))

    def metas(self) -> list[CellMeta]:
        """The figures of every whole cell, oldest key order."""
        self._others.clear()
        found = [meta for key in self.keys() if (meta := self.meta(key)) is not None]
        if self._others:
            count = len(self._others)
            self.notices.append(f"cells of another version of bench are left where they are, and not shown: {count}.")
        return found

    def cells(self) -> list[Cell]:
        """Every whole cell with its samples."""
        return [cell for key in self.keys() if (cell := self.get(key)) is not None]

    def keys(self) -> list[str]:
        """The keys of all cells, whole or not, in order."""
        with _said(self.root, "read"):
            return sorted(path.name for path in self.root.glob("cells/??/*") if _KEY.fullmatch(path.name))

    def put(self, cell: Cell) -> Cell:
        """Write a cell; one that is there already under the same key stays.

        Returns:
            The cell with the sha256 of its samples.

        Raises:
            CellError: A figure is not a finite number, or a column is missing.
            StoreError: The folder cannot be written, or the disk is full.
        """
        samples, arrays = _parquet(cell), _tensors(cell)
        digests = {"samples_sha256": _digest(samples), "arrays_sha256": _digest(arrays) if arrays else ""}
        meta = cell.meta.model_copy(update=digests)
        text = _json(meta)
        target = self._folder(meta.key)
        with _said(self.root, "write"):
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = self._new_aside()
            try:
                _write(aside / SAMPLES_FILE, samples)
                if arrays:
                    _write(aside / ARRAYS_FILE, arrays)
                _write(aside / META_FILE, text)
                self._publish(aside, target, meta.key)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return Cell(meta, cell.samples, cell.arrays)

    def check_writable(self) -> None:
        """Raise unless a cell could be written here, and clear what dead writers left behind.

        Raises:
            StoreError: The folder cannot be made or written.
        """
        with _said(self.root, "write"):
            probe = self._new_aside()
            _write(probe / "probe", b"probe")
            shutil.rmtree(probe, ignore_errors=True)
        self._clear_leftovers()

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise UsageError(f"'{key}' is no key of a cell; a key is 64 hexadecimal digits.")
        return self.root / "cells" / key[:2] / key

    def _new_aside(self) -> Path:
        """A folder of this process on the same file system as the cells."""
        aside = self.root / "writing" / f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"
        aside.mkdir(parents=True)
        return aside

    def _publish(self, aside: Path, target: Path, key: str) -> None:
        try:
            aside.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not target.is_dir():
                raise
            if self.meta(key) is None:  # what was there was damaged, and is moved aside now
                if target.exists():
                    self._move_aside(target, "its fields are not those of this version")
                aside.rename(target)
        _sync_folder(target.parent)

    def _read(self, key: str, use: Callable[[CellMeta, bytes], _T]) -> _T | None:
        """`use` of a cell's two files after their check; a damaged cell is moved aside, on the second look."""
        folder = self._folder(key)
        for last in (False, True):
            try:
                meta = _parse_meta(folder / META_FILE, key)
                samples = (folder / SAMPLES_FILE).read_bytes()
                if _digest(samples) != meta.samples_sha256:
                    raise _DamagedError(f"{SAMPLES_FILE} differs from its sha256")
                return use(meta, samples)
            except FileNotFoundError as error:
                if not folder.exists():
                    return None
                reason = f"{Path(error.filename).name} is missing"
            except (NotADirectoryError, IsADirectoryError) as error:
                if not folder.exists():  # not the cell is at fault, but the way to it
                    raise _sentence(error, self.root, "read") from error
                reason = "a file is in the place of a folder, or the other way round"
            except _OtherFormatError:
                self._others.add(key)
                return None
            except _DamagedError as error:
                reason = str(error)
            except OSError as error:
                raise _sentence(error, self.root, "read") from error
            if last:  # between two reads another process may have replaced the cell
                self._move_aside(folder, reason)
        return None

    def _arrays(self, meta: CellMeta) -> "dict[str, NDArray[Any]]":
        if not meta.arrays_sha256:
            return {}
        from safetensors.numpy import load

        content = (self._folder(meta.key) / ARRAYS_FILE).read_bytes()
        if _digest(content) != meta.arrays_sha256:
            raise _DamagedError(f"{ARRAYS_FILE} differs from its sha256")
        try:
            return dict(load(content))
        except Exception:  # not only SafetensorError: a stranger's file is the parser's to choke on
            raise _DamagedError(f"{ARRAYS_FILE} cannot be read") from None

    def _move_aside(self, folder: Path, reason: str) -> None:
        place = self.root / "broken" / f"{folder.name[:16]}.{uuid.uuid4().hex[:8]}"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(place)
        except FileNotFoundError:
            return  # another process moved it
        except OSError as error:
            self.notices.append(f"the stored cell {folder} is damaged ({reason}) and cannot be moved aside ({error}).")
            return
        self.notices.append(f"a damaged cell ({reason}) was moved to {place}; it counts as not run.")

    def _clear_leftovers(self) -> None:
        host = socket.gethostname()
        for path in self.root.glob("writing/*"):
            name, _, process = path.name.rpartition(".")[0].rpartition(".")
            with suppress(OSError):
                dead = name == host and process.isdigit() and not _alive(int(process))
                if dead or time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


class _DamagedError(Exception):
    """A stored file is not what was written."""


class _OtherFormatError(Exception):
    """A cell of another version's layout: nobody's damage, but of no use here."""


@dataclass(frozen=True)
class _Sentence:
    cause: str
    remedy: str


_SENTENCES = {
    errno.ENOSPC: _Sentence("there is no space left on the disk", "free some space or choose another folder"),
    errno.EDQUOT: _Sentence("the disk quota is used up", "free some space or choose another folder"),
    errno.EROFS: _Sentence("the file system is read-only", "choose another folder"),
    errno.EACCES: _Sentence("permission is denied", "choose a folder of your own"),
    errno.EPERM: _Sentence("permission is denied", "choose a folder of your own"),
    errno.ENOTDIR: _Sentence("a file is in the way of a folder", "choose another folder"),
    errno.EEXIST: _Sentence("a file is in the way of a folder", "choose another folder"),
}


def _sentence(error: OSError, root: Path, doing: str) -> StoreError:
    known = _SENTENCES.get(error.errno or 0, _Sentence(error.strerror or str(error), "choose another folder"))
    kept = "; the cells that are stored are kept" if doing == "write" else ""
    return StoreError(f"cannot {doing} the store '{root}': {known.cause}; {known.remedy} (--out){kept}.")


@contextmanager
def _said(root: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _sentence(error, root, doing) from error


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _json(meta: CellMeta) -> bytes:
    try:
        return json.dumps(meta.model_dump(mode="python"), indent=1, allow_nan=False, default=str).encode()
    except ValueError:
        where = f"{meta.detector} x {meta.threat} on {meta.track}"
        raise CellError(f"cell {where} has a figure that is not a finite number; it is not stored.") from None


def _parse_meta(path: Path, key: str) -> CellMeta:
    if path.stat().st_size > _MAX_META_BYTES:
        raise _DamagedError(f"{META_FILE} is larger than any cell's")
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] != FORMAT:
            raise _OtherFormatError
    except (ValueError, RecursionError):
        raise _DamagedError(f"{META_FILE} cannot be read") from None
    if not isinstance(content, dict) or "key" not in content:
        raise _DamagedError(f"{META_FILE} cannot be read")
    if content["key"] != key:
        raise _DamagedError(f"{META_FILE} belongs to another cell")
    try:
        return CellMeta.model_validate(content)
    except ValidationError:  # whole JSON of this very cell: written with other fields, not damaged
        raise _OtherFormatError from None


def _parquet(cell: Cell) -> bytes:
    if missing := [name for name in SAMPLE_COLUMNS if name not in cell.samples.columns]:
        raise CellError(f"the samples of cell {cell.meta.key[:12]} lack the columns {', '.join(missing)}.")
    buffer = BytesIO()
    cell.samples.to_parquet(buffer, index=False, engine="pyarrow")
    return buffer.getvalue()


def _tensors(cell: Cell) -> bytes:
    """The arrays in one file; nothing where the cell holds none."""
    if unknown := sorted(set(cell.arrays) - set(ARRAYS)):
        raise CellError(f"cell {cell.meta.key[:12]} has the array '{unknown[0]}'; allowed are {', '.join(ARRAYS)}.")
    if not cell.arrays:
        return b""
    import numpy as np
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(array) for name, array in cell.arrays.items()}))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _table(samples: bytes) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(BytesIO(samples), engine="pyarrow")
    except Exception as error:  # sealed, but written by a stranger: whatever the parser raises is damage
        raise _DamagedError(f"{SAMPLES_FILE} cannot be read ({type(error).__name__})") from None
