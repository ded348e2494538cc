"""Run a plan on an engine: the same outcomes in the same order as in one process, whatever the workers."""

from collections.abc import Callable, Iterator, Sequence

from bench.engines.base import Engine, Failure, Finished, Fitting, Lost, Watched
from bench.engines.schedule import Schedule
from bench.evaluation.engine import CellDone, CellFailure, CellProgress, FitProgress, Outcome
from bench.evaluation.planned import PlannedCell
from bench.evaluation.store import Store, StoreError


def run_on(
    plan: Sequence[PlannedCell],
    store: Store,
    begin: Callable[[], Engine],
    *,
    progress: CellProgress | None = None,
    fitting: FitProgress | None = None,
) -> Iterator[Outcome]:
    """Yield an outcome for every cell, in the plan's order; what is computed is stored before it is yielded.

    Args:
        plan: Cells, in any order: no result depends on it.
        store: Where cells are found, and where the workers keep them.
        begin: Starts the engine; called where there is something to compute.
        progress: Hears of the cells at hand.
        fitting: Hears of fits that they begin with.

    Raises:
        StoreError: Nothing can be stored; what is stored already is kept.
    """
    metas = {cell.key: meta for cell in plan if (meta := store.meta(cell.key)) is not None}
    needed = {need.key for cell in plan for need in every_need(cell)}
    stored = {key for key in needed - metas.keys() if store.meta(key) is not None} | metas.keys()
    missing = [cell for cell in plan if cell.refused is None and cell.key not in stored]
    schedule: Schedule | None = None
    engine: Engine | None = None
    try:
        for cell in plan:
            if cell.refused is not None:
                yield CellFailure(cell, cell.refused)
                continue
            if cell.key in metas:
                yield CellDone(cell, metas[cell.key], from_store=True)
                continue
            if schedule is None or engine is None:
                store.check_writable()
                engine = begin()
                schedule = Schedule(missing, engine.count, frozenset(stored))
            _until(cell.key, schedule, engine, store, progress or _ignore, fitting or _ignore)
            yield _outcome(cell, schedule, store)
    finally:
        if engine is not None:
            engine.close()


def every_need(cell: PlannedCell) -> Iterator[PlannedCell]:
    """The cells that a cell is made from, and what those are made from."""
    for need in (*cell.needs, *([cell.clean] if cell.clean is not None else [])):
        yield need
        yield from every_need(need)


def _ignore(cell: PlannedCell, *rest: object) -> None:
    """A callback that does nothing."""


def _until(
    key: str, schedule: Schedule, engine: Engine, store: Store, progress: CellProgress, fitting: FitProgress
) -> None:
    """Compute until a cell is settled."""
    while key not in schedule.settled:
        _hand_out(schedule, engine, store, progress)
        if key in schedule.settled:
            return
        at_hand = {worker: cell for cell, worker in schedule.running()}
        for event in engine.wait():
            match event:
                case Watched(worker, share, auroc):
                    progress(at_hand[worker], share, auroc)
                case Fitting(worker, done, total, note):
                    fitting(at_hand[worker], done, total, note)
                case Finished(worker, result):
                    if isinstance(result, Failure) and issubclass(result.kind, StoreError):
                        raise result.error
                    schedule.done(worker, result)
                case Lost(worker, how):
                    schedule.lost(worker, how)


def _hand_out(schedule: Schedule, engine: Engine, store: Store, progress: CellProgress) -> None:
    busy = {worker for _, worker in schedule.running()}
    for worker in range(engine.count):
        if worker in busy:
            continue
        while (unit := schedule.next(worker)) is not None and store.meta(unit.planned.key) is not None:
            schedule.found(worker)  # another command has stored it meanwhile, maybe on another machine
        if unit is not None:
            progress(unit.planned, 0.0, None)
            engine.give(worker, unit)
        elif (unit := schedule.ahead(worker)) is not None:
            engine.give(worker, unit)


def _outcome(cell: PlannedCell, schedule: Schedule, store: Store) -> Outcome:
    settled = schedule.settled[cell.key]
    if isinstance(settled, Failure):
        return CellFailure(cell, settled.error)
    store.bring(settled)
    meta = store.meta(settled)
    if meta is None:
        return CellFailure(
            cell, StoreError(f"{cell.label} was stored and is gone; does something else clear the store?")
        )
    return CellDone(cell, meta, from_store=cell.key in schedule.elsewhere)
