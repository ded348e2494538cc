"""Cells that a command needs: computed where the store does not hold them, with a word about how far it is."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.cli import devices
from bench.cli.common import console, notice
from bench.cli.progress import RunProgress
from bench.cli.request import EngineName, Hands
from bench.cli.run_report import RunReport
from bench.engines.base import Engine, Setup
from bench.engines.local import LocalEngine, default_workers, warm_up
from bench.engines.on_ray import RayEngine
from bench.engines.run import every_need, run_on
from bench.errors import UsageError
from bench.evaluation.engine import CellDone, CellFailure, CellProgress, FitProgress, Outcome, run_plan
from bench.evaluation.planned import PlannedCell
from bench.evaluation.store import Store
from bench.lazy import lazily

with lazily():
    from bench.evaluation import remote_store

WORKERS = "ROBUSTOOD_WORKERS"
"""Environment variable: how many processes compute where the command line does not say."""

PATIENCE = 60.0
"""Seconds after which it is said that processes do not start."""


def compute_cells(
    cards: Catalog,
    store: Store,
    planned: list[PlannedCell],
    *,
    device: str,
    data_dir: Path | None,
    quiet: bool = False,
    hands: Hands | None = None,
) -> list[CellDone | CellFailure]:
    """Compute what the store does not hold, and say how far it is.

    Args:
        cards: Where cards are found.
        store: Where cells are found and kept.
        planned: The cells.
        device: By its name on the command line; it is looked for only where a cell has to be computed.
        data_dir: Where data files lie; None for the default.
        quiet: Say nothing meanwhile.
        hands: Who computes; without a number as many processes as there are cores, and one on a device that is no CPU.

    Raises:
        UsageError: There is no such device, or nothing can be stored.
    """
    stored, hands = set(store.keys()), hands or Hands()
    missing = [cell for cell in planned if cell.key not in stored]
    if not missing:  # no torch is needed
        return list(_outcomes(cards, store, planned, data_dir, hands, ("cpu", 1)))
    chosen = chosen_hands(hands, device, soon=True)
    outcomes = []
    with (
        RunProgress(console(stderr=True), missing, quiet=quiet) as progress,
        RunReport(store.root, _with_needs(missing, stored), chosen[1]) as report,
    ):

        def watch(cell: PlannedCell, share: float, auroc: float | None) -> None:
            progress.watch(cell, share, auroc)
            report.watch(cell, share)

        for outcome in _outcomes(cards, store, planned, data_dir, hands, chosen, watch, progress.fitting):
            progress.finished(outcome)
            report.finished(outcome)
            outcomes.append(outcome)
    return outcomes


def _with_needs(missing: list[PlannedCell], stored: set[str]) -> list[PlannedCell]:
    """The cells that are to be computed, and those that they are made from, each once."""
    found = {one.key: one for cell in missing if cell.refused is None for one in (*every_need(cell), cell)}
    return [cell for key, cell in found.items() if key not in stored and cell.refused is None]


def _outcomes(
    cards: Catalog,
    store: Store,
    planned: list[PlannedCell],
    data_dir: Path | None,
    hands: Hands,
    chosen: tuple[str, int],
    watch: CellProgress | None = None,
    fitting: FitProgress | None = None,
) -> Iterator[Outcome]:
    """What comes of the cells, on one process or several; `chosen` is the device and how many."""
    device, count = chosen
    if count == 1 and hands.engine is EngineName.LOCAL:
        yield from run_plan(planned, store, cards, device=device, data_dir=data_dir, progress=watch, fitting=fitting)
        return
    folder = data_dir.absolute() if data_dir is not None else None
    setup = Setup(cards.workspace, cards.builtin, store.root.absolute(), folder, device)
    if hands.engine is EngineName.RAY and isinstance(store, remote_store.MirroredStore):
        setup = replace(setup, url=store.objects.url, store_id=store.id)  # of machines that share no folder

    def begin() -> Engine:
        if hands.engine is EngineName.LOCAL:
            with _said_after(PATIENCE):
                return LocalEngine(setup, count)
        gpus = hands.gpus if hands.gpus is not None else float(device.startswith("cuda"))
        return RayEngine(setup, hands.workers, address=hands.address, gpus=gpus)

    yield from run_on(planned, store, begin, progress=watch, fitting=fitting)


@contextmanager
def _said_after(seconds: float) -> Iterator[None]:
    """Say that processes do not start when so much time has passed: what starts them may be stopped, or swapped out."""
    sentence = (
        f"the processes that compute have not started for {seconds:.0f} seconds; is one of this command's processes "
        "stopped, or memory short? --workers 1 starts none."
    )
    timer = threading.Timer(seconds, notice, [sentence])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def chosen_hands(hands: Hands, device: str, *, soon: bool = False) -> tuple[str, int]:
    """The device, and how many processes compute.

    Args:
        hands: As the command line says.
        device: By its name there.
        soon: Whether they are needed soon: what starts them then begins while this process imports torch.

    Raises:
        UsageError: There is no such device.
    """
    asked = hands.workers if hands.workers is not None else _from_environment()
    if asked is None and device in ("auto", "cpu"):
        asked = default_workers()
    if soon and asked is not None and asked > 1 and hands.engine is EngineName.LOCAL:
        warm_up()
    chosen = "cpu"
    if hands.engine is EngineName.LOCAL or device != "auto":  # machines of a cluster may have what this one lacks
        chosen = devices.resolve_device(device) if hands.engine is EngineName.LOCAL else device
    return chosen, asked if asked is not None and (hands.workers is not None or chosen == "cpu") else 1


def _from_environment() -> int | None:
    given = os.environ.get(WORKERS, "")
    if not given:
        return None
    if not given.isdecimal() or not 1 <= int(given) <= 1024:
        raise UsageError(f"{WORKERS} is '{given[:40]}'; allowed is a number of processes, at least 1.")
    return int(given)
