"""Workers on a Ray cluster: on this machine, or on all that share the folder of the cells.

Ray (Moritz et al., 2018) places the workers, counts cores and GPUs, and tells when one is gone.
"""

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from bench.engines.base import Event, Finished, Fitting, Lost, Setup, Unit, Watched
from bench.errors import UsageError

_BETWEEN_WORDS = 1.0
_TO_CONNECT = 5.0


class RayEngine:
    """Actors on a cluster, one thread of arithmetic each; one that dies is replaced.

    Args:
        setup: What the run is about; all machines must find its folders under the same names.
        count: How many actors; None takes one for every core of the cluster, or for the part of a GPU that each takes.
        address: Of the cluster's head, "auto" for one that runs on this machine; None starts one here for this run.
        gpus: The part of a GPU that an actor takes; 0 for none.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, setup: Setup, count: int | None, *, address: str | None = None, gpus: float = 0.0) -> None:
        self._ray = _ray()
        self._started = not self._ray.is_initialized()
        if self._started:
            self._begin(address)
        self._setup = setup
        self._actor = self._ray.remote(num_cpus=1, num_gpus=gpus, max_concurrency=2)(_Actor)
        self.count = count if count is not None else self._places(gpus)
        self._actors = [self._actor.remote(setup, sys.path) for _ in range(self.count)]
        self._units: dict[Any, int] = {}

    def give(self, worker: int, unit: Unit) -> None:
        """Let an idle worker begin with a unit; one that is dead is found by `wait`."""
        self._units[self._actors[worker].do.remote(unit)] = worker

    def wait(self) -> Iterator[Event]:
        """What has happened; blocks until a unit is done, or a second has passed."""
        done, _ = self._ray.wait(list(self._units), num_returns=1, timeout=_BETWEEN_WORDS)
        for reference in done:
            worker = self._units.pop(reference)
            try:
                yield Finished(worker, self._ray.get(reference))
            except self._ray.exceptions.RayActorError as error:
                self._actors[worker] = self._actor.remote(self._setup, sys.path)
                yield Lost(worker, f"({_first_line(error)})")
        if not done:
            yield from self._words()

    def close(self) -> None:
        """Stop all workers, and the cluster if it was started for this run."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()

    def _words(self) -> Iterator[Event]:
        """What workers say of the units at hand."""
        asked = {self._actors[worker].said.remote(): worker for worker in self._units.values()}
        done, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_BETWEEN_WORDS)
        for reference in done:
            try:
                words = self._ray.get(reference)
            except self._ray.exceptions.RayActorError:
                continue  # its unit tells
            match words:
                case (share, auroc):
                    yield Watched(asked[reference], share, auroc)
                case (steps, total, note):
                    yield Fitting(asked[reference], steps, total, note)

    def _begin(self, address: str | None) -> None:
        try:
            _check_reachable(address)
            here = {} if address else {"include_dashboard": False}
            self._ray.init(address=address or "local", log_to_driver=False, **here)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"there is no Ray cluster at '{address or 'local'}' ({_first_line(error)}); start one with `ray start "
                "--head` and name its address, or leave --address out."
            ) from error

    def _places(self, gpus: float) -> int:
        """How many workers the cluster has room for."""
        there = self._ray.cluster_resources()
        places = int(there.get("CPU", 1))
        return max(1, min(places, int(there.get("GPU", 0) / gpus)) if gpus else places)


class _Actor:
    """A worker, and what it said last, which another thread asks for."""

    def __init__(self, setup: Setup, paths: list[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]  # where the modules that cards name are found
        from bench.engines.worker import Worker  # noqa: PLC0415  # in the actor's process, with the paths above

        self._last: tuple[object, ...] = ()
        self._worker = Worker(setup, fitting=self._tell)

    def do(self, unit: Unit) -> object:
        self._last = ()
        return self._worker.do(unit, self._tell)

    def said(self) -> tuple[object, ...]:
        return self._last

    def pid(self) -> int:
        return os.getpid()

    def _tell(self, *words: object) -> None:
        self._last = words


def _check_reachable(address: str | None) -> None:
    """Raise where nothing listens at HOST:PORT, for which Ray itself would wait for minutes.

    Raises:
        OSError: Nothing does.
    """
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TO_CONNECT).close()


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415  # an extra
        import ray.exceptions  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("Ray is not installed; install it with `pip install 'robustood[ray]'`.") from error
    return ray


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
