"""From an entry to the cells that it needs, and from those to the figures of its table. Nothing here imports torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.errors import UsageError
from bench.evaluation.plan import plan
from bench.evaluation.planned import CLEAN as CLEAN_THREAT
from bench.evaluation.planned import PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.sets import SetChoice
from bench.evaluation.spending import Evidence
from bench.repro.claims import Measured, Ref
from bench.repro.entry import Entry, Run, Setting, chosen
from bench.repro.figures import CLEAN, Asked, measured

_EVIDENCE = Evidence(tolerance=0.001, audit=0.1)
"""As `bench run` has it where nothing else is asked for."""


class _WithParams(Catalog):
    """The same cards, with other parameters for every detector that is resolved."""

    def __init__(self, catalog: Catalog, params: Mapping[str, Any]) -> None:
        super().__init__(catalog.workspace, builtin=catalog.builtin)
        self._params = params

    def detector_spec(self, name: str, track: str) -> DetectorSpec:
        """A detector's settings on one track, with these parameters over them."""
        spec = super().detector_spec(name, track)
        return spec.model_copy(update={"params": {**spec.params, **self._params}})


def planned_runs(setting: Setting, catalog: Catalog, data_dir: Path | None) -> dict[str, list[PlannedCell]]:
    """The cells of every run of an entry, by the run's id.

    Raises:
        UsageError: As `bench.evaluation.plan.plan`: a name is not there, or weights or data are missing.
    """
    return {
        run.id: [cell for params, score in run.variants() for cell in _planned(run, params, score, catalog, data_dir)]
        for run in setting.runs
    }


def _planned(
    run: Run, params: Mapping[str, Any], score: Mapping[str, Any], catalog: Catalog, data_dir: Path | None
) -> list[PlannedCell]:
    return plan(
        _WithParams(catalog, score) if score else catalog,
        run.detector, [run.threat], run.eps or None, [run.track],
        seed=run.seed, limit=run.limit, side=run.side, overrides=params, early_stop=run.early_stop, data_dir=data_dir,
        goal=run.goal, loss=run.loss, sets=SetChoice(run.ood, run.without),
        evidence=_EVIDENCE if run.evidence else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One figure of the table: where it stands, of which cell, and which it is."""

    row: str
    column: str
    cell: PlannedCell
    asked: Asked


def places(entry: Entry, setting: Setting, planned: Mapping[str, Sequence[PlannedCell]]) -> list[Place]:
    """Every figure of the table that has a cell; rows and columns that name no figure are those of the paper alone.

    Raises:
        UsageError: Several cells fit one place: the layout does not say which.
    """
    found = []
    for row in entry.rows:
        for column in entry.columns:
            what = chosen(row, column)
            if "figure" not in what:
                continue
            fitting = _fitting(what, planned)
            if len(fitting) > 1:
                names = " and ".join(cell.label for cell in fitting[:2])
                raise UsageError(
                    f"entry '{entry.name}', row '{row.name}', column '{column.name}': {names} both fit; name a run, a "
                    "detector or an eps."
                )
            if fitting:
                found.append(Place(row.name, column.name, fitting[0], _asked(what, setting)))
    return found


def _fitting(what: Mapping[str, Any], planned: Mapping[str, Sequence[PlannedCell]]) -> list[PlannedCell]:
    clean = what["figure"] in CLEAN
    cells: dict[str, PlannedCell] = {}
    for run, its in planned.items():
        if what.get("run", run) != run:
            continue
        for cell in its:
            eps = cell.ingredients.eps
            fits = (
                (cell.threat.name == CLEAN_THREAT) is clean
                and what.get("detector", cell.detector.name) == cell.detector.name
                and ("eps" not in what or (eps is not None and math.isclose(eps, what["eps"], rel_tol=1e-6)))
                and what["params"].items() <= cell.params.items()
                and what["score"].items() <= cell.detector.params.items()
            )
            if fits:
                cells[cell.key] = cell
    return list(cells.values())


def _asked(what: Mapping[str, Any], setting: Setting) -> Asked:
    name = what.get("set")
    return Asked(what["figure"], setting.sets.get(name, name) if name else None, what.get("within"),
                 what.get("percentile"))  # fmt: skip


def read_figures(wanted: Sequence[Place], stored: Callable[[PlannedCell], Cell | None]) -> dict[Ref, Measured]:
    """The figures of the places whose cells are there.

    Args:
        wanted: The places.
        stored: The cell of a plan; None where it is not stored.
    """
    cells: dict[str, Cell | None] = {}
    found = {}
    for place in wanted:
        if place.cell.key not in cells:
            cells[place.cell.key] = stored(place.cell)
        cell = cells[place.cell.key]
        figure = None if cell is None else measured(place.asked, cell)
        if figure is not None:
            found[place.row, place.column] = figure
    return found


def checked_places(entry: Entry, figures: dict[Ref, Measured]) -> dict[Ref, Measured]:
    """Figures that no cell gave, after a look whether each has a place in the table.

    Raises:
        UsageError: One has none.
    """
    known = {(row.name, column.name) for row in entry.rows for column in entry.columns}
    if unknown := sorted(set(figures) - known):
        raise UsageError(
            f"entry '{entry.name}': its closed form gives {' / '.join(unknown[0])}, which is no row and column of the "
            "table; name them so."
        )
    return figures
