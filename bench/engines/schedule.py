"""Which unit comes next: clean cells before attacks on them, a detector where it is loaded, the last cells cut."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.engines.base import Failure, Unit
from bench.errors import CellError
from bench.evaluation.planned import Part, PlannedCell, Wave
from bench.evaluation.spending import ROUNDS

_TRIES = 3
"""A unit over which so many workers died is not tried again."""


@dataclass
class _Node:
    """A cell on its way.

    Attributes:
        planned: The cell.
        waits: Keys of the cells that have to be settled before it.
        shares: Of its images, by their part; None where it is computed in one.
        parts: Those at hand, in order.
        audited: Packed shares of the audit's rounds that are done.
    """

    planned: PlannedCell
    waits: set[str]
    shares: dict[Part, bytes] | None = None
    parts: tuple[Part, ...] = ()
    audited: tuple[bytes, ...] = ()


@dataclass
class Schedule:
    """Units of the cells of a run, and of those that they need, each handed out once.

    Args:
        cells: The cells that are to be computed; those that are stored already are not among them.
        workers: How many units are done at a time.
        stored: Keys of cells that are stored already.

    Attributes:
        settled: By a cell's key, the key under which it is stored, or why it is not.
        elsewhere: Keys of cells that somebody else has stored meanwhile.
    """

    cells: Sequence[PlannedCell]
    workers: int
    stored: frozenset[str] = frozenset()
    settled: dict[str, str | Failure] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        for cell in self.cells:
            self._add(cell)
        self._cut: list[Unit] = []
        self._lost: dict[tuple[str, Part | None], int] = {}
        self._busy: dict[int, Unit] = {}
        self._loaded: dict[int, str] = {}
        self._idle_deaths = 0
        self._ahead: set[int] = set()

    def _add(self, cell: PlannedCell) -> None:
        if cell.key in self._nodes or cell.key in self.stored or cell.refused is not None:
            return
        needed = [*cell.needs, *([cell.clean] if cell.clean is not None else [])]
        for need in needed:
            self._add(need)
        waits = {need.key for need in needed if need.key in self._nodes}
        self._nodes[cell.key] = _Node(cell, waits)

    @property
    def finished(self) -> bool:
        """Whether every cell is settled."""
        return len(self.settled) == len(self._nodes)

    def running(self) -> Iterator[tuple[PlannedCell, int]]:
        """Cells at hand, each with the worker that is at it."""
        return ((unit.planned, worker) for worker, unit in self._busy.items())

    def next(self, worker: int) -> Unit | None:
        """A unit for an idle worker, which counts as given; None while there is none that could be begun."""
        unit = self._cut.pop(0) if self._cut else self._from(self._ready(), worker)
        if unit is not None:
            self._busy[worker] = unit
            self._loaded[worker] = unit.planned.ingredients.detector_hash
        return unit

    def ahead(self, worker: int) -> Unit | None:
        """For a worker to whom `next` gives none: once, the images of a cell that waits; the unit counts as given."""
        waiting = (node.planned for key, node in self._nodes.items() if node.waits and key not in self.settled)
        planned = next(waiting, None) if worker not in self._ahead else None
        if planned is None:
            return None
        self._ahead.add(worker)
        self._busy[worker] = Unit(planned, ahead=True)
        return self._busy[worker]

    def done(self, worker: int, result: str | bytes | Failure | None) -> None:
        """What came of a worker's unit."""
        unit = self._busy.pop(worker)
        if result is None:
            return
        node = self._nodes[unit.planned.key]
        if isinstance(result, Failure):
            self._cut = [other for other in self._cut if other.planned.key != unit.planned.key]
            self._settle(unit.planned.key, result)
        elif isinstance(result, str):
            self._settle(unit.planned.key, result)
        elif unit.planned.key not in self.settled:  # another share has not failed meanwhile
            assert node.shares is not None and unit.part is not None
            node.shares[unit.part] = result
            if len(node.shares) == len(node.parts):
                shares = tuple(node.shares[part] for part in node.parts)
                node.shares.clear()
                self._cut[:0] = self._after(node, unit.part, shares)

    def found(self, worker: int) -> None:
        """The cell of the unit that a worker was to begin is stored by somebody else: nothing more is done for it."""
        key = self._busy.pop(worker).planned.key
        self._cut = [other for other in self._cut if other.planned.key != key]
        if key not in self.settled:
            self.elsewhere.add(key)
            self._settle(key, key)

    def _after(self, node: _Node, part: Part, shares: tuple[bytes, ...]) -> list[Unit]:
        """What follows once all images of a wave are attacked: the next one, or the cell itself."""
        failed = self._failures(node)
        if part.wave is not Wave.AUDIT:
            return [Unit(node.planned, shares=(*node.audited, *shares), failed=failed)]
        following = part.round + 1
        node.audited = (*node.audited, *shares)
        node.parts = self._parts(Wave.AUDIT, following) if following < ROUNDS else self._parts(Wave.REST)
        return [Unit(node.planned, part, node.audited, failed) for part in node.parts]

    def _parts(self, wave: Wave, number: int = 0) -> tuple[Part, ...]:
        return tuple(Part(worker, self.workers, wave, number) for worker in range(self.workers))

    def lost(self, worker: int, how: str) -> None:
        """A worker died: its unit is handed out again, unless it has killed several.

        Raises:
            CellError: Many have died that had no unit: they cannot even begin.
        """
        unit = self._busy.pop(worker, None)
        self._loaded.pop(worker, None)
        if unit is None:
            self._idle_deaths += 1
            if self._idle_deaths > _TRIES * self.workers:
                raise CellError(
                    f"workers die before they begin, the last one {how}; try --workers 1, which starts none."
                )
        if unit is None or unit.ahead or unit.planned.key in self.settled:
            return
        place = unit.planned.key, unit.part
        self._lost[place] = self._lost.get(place, 0) + 1
        if self._lost[place] < _TRIES:
            self._cut.insert(0, unit)
            return
        self._cut = [other for other in self._cut if other.planned.key != unit.planned.key]
        sentence = (
            f"{_TRIES} workers died over it, the last one {how}; where memory is short, use fewer --workers or a "
            "smaller --micro-batch."
        )
        self._settle(unit.planned.key, Failure.of(CellError(sentence)))

    def _ready(self) -> list[_Node]:
        at_hand = {unit.planned.key for unit in (*self._busy.values(), *self._cut) if not unit.ahead}
        return [
            node
            for key, node in self._nodes.items()
            if not node.waits and key not in self.settled and key not in at_hand and node.shares is None
        ]

    def _from(self, ready: Sequence[_Node], worker: int) -> Unit | None:
        """A unit of one of these cells, of the detector that the worker holds where there is one."""
        if not ready:
            return None
        held = self._loaded.get(worker)
        others = {token for other, token in self._loaded.items() if other != worker}

        def rank(node: _Node) -> tuple[bool, bool]:
            token = node.planned.ingredients.detector_hash
            return token != held, token in others

        node = min(ready, key=rank)
        open_cells = sum(1 for key in self._nodes if key not in self.settled)
        few = open_cells < 2 * self.workers or (node.planned.ingredients.nested and len(ready) < self.workers)
        if node.planned.can_be_shared and self.workers > 1 and few:
            wave = Wave.ALL if node.planned.ingredients.evidence is None else Wave.AUDIT
            node.parts, node.shares = self._parts(wave), {}
            failed = self._failures(node)
            units = [Unit(node.planned, part, failed=failed) for part in node.parts]
            self._cut += units[1:]
            return units[0]
        return Unit(node.planned, failed=self._failures(node))

    def _failures(self, node: _Node) -> tuple[tuple[str, Failure], ...]:
        """Why cells that it needs are not there."""
        found = ((need.key, self.settled.get(need.key)) for need in node.planned.needs)
        return tuple((key, why) for key, why in found if isinstance(why, Failure))

    def _settle(self, key: str, result: str | Failure) -> None:
        """A cell is stored or failed: others may begin, and fail where it was the clean cell of theirs."""
        self.settled[key] = result
        for other, node in self._nodes.items():
            node.waits.discard(key)
            clean = node.planned.clean
            if clean is not None and clean.key == key and isinstance(result, Failure) and other not in self.settled:
                self._settle(other, result)


def missing(cells: Iterable[PlannedCell], stored: frozenset[str]) -> list[PlannedCell]:
    """The cells that have to be computed."""
    return [cell for cell in cells if cell.refused is None and cell.key not in stored]
