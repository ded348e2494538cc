"""Run a plan: what the store holds is not computed again, and a cell that fails stops no other."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.allocator import hold_freed_memory
from bench.errors import BenchError, DataError, UsageError, mishap
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import CellMeta
from bench.evaluation.store import CellStore, StoreError
from bench.lazy import lazily

with lazily():
    from bench.evaluation import workbench

if TYPE_CHECKING:  # a run that is served from the store imports no torch
    from bench.cards.catalog import Catalog
    from bench.evaluation.workbench import Given, Workbench

CellProgress = Callable[[PlannedCell, float, float | None], None]
"""Called with (cell, share done in [0, 1], AUROC so far or None); the first call for a cell has share 0."""

FitProgress = Callable[[PlannedCell, int, int, str], None]
"""Called while the detector of a cell is fitted, with (cell, steps done, steps in all, what they are)."""


@dataclass(frozen=True)
class CellDone:
    """A cell that is in the store now.

    Attributes:
        planned: The cell as it was asked for.
        meta: Its figures; the store's `get` has the samples.
        from_store: It was there before this run.
    """

    planned: PlannedCell
    meta: CellMeta
    from_store: bool


@dataclass(frozen=True)
class CellFailure:
    """A cell that could not be computed.

    Attributes:
        planned: The cell as it was asked for.
        error: Why not; its text is one sentence.
    """

    planned: PlannedCell
    error: BenchError

    @property
    def sentence(self) -> str:
        """Why not, with the cell's name before it."""
        text = str(self.error)
        return text if text.startswith(self.planned.label) else f"{self.planned.label}: {text}"

    @property
    def usage(self) -> bool:
        """Whether the request itself was wrong (missing data or weights, a card that cannot be used)."""
        return isinstance(self.error, UsageError)


Outcome = CellDone | CellFailure


def run_plan(
    plan: Sequence[PlannedCell],
    store: CellStore,
    catalog: "Catalog",
    *,
    device: str = "cpu",
    data_dir: Path | None = None,
    progress: CellProgress | None = None,
    fitting: FitProgress | None = None,
    given: "Given | None" = None,
) -> Iterator[Outcome]:
    """Yield an outcome for every cell, in the plan's order; what is computed is stored before it is yielded.

    Args:
        plan: Cells, in any order: no result depends on it.
        store: Where cells are found and kept.
        catalog: Where cards, weights and modules are found.
        device: Where to compute, e.g. "cpu" or "cuda".
        data_dir: Where data files lie; None for the default.
        progress: Hears of the cell at hand.
        fitting: Hears of a fit that the cell at hand begins with; what is in the cache is not fitted.
        given: Objects that take the place of what the catalog would load.

    The images of every cell that has to be computed are loaded before the first one is: what is missing is said at
    once. Cells of a track that lacks images fail; where no other is left to compute, nothing is yielded.

    Raises:
        StoreError: Nothing can be stored; what is stored already is kept.
        DataError: Images are missing, and without them nothing can be computed.
    """
    bench: Workbench | None = None
    lacking: dict[str, DataError] = {}
    for number, planned in enumerate(plan):
        if planned.refused is not None:
            yield CellFailure(planned, planned.refused)
            continue
        if (meta := store.meta(planned.key)) is not None:
            yield CellDone(planned, meta, from_store=True)
            continue
        if bench is None:
            store.check_writable()
            bench = _workbench(store, catalog, device, data_dir, given, fitting)
            lacking = _lacking(bench, [p for p in plan[number:] if p.refused is None and store.meta(p.key) is None])
        if planned.key in lacking:
            yield CellFailure(planned, lacking[planned.key])
        else:
            yield _compute(bench, planned, progress or _ignore)


def _lacking(bench: "Workbench", missing: Sequence[PlannedCell]) -> dict[str, DataError]:
    """Which of these cells lack images, by their keys.

    Raises:
        DataError: All of them do.
    """
    lacking: dict[str, DataError] = {}
    for planned in missing:
        try:
            bench.load_images(planned)
        except DataError as error:
            lacking[planned.key] = error
    if missing and len(lacking) == len(missing):  # none is missing where another command has just stored them
        raise DataError(" ".join(dict.fromkeys(map(str, lacking.values()))))
    return lacking


def _ignore(planned: PlannedCell, share: float, auroc: float | None) -> None:
    """A progress callback that does nothing."""


def _workbench(
    store: CellStore,
    catalog: "Catalog",
    device: str,
    data_dir: Path | None,
    given: "Given | None",
    fitting: FitProgress | None,
) -> "Workbench":
    # Threads that spin while they wait make every operation twenty times slower where others use the same cores; what
    # torch's OpenMP reads when it is loaded cannot be set later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    hold_freed_memory()

    return workbench.Workbench(catalog, store, device=device, data_dir=data_dir, given=given, fitting=fitting)


def _compute(bench: "Workbench", planned: PlannedCell, progress: CellProgress) -> Outcome:
    progress(planned, 0.0, None)
    try:
        cell = bench.compute(planned, lambda share, auroc: progress(planned, share, auroc))
    except StoreError:
        raise
    except BenchError as error:
        return CellFailure(planned, error)
    except (Exception, SystemExit) as error:  # a method's own mistake, or its own exit: the other cells go on
        if os.environ.get("BENCH_DEBUG") and not isinstance(error, MemoryError):
            raise
        return CellFailure(planned, mishap(error))
    return CellDone(planned, cell.meta, from_store=False)
