"""What a worker does with a unit, wherever it runs."""

import os
import pickle
import traceback
from collections.abc import Callable
from contextlib import suppress

import torch

from bench.allocator import hold_freed_memory
from bench.cards.catalog import Catalog
from bench.engines.base import Failure, Setup, Unit
from bench.errors import BenchError, mishap
from bench.evaluation.remote_store import worker_store
from bench.evaluation.workbench import Workbench


class Worker:
    """A workbench of its own, on the store that all workers share.

    Args:
        setup: What the run is about.
        fitting: Hears of fits, as (steps done, steps in all, what they are).
    """

    def __init__(self, setup: Setup, fitting: Callable[[int, int, str], None]) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        torch.set_num_threads(setup.threads)
        hold_freed_memory()
        catalog = Catalog(setup.workspace, builtin=setup.builtin)
        self._bench = Workbench(
            catalog,
            worker_store(setup.store, setup.url, setup.store_id),
            device=setup.device,
            data_dir=setup.data_dir,
            fitting=lambda cell, done, total, note: fitting(done, total, note),
        )

    def do(self, unit: Unit, watch: Callable[[float, float | None], None]) -> str | bytes | Failure | None:
        """Compute a unit.

        Args:
            unit: What to compute.
            watch: Hears of the progress.

        Returns:
            The key under which the cell is stored, or the share, packed, or why there is none; None where it only
            looks ahead, whose trouble the cell itself has again.
        """
        if unit.ahead:
            with suppress(Exception, SystemExit):
                self._bench.load_images(unit.planned)
            return None
        self._bench.failed |= {key: failure.error for key, failure in unit.failed}
        try:
            shares = tuple(map(pickle.loads, unit.shares))  # packed by another worker of this run
            if unit.part is not None:
                return pickle.dumps(self._bench.share(unit.planned, unit.part, watch, shares))
            return self._bench.compute(unit.planned, watch, shares).meta.key
        except BenchError as error:
            return Failure.of(error)
        except (Exception, SystemExit) as error:  # a method's own mistake, or its own exit: the other cells go on
            if os.environ.get("BENCH_DEBUG") and not isinstance(error, MemoryError):
                traceback.print_exc()
            return Failure.of(mishap(error))
