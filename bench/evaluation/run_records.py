"""What a run leaves in its store for `bench status`: which cells are done, at hand and to come, and whether it lives.

    .robustood-runs/TOKEN.json    the run, replaced as a whole every few seconds
    .robustood-runs/TOKEN.lock    locked as long as the run's process lives; gone after a run that ended by itself

Where locks of another machine are not seen, a run lives as long as its file is not older than `SILENT_SECONDS`. What
is read here may come from anybody: sizes are bounded, links are not followed, and what is no record is passed over.
"""

import json
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.evaluation.locks import UNKNOWN, hold, kernel
from bench.files import put_file, read_file

FOLDER = ".robustood-runs"

BEAT_SECONDS = 10.0
"""A run writes its file anew at least so often."""

SILENT_SECONDS = 90.0
"""A run of another machine that has written nothing for so long counts as dead."""

KEPT = 20
"""Records of runs that are over are kept, the newest ones."""

_NAME = re.compile(r"[0-9a-f]{32}\.json")
_MAX_BYTES = 2**26
_MAX_FILES = 1000
_MAX_LOCK_BYTES = 1024

Text = Annotated[str, Field(max_length=1000)]
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class State(StrEnum):
    """Of a cell on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class CellRecord(BaseModel):
    """One cell of a run.

    Attributes:
        key: Where it is stored when it is done.
        label: What a person calls it.
        state: How far it is.
        cost: About how much work it is, in any unit.
        share: Of it that is done, where it is running.
        error: Why it failed.
    """

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    label: Text
    state: State = State.WAITING
    cost: Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)] = 1.0
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    error: Text | None = None


class RunRecord(BaseModel):
    """One run.

    Attributes:
        host: The machine's name.
        process: Its number there.
        workers: How many processes compute.
        started: When, in seconds since 1970.
        written: When the record was written last.
        ended: When it ended by itself; None where it has not.
        cells: What it has to compute.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    host: Text
    process: int = Field(ge=0, lt=2**63)
    workers: int = Field(ge=1, le=100_000)
    started: Seconds
    written: Seconds
    ended: Seconds | None = None
    cells: Annotated[list[CellRecord], Field(max_length=200_000)]

    @classmethod
    def new(cls, cells: list[CellRecord], workers: int) -> "RunRecord":
        """Of the run of this process, that begins now."""
        now = time.time()
        return cls(
            host=socket.gethostname()[:1000],
            process=os.getpid(),
            workers=workers,
            started=now,
            written=now,
            cells=cells,
        )


@dataclass(frozen=True)
class Found:
    """A run that has left a record.

    Attributes:
        record: What it says.
        alive: Whether its process is still there.
    """

    record: RunRecord
    alive: bool


class Place:
    """Where one run keeps its record; the lock is held until `close`.

    Args:
        root: The store's folder, which is there.

    Raises:
        OSError: It cannot be written, or a link is in the way.
    """

    def __init__(self, root: Path) -> None:
        folder = root / FOLDER
        folder.mkdir(exist_ok=True)
        _refuse_link(folder)
        self._file = folder / f"{uuid.uuid4().hex}.json"
        self._lock = self._file.with_suffix(".lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._lock, flags, 0o666)
        held = hold(self._descriptor, wait=True)
        os.write(self._descriptor, (kernel(self._descriptor) if held else UNKNOWN).encode())

    def write(self, record: RunRecord) -> None:
        """Replace the record.

        Raises:
            OSError: It cannot be written.
        """
        put_file(self._file, record.model_dump_json(exclude_defaults=True).encode(), through_links=False)

    def close(self) -> None:
        """Let go of the lock: the run is over."""
        with suppress(OSError):
            self._lock.unlink()
        os.close(self._descriptor)


def found_runs(root: Path) -> list[Found]:
    """The runs that have left a record, the newest first; what is none is passed over.

    Args:
        root: The store's folder.
    """
    runs = []
    for file in _files(root):
        with suppress(OSError, ValueError, ValidationError, RecursionError):
            _refuse_link(file)
            record = read_record(read_file(file, _MAX_BYTES))
            runs.append(Found(record, record.ended is None and _lives(file)))
    return sorted(runs, key=lambda run: run.record.started, reverse=True)


def read_record(content: bytes) -> RunRecord:
    """A record from its file.

    Raises:
        ValueError: It is none.
    """
    return RunRecord.model_validate(json.loads(content))


def clear_old_runs(root: Path) -> None:
    """Remove the records of runs that are over, but for the newest ones."""
    over = [file for file in _files(root) if not _lives(file)]
    times = {file: _written(file) for file in over}
    for file in sorted(over, key=lambda file: times[file], reverse=True)[KEPT:]:
        for path in (file, file.with_suffix(".lock")):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _files(root: Path) -> Sequence[Path]:
    """Files that may be records."""
    folder = root / FOLDER
    found: list[Path] = []
    with suppress(OSError):
        _refuse_link(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and len(found) < _MAX_FILES:
                    found.append(folder / entry.name)
    return found


def _lives(file: Path) -> bool:
    """Whether the process that writes a record is there: by its lock where that can be seen, else by its last word."""
    try:
        descriptor = os.open(file.with_suffix(".lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        where = os.read(descriptor, _MAX_LOCK_BYTES).decode("ascii", "replace")
        if where == kernel(descriptor) != UNKNOWN:
            held = hold(descriptor, wait=False, shared=True)
            if held is not False:
                return held is None
        return time.time() - _written(file) < SILENT_SECONDS
    finally:
        os.close(descriptor)


def _written(file: Path) -> float:
    try:
        return file.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise OSError(f"{path} is a link")


def settled(cells: Iterable[CellRecord], stored: Iterable[str]) -> list[CellRecord]:
    """The cells as they stand now: one that the store holds is done, whoever computed it."""
    there = set(stored)
    return [cell.model_copy(update={"state": State.DONE}) if cell.key in there else cell for cell in cells]


def share_done(cells: Sequence[CellRecord]) -> float:
    """The part of the work that is done, in [0, 1]."""

    def done(cell: CellRecord) -> float:
        return {State.RUNNING: cell.share, State.WAITING: 0.0}.get(cell.state, 1.0) * cell.cost

    whole = sum(cell.cost for cell in cells)
    return sum(map(done, cells)) / whole if whole else 1.0
