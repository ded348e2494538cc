"""Cells on disk: one folder a cell, written aside and renamed, so that a cell is there as a whole or not at all."""

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from bench.errors import UsageError
from bench.evaluation import cell_files
from bench.evaluation.cell_files import DamagedError, OtherVersionError, UnsealedError
from bench.evaluation.leftovers import PROBE, clear_leftovers, written_aside
from bench.evaluation.results import Cell, CellMeta
from bench.evaluation.store_errors import StoreError, said, store_error

__all__ = ["CellStore", "MemoryStore", "Store", "StoreError"]

_T = TypeVar("_T")

_KEY = re.compile(r"[0-9a-f]{64}")
_OTHER_VERSION = "of another version of bench"
_UNSEALED = "without a seal, whose figures anybody may have changed,"


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

    Several processes may use one folder at the same time, also from several containers. A cell that is damaged or was
    edited is moved to `broken/` and counts as absent. Other files of the folder are left alone; nothing is written,
    moved or removed through a link inside it.

    Args:
        root: The folder; made with the first cell.
        name: What a person calls it; the folder where nothing else is said.

    Attributes:
        notices: One sentence for every damaged cell that was met.
    """

    def __init__(self, root: Path, name: str = "") -> None:
        self.root = Path(root)
        self.name = name or str(root)
        self.notices: list[str] = []
        self._left: dict[str, str] = {}  # key -> what kind of cell it is, that is of no use and stays

    def meta(self, key: str) -> CellMeta | None:
        """The figures of a stored cell that is whole; None where there is none."""
        return self._read(key, lambda meta, samples, arrays: meta)

    def get(self, key: str) -> Cell | None:
        """A stored cell with its samples; None where there is none."""
        return self._read(key, _whole)

    def metas(self) -> list[CellMeta]:
        """The figures of every whole cell, oldest key order."""
        self._left.clear()
        found = self._listed(lambda meta, samples, arrays: meta)
        kinds = list(self._left.values())
        self.notices += [
            f"cells {kind} are left where they are, and not shown: {kinds.count(kind)}."
            for kind in (_OTHER_VERSION, _UNSEALED)
            if kind in kinds
        ]
        return found

    def bring(self, key: str) -> None:
        """Look once more for a cell that another machine may have put: of a folder that all share, there is no need."""

    def cells(self) -> list[Cell]:
        """Every whole cell with its samples."""
        return self._listed(_whole)

    def keys(self) -> list[str]:
        """The keys of all cells, whole or not, in order."""
        with said(self.root, "read"):
            found = self.root.glob("cells/??/*")
            return sorted(p.name for p in found if _KEY.fullmatch(p.name) and p.parent.name == p.name[:2])

    def put(self, cell: Cell) -> Cell:
        """Write a cell; one that is there already under the same key stays.

        Returns:
            The cell with the sha256 of its samples.

        Raises:
            CellError: A figure is not a finite number, or a column is missing.
            StoreError: The folder cannot be written, or the disk is full.
        """
        meta, files = cell_files.encode(cell)
        self.adopt(meta.key, files)
        return Cell(meta, cell.samples, cell.arrays)

    def adopt(self, key: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a cell as they are; a whole cell that is there already stays.

        Args:
            key: Of the cell.
            files: Content by name; what does not fit counts as a damaged cell when it is read.

        Raises:
            StoreError: The folder cannot be written, or the disk is full.
        """
        target = self.folder(key)
        with said(self.root, "write"):
            if link := self._link_on_the_way(target):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(link))
            target.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self.root) as aside:
                for name, content in files.items():
                    _write(aside / name, content)
                self._publish(aside, target, key)

    def check_writable(self) -> None:
        """Raise unless a cell could be written here, and clear what dead writers left behind.

        Raises:
            StoreError: The folder cannot be made or written.
        """
        with said(self.root, "write"), written_aside(self.root) as aside:
            _write(aside / PROBE, b"probe")
            clear_leftovers(self.root, now=(aside / PROBE).stat().st_mtime)

    def folder(self, key: str) -> Path:
        """Where the files of a cell lie.

        Raises:
            UsageError: It is no key.
        """
        if not _KEY.fullmatch(key):
            raise UsageError(f"'{key}' is no key of a cell; a key is 64 hexadecimal digits.")
        return self.root / "cells" / key[:2] / key

    def _link_on_the_way(self, folder: Path) -> Path | None:
        """The link inside the store that leads to a cell's folder, None where there is none."""
        return next((path for path in (folder.parents[1], folder.parent) if path.is_symlink()), None)

    def _publish(self, aside: Path, target: Path, key: str) -> None:
        try:
            aside.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or not os.path.lexists(target):
                raise
            if self.meta(key) is None:  # what was there was damaged, and is moved aside now
                if os.path.lexists(target):
                    self._move_aside(target, f"it is {self._left[key].rstrip(',')}" if key in self._left else "no cell")
                aside.rename(target)
        _sync_folder(target.parent)

    def _listed(self, use: Callable[[CellMeta, bytes, bytes], _T]) -> list[_T]:
        found: Iterable[_T | None] = (self._read(key, use, listed=True) for key in self.keys())
        return [one for one in found if one is not None]

    def _read(self, key: str, use: Callable[[CellMeta, bytes, bytes], _T], *, listed: bool = False) -> _T | None:
        """`use` of a cell's files after their check; a damaged cell is moved aside, on the second look.

        Args:
            key: Of the cell.
            use: Of figures, samples and arrays.
            listed: The key is the name of what was found, and not one that was computed: what holds no file of a cell
                is none.
        """
        folder = self.folder(key)
        for last in (False, True):
            try:
                meta = cell_files.read_meta(folder, key)
                return use(meta, cell_files.read_samples(folder, meta), cell_files.read_arrays(folder, meta))
            except FileNotFoundError as error:
                if not folder.exists():
                    return None
                reason = f"{Path(error.filename).name} is missing"
            except (OtherVersionError, UnsealedError) as error:
                self._left[key] = _UNSEALED if isinstance(error, UnsealedError) else _OTHER_VERSION
                return None
            except DamagedError as error:
                reason = str(error)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENXIO) or not folder.exists():
                    raise store_error(error, self.root, "read") from error  # not the cell is at fault
                reason = "a file is in the place of a folder, or the other way round"
            if last and not (listed and not _holds_a_file_of_a_cell(folder)):
                self._move_aside(folder, reason)  # on the first look another process may have been replacing it
        return None

    def _move_aside(self, folder: Path, reason: str) -> None:
        place = self.root / "broken" / f"{folder.name[:16]}.{uuid.uuid4().hex[:8]}"
        try:
            if link := self._link_on_the_way(folder) or (place.parent if place.parent.is_symlink() else None):
                raise OSError(errno.ELOOP, f"'{link}' is a link")
            place.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(place)
        except FileNotFoundError:
            return  # another process moved it
        except OSError as error:
            why = error.strerror or str(error)
            self.notices.append(f"the stored cell {folder} is damaged ({reason}) and cannot be moved aside ({why}).")
            return
        self.notices.append(f"a damaged cell ({reason}) was moved to {place}; it counts as not run.")


def _whole(meta: CellMeta, samples: bytes, arrays: bytes) -> Cell:
    table = cell_files.table(samples)
    return Cell(meta, table, cell_files.tensors(arrays, len(table)))


def _holds_a_file_of_a_cell(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in cell_files.NAMES)


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
