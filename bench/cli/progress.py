"""What a run says while it goes on: a live bar on a terminal, a line a cell elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cli.common import say
from bench.evaluation.engine import CellDone, Outcome
from bench.evaluation.plan import PlannedCell
from bench.report import numbers

SILENCE = 10.0
"""Seconds without a line after which a fit has one where there is no terminal."""


class RunProgress:
    """Follows the cells that have to be computed; use it as a context manager.

    Args:
        out: The console of the bar; where it is no terminal there are lines instead.
        cells: The cells to compute, those in the store left out.
        quiet: Say nothing.
    """

    def __init__(self, out: Console, cells: list[PlannedCell], *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._count = len(cells)
        self._done = 0
        self._spent = 0.0
        self._said = time.monotonic()
        self._shares: dict[str, float] = {}
        self._bar: Progress | None = None
        if cells and out.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[cells]} cells", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figure]}", markup=False),
                console=out,
                transient=True,
            )
            total = sum(map(expected_cost, cells))
            self._task = self._bar.add_task("starting", total=total, cells=f"0/{self._count}", figure="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def watch(self, cell: PlannedCell, share: float, auroc: float | None) -> None:
        """Hear how far the cell at hand is; the engine's `progress`."""
        if self._bar is None:
            return
        figure = "" if auroc is None else f"AUROC {auroc:.3f}"
        self._shares[cell.key] = max(share * expected_cost(cell), self._shares.get(cell.key, 0.0))
        completed = self._spent + sum(self._shares.values())
        others = len(self._shares) - 1
        label = f"{cell.label}, and {others} more" if others else cell.label
        self._bar.update(self._task, description=label, completed=completed, figure=figure)

    def fitting(self, cell: PlannedCell, done: int, total: int, note: str) -> None:
        """Hear how far the fit is that the cell at hand begins with; the engine's `fitting`."""
        label, counted = f"fit of {cell.detector.name} on {cell.track.name}", f"{done:,} of {total:,}"
        if self._bar is not None:
            self._bar.update(self._task, description=label, figure=f"{note}: {counted}")
        elif not self._quiet and (now := time.monotonic()) - self._said >= SILENCE:
            self._said = now
            say(f"{label}: {note}, {counted}")

    def finished(self, outcome: Outcome) -> None:
        """Hear of a cell that ended; those from the store are not spoken of."""
        if isinstance(outcome, CellDone) and outcome.from_store:
            return
        self._done += 1
        self._said = time.monotonic()
        self._shares.pop(outcome.planned.key, None)
        self._spent += expected_cost(outcome.planned)
        cells = f"{self._done}/{self._count}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._spent, cells=cells, figure="")
        elif not self._quiet:
            say(f"[{cells}] {outcome.planned.label}: {_result(outcome)}")


def expected_cost(cell: PlannedCell) -> float:
    """About how many scores of an image a cell takes, so that the time left counts long attacks as such."""

    def number(name: str, default: float) -> float:
        value = cell.params.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    return 1.0 + number("steps", 1.0) * number("restarts", 1.0) + number("points", 0.0)


def _result(outcome: Outcome) -> str:
    if not isinstance(outcome, CellDone):
        return "failed"
    meta = outcome.meta
    spent = f"{numbers.seconds(meta.seconds)} s"
    if meta.mean is None:
        return f"done, {spent}"
    if outcome.planned.clean is None:
        return f"AUROC {meta.mean.clean_auroc:.3f}, {spent}"
    return f"AUROC {meta.mean.clean_auroc:.3f} -> {meta.mean.auroc:.3f}, {spent}"
