"""Keeps the record of a run up to date while it goes on, for `bench status` in another shell."""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.cli.progress import expected_cost
from bench.evaluation.engine import CellDone, Outcome
from bench.evaluation.planned import PlannedCell
from bench.evaluation.run_records import BEAT_SECONDS, CellRecord, Place, RunRecord, State, clear_old_runs

_BETWEEN_WRITES = 1.0
_WRITING_SHARE = 20
"""Of the time, writing takes at most one part in so many, however large the run is."""


class RunReport:
    """Writes what it hears from a thread of its own; use it as a context manager.

    A record that cannot be written is left out: it is never why a run fails.

    Args:
        root: The store's folder.
        cells: The cells to compute, with those that they are made from.
        workers: Processes that compute.
    """

    def __init__(self, root: Path, cells: Iterable[PlannedCell], workers: int) -> None:
        self._root = root
        self._cells = {
            cell.key: CellRecord(key=cell.key, label=cell.label[:1000], cost=expected_cost(cell)) for cell in cells
        }
        self._record = RunRecord.new(list(self._cells.values()), workers)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._changed = True
        self._place: Place | None = None
        self._thread = threading.Thread(target=self._keep_writing, name="run-report", daemon=True)

    def __enter__(self) -> Self:
        if self._cells:
            with suppress(OSError):
                self._root.mkdir(parents=True, exist_ok=True)
                clear_old_runs(self._root)
                self._place = Place(self._root)
                self._write()
                self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._place is None:
            return
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._record.ended = time.time()
        self._write()
        self._place.close()

    def watch(self, cell: PlannedCell, share: float) -> None:
        """Hear how far a cell is."""
        self._set(cell.key, State.RUNNING, share=max(0.0, min(1.0, share)))

    def finished(self, outcome: Outcome) -> None:
        """Hear of a cell that ended."""
        if isinstance(outcome, CellDone):
            self._set(outcome.planned.key, State.DONE)
        else:
            self._set(outcome.planned.key, State.FAILED, error=outcome.sentence[:1000])

    def _set(self, key: str, state: State, *, share: float = 0.0, error: str | None = None) -> None:
        cell = self._cells.get(key)
        if cell is None or (cell.state is state is State.RUNNING and share <= cell.share):
            return
        with self._lock:
            cell.state, cell.share, cell.error = state, share, error
            self._changed = True

    def _keep_writing(self) -> None:
        pause, last = _BETWEEN_WRITES, time.monotonic()
        while not self._over.wait(pause):
            if self._changed or time.monotonic() - last >= BEAT_SECONDS:
                last = time.monotonic()
                self._write()
                pause = max(_BETWEEN_WRITES, _WRITING_SHARE * (time.monotonic() - last))

    def _write(self) -> None:
        assert self._place is not None
        with self._lock:
            self._record.written = time.time()
            self._changed = False
            found = self._record.model_copy(deep=True)
        with suppress(OSError):
            self._place.write(found)
