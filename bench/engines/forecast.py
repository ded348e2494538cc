"""What a run will cost, before it begins: counted from the threats' parameters, timed on this machine."""

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.cards.catalog import Catalog
from bench.cards.threat import Goal, Side
from bench.detectors.loading import load_detector
from bench.engines.run import every_need
from bench.errors import BenchError
from bench.evaluation.fits import recall
from bench.evaluation.images import Images
from bench.evaluation.pace import Pace, pace_of
from bench.evaluation.planned import PlannedCell
from bench.evaluation.spending import cheaper_forms
from bench.evaluation.store import Store
from bench.evaluation.workbench import Workbench
from bench.threat_models.costs import Case, Cost

TIMED_IMAGES = 64
"""Test images that are scored to time a detector."""

_SECONDS = 1.0
"""About how long all detectors together are timed."""

_CHECKS = 3
"""Scores of each attacked image beside the attack's own: afresh, of its last iterate, and its class."""

_CLEAN = 2
"""Of each image in a clean cell: its score and its class."""

_HELD = 20
"""Tensors of a piece of the images that an attack holds at most, of 8 MiB each."""

_PIECE = 8 * 2**20


@dataclass(frozen=True)
class CellCost:
    """One cell that has to be computed.

    Attributes:
        planned: The cell.
        gradients: For all its images, where nothing stops early; None where the threat does not say.
        queries: Likewise.
        seconds: On one process; None where that or the detector's pace is not known.
        least: The same where an audit shows that the cheapest form of the attack is enough for the other images.
    """

    planned: PlannedCell
    gradients: int | None
    queries: int | None
    seconds: float | None
    least: float | None = None


@dataclass(frozen=True)
class Forecast:
    """What is known of a run before it begins.

    Attributes:
        cells: The cells asked for, without those that cannot be run.
        stored: How many of them the store holds.
        costs: Of what has to be computed, each cell once: cells asked for, and what they are made from.
        workers: Processes that compute.
        loading: Seconds until a process can begin: its imports, the images, the detectors.
        memory: Bytes of all processes together on this machine, at most.
        unfitted: Detectors that have to be fitted first, which is not counted.
        problems: By a detector's name, why its pace is not known.
    """

    cells: int
    stored: int
    costs: tuple[CellCost, ...]
    workers: int
    loading: float
    memory: int
    unfitted: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def gradients(self) -> int:
        """Of all cells that say."""
        return sum(cost.gradients or 0 for cost in self.costs)

    @property
    def queries(self) -> int:
        """Of all cells that say."""
        return sum(cost.queries or 0 for cost in self.costs)

    @property
    def seconds(self) -> float:
        """At the full budget, by all workers, of all cells whose time is known; 0 where nothing is to be done."""
        return self._together([(cost.planned, cost.seconds) for cost in self.costs])

    @property
    def least(self) -> float:
        """The same where every audit shows that the cheapest form of an attack is enough."""
        return self._together(
            [(cost.planned, cost.seconds if cost.least is None else cost.least) for cost in self.costs]
        )

    def _together(self, each: Sequence[tuple[PlannedCell, float | None]]) -> float:
        known = [(planned, seconds) for planned, seconds in each if seconds is not None]
        if not known:
            return 0.0
        shared = sum(seconds for _, seconds in known) / self.workers
        alone = max((seconds for planned, seconds in known if not planned.can_be_shared), default=0.0)
        return self.loading + max(shared, alone)

    @property
    def longest(self) -> CellCost | None:
        """The cell that takes longest on one process; None where no time is known."""
        known = [cost for cost in self.costs if cost.seconds is not None]
        return max(known, key=lambda cost: cost.seconds or 0.0, default=None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The threats that do not say what they cost."""
        return tuple(dict.fromkeys(cost.planned.threat.name for cost in self.costs if cost.gradients is None))


def forecast(
    planned: Sequence[PlannedCell],
    store: Store,
    catalog: Catalog,
    *,
    device: str,
    data_dir: Path | None,
    workers: int,
    begun: float = 0.0,
) -> Forecast:
    """Count what a run has to compute, and time each detector of it for a moment; nothing is stored.

    Args:
        planned: The cells asked for.
        store: Where cells are found.
        catalog: Where cards, weights and modules are found.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.
        workers: Processes that would compute, one thread each where there are several.
        begun: Seconds that a process needs before it loads images and detectors: for its imports, and the plan.

    Raises:
        DataError: Images are missing.
        BenchError: A threat cannot be made of its card.
    """
    asked = [cell for cell in planned if cell.refused is None]
    stored = set(store.keys())
    todo: dict[str, PlannedCell] = {}
    for cell in asked:
        if cell.key not in stored:
            todo |= {one.key: one for one in (*every_need(cell), cell) if one.key not in stored}
    bench = Workbench(catalog, store, device=device, data_dir=data_dir)
    clock = _Clock(catalog, bench, device, max(1, len({_place(cell) for cell in todo.values()})))
    before, started = torch.get_num_threads(), time.process_time()
    if workers > 1:
        torch.set_num_threads(1)
    try:
        costs = tuple(_cost(cell, bench, clock) for cell in todo.values())
    finally:
        torch.set_num_threads(before)
    preparing = time.process_time() - started - clock.timing
    return Forecast(
        cells=len(asked),
        stored=sum(cell.key in stored for cell in asked),
        costs=costs,
        workers=workers,
        loading=begun + preparing,
        memory=workers * (_resident() + _held(costs, bench)),
        unfitted=tuple(clock.unfitted),
        problems=clock.problems,
    )


def _cost(planned: PlannedCell, bench: Workbench, clock: "_Clock") -> CellCost:
    images = bench.images(planned)
    pace, micro_batch = clock.pace(planned, images), planned.ingredients.micro_batch

    def seconds(count: int, cost: Cost) -> float | None:
        batches = math.ceil(count / micro_batch)
        if pace is None:
            return None
        passes = 2 if planned.ingredients.goal is Goal.ACCEPT else 1  # for the classifier, and for the score
        return passes * batches * (cost.gradients * pace.gradient + cost.queries * pace.query)

    if not planned.attacks:
        every = sum(map(len, images.sets().values()))
        return CellCost(planned, 0, every, seconds(every, Cost(0, _CLEAN)))
    count = attacked(planned, images)
    if planned.threat.members:  # each of them is a cell of its own
        return CellCost(planned, 0, 0, seconds(count, Cost(0, _CHECKS)))
    case = Case(planned.ingredients.side, tuple(planned.track.shape), planned.track.classes, count, len(planned.needs))
    threat = bench.threat(planned)
    cost = threat.cost(case)
    if cost is None:
        return CellCost(planned, None, None, None)
    whole, checks = Cost(cost.gradients, cost.queries + _CHECKS), Cost(0, _CHECKS)
    spent, least = seconds(count, whole), None
    audited = _audited(planned, images)
    if audited and spent is not None:
        form = cheaper_forms(planned.params)[0]
        cheap = type(threat)(threat.params.model_copy(update=form)).cost(case) or checks
        parts = [seconds(audited, whole), seconds(count, Cost(cheap.gradients, cheap.queries + _CHECKS))]
        least = min(spent, sum(part for part in parts if part is not None))
    return CellCost(planned, round(count * cost.gradients), round(count * cost.queries), spent, least)


def _audited(planned: PlannedCell, images: Images) -> int:
    """How many images of a cell get the whole budget at least; 0 where all of them do."""
    evidence = planned.ingredients.evidence
    test = {"test": len(images.test)}
    ood = {name: len(chosen) for name, chosen in images.ood.items()}
    sets = ood if planned.ingredients.side is Side.EVADE else test
    if evidence is None or not evidence.spares(sets):
        return 0
    return sum(evidence.audited(size, rounds=1) for size in sets.values())


def attacked(planned: PlannedCell, images: Images) -> int:
    """How many images a cell attacks."""
    test, ood = len(images.test), sum(map(len, images.ood.values()))
    return {Side.EVADE: ood, Side.BOTH: test + ood}.get(planned.ingredients.side, test)


def _place(planned: PlannedCell) -> tuple[str, str, int]:
    return planned.ingredients.detector_hash, planned.track.name, planned.ingredients.micro_batch


class _Clock:
    """Times each detector once.

    Args:
        catalog: Where cards and weights are found.
        bench: Whose tracks are used.
        device: Where to compute.
        count: How many detectors share the time.

    Attributes:
        timing: Seconds of processor time that the timing itself took.
        unfitted: Names of those that have to be fitted first.
        problems: By name, why a pace is not known.
    """

    def __init__(self, catalog: Catalog, bench: Workbench, device: str, count: int) -> None:
        self._catalog, self._bench, self._device = catalog, bench, device
        self._seconds = _SECONDS / count
        self._known: dict[tuple[str, str, int], Pace | None] = {}
        self.timing = 0.0
        self.unfitted: list[str] = []
        self.problems: dict[str, str] = {}

    def pace(self, planned: PlannedCell, images: Images) -> Pace | None:
        """Of a cell's detector at its batch shape; None where it is not known."""
        place = _place(planned)
        if place not in self._known:
            try:
                self._known[place] = self._timed(planned, images)
            except BenchError as error:
                self.problems[planned.detector.name] = str(error)
                self._known[place] = None
            except Exception as error:  # a method's own mistake, or what an unfitted score stumbles over
                self.problems[planned.detector.name] = f"{type(error).__name__}: {str(error)[:200]}"
                self._known[place] = None
        return self._known[place]

    def _timed(self, planned: PlannedCell, images: Images) -> Pace:
        detector = load_detector(planned.detector, planned.track, self._catalog, self._device)
        if planned.detector.fit_when_loaded and not recall(
            detector, planned.detector, self._bench.track(planned), self._catalog
        ):
            self.unfitted.append(planned.detector.name)
        chosen, started = images.test.limited(TIMED_IMAGES).pixels(), time.process_time()
        try:
            return pace_of(detector, chosen, planned.ingredients.micro_batch, self._seconds)
        finally:
            self.timing += time.process_time() - started


def _resident() -> int:
    """Bytes that this process has held at most, which has done what a worker begins with."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _held(costs: Sequence[CellCost], bench: Workbench) -> int:
    """Bytes of an attack's own tensors."""
    sizes = [
        4 * math.prod(cost.planned.track.shape) * attacked(cost.planned, bench.images(cost.planned))
        for cost in costs
        if cost.planned.attacks
    ]
    return _HELD * min(_PIECE, max(sizes, default=0))
