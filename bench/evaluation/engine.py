"""Run a plan: what the store holds is not computed again, and a cell that fails stops no other."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.allocator import hold_freed_memory
from bench.errors import BenchError, CellError, UsageError
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import CellMeta
from bench.evaluation.store import CellStore, StoreError

if TYPE_CHECKING:  # a run that is served from the store imports no torch
    from bench.catalog import Catalog
    from bench.evaluation.workbench import Given, Workbench

CellProgress = Callable[[PlannedCell, float, float | None], None]
"""Called with (cell, share done in [0, 1], AUROC so far or None); the first call for a cell has share 0."""


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
        given: Objects that take the place of what the catalog would load.

    Raises:
        StoreError: Nothing can be stored; what is stored already is kept.
    """
    bench: Workbench | None = None
    for planned in plan:
        if (meta := store.meta(planned.key)) is not None:
            yield CellDone(planned, meta, from_store=True)
            continue
        if bench is None:
            store.check_writable()
            bench = _workbench(store, catalog, device, data_dir, given)
        yield _compute(bench, planned, progress or _ignore)


def _ignore(planned: PlannedCell, share: float, auroc: float | None) -> None:
    """A progress callback that does nothing."""


def _workbench(
    store: CellStore, catalog: "Catalog", device: str, data_dir: Path | None, given: "Given | None"
) -> "Workbench":
    # Threads that spin while they wait make every operation twenty times slower where others use the same cores; what
    # torch's OpenMP reads when it is loaded cannot be set later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    hold_freed_memory()
    from bench.evaluation.workbench import Workbench

    return Workbench(catalog, store, device=device, data_dir=data_dir, given=given)


def _compute(bench: "Workbench", planned: PlannedCell, progress: CellProgress) -> Outcome:
    progress(planned, 0.0, None)
    try:
        cell = bench.compute(planned, lambda share, auroc: progress(planned, share, auroc))
    except StoreError:
        raise
    except BenchError as error:
        return CellFailure(planned, error)
    except MemoryError:
        return CellFailure(planned, CellError("the memory is used up; use a smaller --limit or another --device."))
    except (Exception, SystemExit) as error:  # a method's own mistake, or its own exit: the other cells go on
        if os.environ.get("BENCH_DEBUG"):
            raise
        text = " ".join(str(error).split())[:300]
        sentence = f"{type(error).__name__} in the detector or the threat ({text}); set BENCH_DEBUG=1 to see where."
        failure = CellError(sentence)
        failure.__cause__ = error
        return CellFailure(planned, failure)
    return CellDone(planned, cell.meta, from_store=False)
