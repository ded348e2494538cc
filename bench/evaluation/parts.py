"""What a worst case or a transfer attack is made from: what there is of it, and what there is not."""

from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError, CellError, NotApplicableError
from bench.evaluation.plan import PlannedCell
from bench.evaluation.planner import grouped, nothing_applies
from bench.evaluation.results import Cell


@dataclass
class Parts:
    """Cells that another one needs.

    Attributes:
        cells: Those that there are.
        keys: What makes the key of the cell that is made of them. One that does not apply to the detector counts with
            its planned key, since it never will; one that failed does not count, so that the next run tries it again.
        left_out: By name, why one cannot be run here.
        failed: By name, why one failed.
    """

    cells: list[Cell] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, planned: PlannedCell) -> "Parts":
        """What the plan says: nothing there yet, and what it leaves out."""
        return cls(left_out=dict(planned.left_out))

    def add(self, name: str, cell: Cell) -> None:
        """One that there is; what failed of it itself failed of this too."""
        self.cells.append(cell)
        self.keys.append(cell.meta.key)
        if cell.meta.failed_needs:
            self.failed[name] = "; ".join(f"{part}: {why}" for part, why in cell.meta.failed_needs.items())

    def leave_out(self, name: str, need: PlannedCell, error: NotApplicableError) -> None:
        """One that does not apply to the detector."""
        self.keys.append(need.key)
        self.left_out[name] = error.why

    def fail(self, name: str, error: BenchError) -> None:
        """One that was to be run and failed."""
        self.failed[name] = str(error)

    def check(self, planned: PlannedCell) -> None:
        """Raise where something is needed and there is nothing; a larger radius can begin without a smaller one.

        Raises:
            NotApplicableError: None of it applies to the detector.
            CellError: Some of it failed.
        """
        if not planned.needs or self.cells or planned.ingredients.nested:
            return
        if not self.failed:
            raise nothing_applies(planned.threat.name, planned.detector.name, self.left_out)
        reasons = "; ".join(grouped(self.failed))
        raise CellError(f"{planned.label}: nothing that it is made from can be computed ({reasons}).")

    @property
    def notes(self) -> list[str]:
        """What there is not, as sentences; of what failed the tables say more."""
        return [f"left out: {sentence}" for sentence in grouped(self.left_out)]

    def absent(self, planned: PlannedCell) -> dict[str, Any]:
        """The fields of a cell that say what there is not."""
        return {"left_out": self.left_out, "failed_needs": self.failed, "needs": planned.ingredients.needs}


def name_of(planned: PlannedCell, need: PlannedCell) -> str:
    """What a cell calls one that it needs: a source by its detector, a member by its attack, a radius by all of it."""
    if planned.ingredients.nested:
        return need.label
    return need.detector.name if planned.threat.source is not None else need.threat.name
