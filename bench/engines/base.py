"""What an engine is: workers that are given units of work, and tell what came of them. Nothing here imports torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.errors import BenchError, NotApplicableError
from bench.evaluation.planned import Part, PlannedCell


@dataclass(frozen=True)
class Setup:
    """What every worker of a run begins with.

    Attributes:
        workspace: The folder of a user's own cards; None for the built-in ones alone.
        builtin: The folder of the built-in cards.
        store: The folder of the cells.
        data_dir: Where data files lie; None for the default.
        device: Where to compute, e.g. "cpu" or "cuda:1".
        threads: Of torch, in one worker.
        url: Where workers publish and look for cells by themselves, since they may share no folder; None where they do.
        store_id: Of the store at that URL.
    """

    workspace: Path | None
    builtin: Path
    store: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int = 1
    url: str | None = None
    store_id: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a cell is not there, as it travels between processes.

    Attributes:
        kind: The error's class, or the nearest one above it that is the project's own.
        text: Its sentence.
        why: The reason alone, of an error that has one.
    """

    kind: type[BenchError]
    text: str
    why: str = ""

    @classmethod
    def of(cls, error: BenchError) -> "Failure":
        """What can be sent of an error."""
        own = next(kind for kind in type(error).__mro__ if kind.__module__.partition(".")[0] == "bench")
        return cls(own, str(error), getattr(error, "why", ""))

    @property
    def error(self) -> BenchError:
        """The error again."""
        if issubclass(self.kind, NotApplicableError):
            return self.kind(self.text, why=self.why)
        return self.kind(self.text)


@dataclass(frozen=True)
class Unit:
    """What a worker does at a time: a cell, a share of a cell's images, or the rest of a cell whose shares are there.

    Attributes:
        planned: The cell.
        part: The share of its images to attack; None computes and stores the cell.
        shares: All shares, in order and as their worker packed them, where they are attacked already; of a part of the
            images whose budget depends on the audit, all shares of that.
        failed: The cells that failed by their keys, and why: one that needs them does not try them again.
        ahead: Only load the images of the cell, while nothing else can be begun.
    """

    planned: PlannedCell
    part: Part | None = None
    shares: tuple[bytes, ...] = ()
    failed: tuple[tuple[str, Failure], ...] = ()
    ahead: bool = False


@dataclass(frozen=True)
class Watched:
    """A worker's word about the unit at hand: the share done in [0, 1], and the AUROC so far."""

    worker: int
    share: float
    auroc: float | None


@dataclass(frozen=True)
class Fitting:
    """A worker's word about the fit that its unit begins with."""

    worker: int
    done: int
    total: int
    note: str


@dataclass(frozen=True)
class Finished:
    """A unit that came to an end.

    Attributes:
        worker: Who did it.
        result: The key of the cell that is stored now, the share as it was packed, or why there is none; None of a
            unit that only looked ahead.
    """

    worker: int
    result: str | bytes | Failure | None


@dataclass(frozen=True)
class Lost:
    """A worker that died over its unit, which somebody else has to do.

    Attributes:
        worker: Who died; another one may have its number from now on.
        how: What is known of it, to stand after "the worker".
    """

    worker: int
    how: str


Event = Watched | Fitting | Finished | Lost


class Engine(Protocol):
    """Workers, numbered from 0; each has at most one unit at a time."""

    count: int

    def give(self, worker: int, unit: Unit) -> None:
        """Let an idle worker begin with a unit."""

    def wait(self) -> Iterable[Event]:
        """What has happened; blocks until something has. Lost workers are replaced before it returns."""

    def close(self) -> None:
        """Stop all workers, whatever they do."""
