"""Several processes on this machine, one thread of arithmetic each."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.engines.base import Event, Finished, Fitting, Lost, Setup, Unit, Watched
from bench.lazy import lazily

with lazily():
    from multiprocessing import forkserver

    from bench.engines import worker

_BETWEEN_WORDS = 0.2
_MEMORY_OF_A_WORKER = 1.5 * 2**30


@dataclass
class _Process:
    process: BaseProcess
    pipe: Connection


class LocalEngine:
    """Processes that are started at once, and again where one dies.

    Args:
        setup: What the run is about.
        count: How many.
    """

    def __init__(self, setup: Setup, count: int) -> None:
        self.count = count
        self._setup = setup
        self._context: Any = _context()
        warm_up()
        self._workers = [self._start(setup) for _ in range(count)]

    def give(self, worker: int, unit: Unit) -> None:
        """Let an idle worker begin with a unit; one that is dead is found by `wait`."""
        try:
            self._workers[worker].pipe.send(unit)
        except OSError:
            return

    def wait(self) -> Iterator[Event]:
        """What has happened; blocks until something has."""
        places = {one.pipe: number for number, one in enumerate(self._workers)}
        for ready in wait(list(places)):
            assert isinstance(ready, Connection)
            number = places[ready]
            try:
                event = ready.recv()
            except (EOFError, OSError):
                yield Lost(number, self._replace(number))
                continue
            yield _event(number, event)

    def close(self) -> None:
        """Stop all of them, whatever they do."""
        for one in self._workers:
            one.pipe.close()
            one.process.terminate()
        for one in self._workers:
            one.process.join(5)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()

    def _start(self, setup: Setup) -> _Process:
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, setup))
        process.start()
        theirs.close()
        return _Process(process, mine)

    def _replace(self, number: int) -> str:
        """Start another worker in the place of a dead one; says how that one ended."""
        dead = self._workers[number]
        dead.pipe.close()
        dead.process.join(5)
        code = dead.process.exitcode
        self._workers[number] = self._start(self._setup)
        if code is not None and code < 0:
            return f"by {signal.Signals(-code).name}"
        return f"with exit code {code}"


def warm_up() -> None:
    """Let the processes' server import torch, while this one does something else.

    An interruption of the command reaches the server too, which would print a traceback of what it was importing.
    """
    if _context().get_start_method() != "forkserver":
        return
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if main:  # nobody else may set it; what is ignored here is ignored there
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


def usable_cores() -> int:
    """Cores that this process may run on, as its container allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def default_workers() -> int:
    """One a core, and no more than the memory that is available has room for."""
    room = available_memory()
    return usable_cores() if room is None else max(1, min(usable_cores(), int(room / _MEMORY_OF_A_WORKER)))


def available_memory() -> int | None:
    """Bytes that new processes may take on Linux, as their container allows; None where nothing tells."""
    found = []
    with suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, ValueError):
        limit, used = (Path(f"/sys/fs/cgroup/memory.{what}").read_text().strip() for what in ("max", "current"))
        if limit != "max":
            found.append(int(limit) - int(used))
    return min(found, default=None)


def _context() -> Any:
    """Processes that begin without what this one holds; where it can be, from a server that has imported torch."""
    if "forkserver" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.engines.worker"])
    return context


def _event(worker: int, said: Any) -> Event:
    """What a worker said: (share, AUROC), (steps done, steps in all, what they are), or the outcome of its unit."""
    match said:
        case (share, auroc):
            return Watched(worker, share, auroc)
        case (done, total, note):
            return Fitting(worker, done, total, note)
        case _:
            return Finished(worker, said)


def _serve(pipe: Connection, setup: Setup) -> None:
    """Do units until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run itself stops its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    told = 0.0

    def tell(*words: object) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _BETWEEN_WORDS:
            told = now
            pipe.send(words)

    own = worker.Worker(setup, fitting=tell)
    while True:
        try:
            unit = pipe.recv()
            result = own.do(unit, tell)
            pipe.send(result)
        except (EOFError, OSError):
            return  # the run is over
