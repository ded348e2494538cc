"""From an entry to the cells that it needs, and from those to the figures of its table. Nothing here imports torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation.plan import plan
from bench.evaluation.planned import CLEAN as CLEAN_THREAT
from bench.evaluation.planned import PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.sets import SetChoice
from bench.evaluation.spending import Evidence
from bench.repro.changed import WEIGHTS, ChangedCatalog
from bench.repro.claims import Measured, Ref
from bench.repro.entry import Entry, Run, Setting, Shown, chosen
from bench.repro.figures import CLEAN, Asked, measured
from bench.repro.panels import Panel, histogram

_EVIDENCE = Evidence(tolerance=0.001, audit=0.1)
"""As `bench run` has it where nothing else is asked for."""


def planned_runs(
    setting: Setting, catalog: Catalog, data_dir: Path | None, root: Path | None = None
) -> dict[str, list[PlannedCell]]:
    """The cells of every run of an entry, by the run's id.

    Args:
        setting: The entry at one scale.
        catalog: Where cards are found.
        data_dir: Where data files lie; None for the default.
        root: Of the store that holds what entries train.

    Raises:
        UsageError: As `bench.evaluation.plan.plan`: a name is not there, or weights or data are missing.
    """
    return {
        run.id: [
            cell
            for params, score, training in run.variants()
            for cell in _planned(run, params, _changed(run, score, training, catalog, root), data_dir)
        ]
        for run in setting.runs
    }


def _changed(
    run: Run, score: Mapping[str, Any], training: Mapping[str, Any] | None, catalog: Catalog, root: Path | None
) -> Catalog:
    if not score and training is None and not (run.sets or run.sets_of or run.recall):
        return catalog
    return ChangedCatalog(catalog, run, score, training, None if root is None else root / WEIGHTS)


def _planned(run: Run, params: Mapping[str, Any], catalog: Catalog, data_dir: Path | None) -> list[PlannedCell]:
    return plan(
        catalog,
        run.detector,
        [run.threat],
        run.eps or None,
        [run.track],
        seed=run.seed,
        limit=run.limit,
        micro_batch=run.micro_batch,
        side=run.side,
        overrides=params,
        early_stop=run.early_stop,
        data_dir=data_dir,
        goal=run.goal,
        loss=run.loss,
        sets=SetChoice(run.ood, run.without),
        evidence=_EVIDENCE if run.evidence else None,
    )


def computed_together(planned: Mapping[str, Sequence[PlannedCell]]) -> list[list[PlannedCell]]:
    """The cells of an entry, each once, in groups of which one computation may do all.

    A computation takes a track by its name and a detector by its settings: two forms of a track, or two trainings of
    a detector, must not meet in one.
    """
    groups: list[_Together] = []
    for cell in {cell.key: cell for its in planned.values() for cell in its}.values():
        group = next((group for group in groups if group.takes(cell)), None)
        if group is None:
            group = _Together()
            groups.append(group)
        group.add(cell)
    return [group.cells for group in groups]


@dataclass
class _Together:
    """Cells that one computation may do, with the form of every track and the weights of every detector in them."""

    cells: list[PlannedCell] = field(default_factory=list)
    tracks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    weights: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def takes(self, cell: PlannedCell) -> bool:
        """Whether a cell has the same forms and weights."""
        form, weights = _form(cell), cell.ingredients.weights_sha256
        same = self.tracks.get(cell.track.name, form) == form
        return same and self.weights.get(cell.ingredients.detector_hash, weights) == weights

    def add(self, cell: PlannedCell) -> None:
        self.cells.append(cell)
        self.tracks[cell.track.name] = _form(cell)
        self.weights[cell.ingredients.detector_hash] = cell.ingredients.weights_sha256


def _form(cell: PlannedCell) -> tuple[str, ...]:
    return (cell.ingredients.track_hash, *cell.track.ood)


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
                and _trained_so(what["train"], cell)
            )
            if fits:
                cells[cell.key] = cell
    return list(cells.values())


def _trained_so(args: Mapping[str, Any], cell: PlannedCell) -> bool:
    training = cell.detector.training
    return not args or (training is not None and args.items() <= training.args.items())


def _asked(what: Mapping[str, Any], setting: Setting) -> Asked:
    name = what.get("set")
    return Asked(
        what["figure"], setting.sets.get(name, name) if name else None, what.get("within"), what.get("percentile")
    )


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


def histograms(
    setting: Setting, planned: Mapping[str, Sequence[PlannedCell]], stored: Callable[[PlannedCell], Cell | None]
) -> list[Panel]:
    """The histograms of an entry whose cells are there.

    Raises:
        UsageError: No cell fits one, or several do, or the cell's samples have no such column or set.
    """
    found = []
    for shown in setting.histograms:
        cells = _of_histogram(shown, planned)
        if len(cells) != 1:
            raise UsageError(f"histogram '{shown.title}': {len(cells)} cells fit; name the detector or parameters.")
        cell = stored(cells[0])
        if cell is None:
            continue
        samples = cell.samples
        if shown.column not in samples or (absent := sorted(set(shown.sets) - set(samples["set"]))):
            what = f"column '{shown.column}'" if shown.column not in samples else f"set '{absent[0]}'"
            raise UsageError(f"histogram '{shown.title}': the cell {cells[0].label} has no {what}.")
        values = {name: samples.loc[samples["set"] == name, shown.column].to_numpy() for name in shown.sets}
        found.append(histogram(shown.title, shown.column.replace("_", " "), values))
    return found


def _of_histogram(shown: Shown, planned: Mapping[str, Sequence[PlannedCell]]) -> list[PlannedCell]:
    attacks = {cell.key: cell for cell in planned.get(shown.run, ()) if cell.attacks}
    cells = list((attacks or {cell.key: cell for cell in planned.get(shown.run, ())}).values())
    return [
        cell
        for cell in cells
        if shown.detector in (None, cell.detector.name)
        and shown.params.items() <= cell.params.items()
        and shown.score.items() <= cell.detector.params.items()
    ]


def placed(entry: Entry, figures: Mapping[Ref, Measured]) -> dict[Ref, Measured]:
    """Those figures that have a place in the table."""
    known = {(row.name, column.name) for row in entry.rows for column in entry.columns}
    return {ref: figure for ref, figure in figures.items() if ref in known}


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
