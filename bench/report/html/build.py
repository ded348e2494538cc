"""From a store to a page: which cells make which figures."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import bench
from bench.cards.threat import Norm, Side
from bench.errors import CellError
from bench.evaluation.keys import Cards
from bench.evaluation.results import SAMPLE_COLUMNS, Cell, CellMeta
from bench.evaluation.store import CellStore
from bench.report import numbers
from bench.report.accuracy import accuracy_line
from bench.report.closing import closing_sentences
from bench.report.flat import flat_grid
from bench.report.grid import Grid
from bench.report.html.answers import detector_grid, exports_of, kept_words, shown_means
from bench.report.html.convergence import Convergence
from bench.report.html.curves import curves_of, means_curve
from bench.report.html.facts import cards_of, provenance_of
from bench.report.html.gallery import Gallery, gallery_of
from bench.report.html.grids import shown_grid, shown_table
from bench.report.html.page import DetectorPart, Page, Part
from bench.report.html.scores import ScorePanels, label_of
from bench.report.html.soundness import Checked, checked_of, soundness_of
from bench.report.html.starts import StartImages
from bench.report.means import Means, means_of
from bench.report.table import Table, above_ceiling, is_attack
from bench.soundness.checklist import checks_made
from bench.soundness.verdicts import Verdicts

GALLERY_EACH = 2
"""Images of every attacked set that a gallery shows unless more are asked for."""

GALLERY_LETTERS = 16 * 2**20
"""The most letters that all galleries of a page may take."""


Radii = Callable[[Table], Mapping[Norm, float]]


def no_radii(table: Table) -> Mapping[Norm, float]:
    """Where nothing is known of radii."""
    return {}


@dataclass
class _Behind:
    """What is drawn of one detector, cell by cell, so that no two cells' images are held at once."""

    scores: ScorePanels
    convergence: Convergence
    galleries: list[Gallery] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    failed: int = 0


@dataclass
class _Reading:
    """Reads the cells of a page, and counts what its images take.

    Attributes:
        store: Holds them.
        verdicts: Findings of soundness checks by the cells' keys.
        starts: Clean images.
        each: The most images of a set that a gallery shows.
        letters: What all galleries take so far.
        left_out: Galleries that would have been too large.
    """

    store: CellStore
    verdicts: Mapping[str, Verdicts]
    starts: StartImages
    each: int
    letters: int = 0
    left_out: int = 0


def build_page(
    tables: Iterable[Table],
    store: CellStore,
    cards: Cards,
    *,
    verdicts: dict[str, Verdicts],
    radii: Radii = no_radii,
    title: str = "robustood report",
    each: int = GALLERY_EACH,
    data_dir: Path | None = None,
    workspace: Path | None = None,
) -> Page:
    """Everything that a page shows of these tables.

    Args:
        tables: The tables.
        store: Holds their cells.
        cards: Where cards are.
        verdicts: Findings of soundness checks by the cells' keys.
        radii: For each norm, the largest radius that is not too large for a table, where it is known.
        title: Of the page.
        each: The most images of a set that a gallery shows; 0 for no galleries.
        data_dir: Where data files lie; None for the default.
        workspace: A folder that is searched for the modules of a user's own sources.

    Raises:
        CellError: A stored cell lacks a column.
    """
    shown = list(tables)
    starts = StartImages(cards, data_dir, workspace)
    reading = _Reading(store, verdicts, starts, each)
    parts = tuple(_part(table, reading, radii(table)) for table in shown)
    metas = list({meta.key: meta for table in shown for meta in table.metas}.values())
    attacks = [meta for meta in metas if is_attack(meta)]
    notes = list(dict.fromkeys(starts.notices))
    if reading.left_out:
        notes.append(f"galleries that are left out because the page would be too large: {reading.left_out}.")
    return Page(
        title=title,
        counted=_counted(metas, attacks, verdicts),
        parts=parts,
        gallery_notes=tuple(notes),
        soundness=soundness_of(attacks, verdicts),
        cards=tuple(cards_of(metas, cards)),
        provenance=tuple(map(provenance_of, metas)),
        version=bench.__version__,
    )


def _part(table: Table, reading: _Reading, radii: Mapping[Norm, float]) -> Part:
    """A table, with the answer above it and its detectors below."""
    means = means_of(table)
    curves = curves_of(table)
    behind: dict[str, _Behind] = {}
    for threat, label, meta in attacks_of(table):
        cell = reading.store.get(meta.key)
        if cell is not None:
            place = tuple(str(part) for part in (table.track, table.side) if part)
            own = behind.setdefault(label, _Behind(ScorePanels(label, place), Convergence(of=label)))
            _read(own, checked(cell), threat, label, reading)
    every = flat_grid(table, full=means is not None or table.side is Side.BETWEEN)
    labels = means.labels if means is not None else tuple(behind)
    return Part(
        verdict=" ".join(closing_sentences([table])),
        answer=means_curve(table, means) if means is not None else next(iter(curves), None),
        accuracy=accuracy_line(table),
        means=shown_means(means) if means is not None else (),
        table=shown_table(table, radii),
        exports=exports_of(table, means) if means is not None else (),
        curves=tuple(curves if means is not None else curves[1:]),
        detectors=tuple(
            _detector(label, behind[label], means, every, several=len(labels) > 1)
            for label in labels
            if label in behind
        ),
    )


def _detector(label: str, own: _Behind, means: Means | None, every: Grid, *, several: bool) -> DetectorPart:
    rows = detector_grid(every, label)
    return DetectorPart(
        label=label,
        kept=kept_words(means, label) if means is not None else "",
        failed=own.failed,
        grid=shown_grid(rows) if rows.blocks and several else None,
        scores=own.scores.drawings(),
        convergence=tuple(own.convergence.drawings()),
        galleries=tuple(own.galleries),
        checked=tuple(own.checked),
    )


def checked(cell: Cell) -> Cell:
    """The cell, if its samples have every column.

    Raises:
        CellError: One is missing.
    """
    if missing := [name for name in SAMPLE_COLUMNS if name not in cell.samples]:
        raise CellError(
            f"the samples of cell {cell.meta.key[:12]} lack the column '{missing[0]}'; remove it and run it again."
        )
    return cell


def attacks_of(table: Table) -> list[tuple[str, str, CellMeta]]:
    """Threat, label and cell of each attack."""
    return [
        (section.threat, row.label, row.meta) for section in table.sections if section.attacked for row in section.rows
    ]


def _read(own: _Behind, cell: Cell, threat: str, label: str, reading: _Reading) -> None:
    """Draw what a page shows of one cell."""
    meta = cell.meta
    if meta.side is not Side.BETWEEN:
        own.scores.add(cell, label_of(meta).removeprefix(f"{meta.detector} under "))
    own.convergence.add(cell, threat, label)
    own.failed += _disbelieved(meta, reading.verdicts)
    if meta.key in reading.verdicts:
        own.checked.append(checked_of(meta, reading.verdicts[meta.key]))
    if reading.each < 1:
        return
    gallery = gallery_of(
        cell, partial(reading.starts.of, meta), each=reading.each, letters=GALLERY_LETTERS - reading.letters
    )
    if gallery is not None:
        own.galleries.append(gallery)
        reading.letters += sum(image.size for image in gallery.images)
    elif "images" in cell.arrays:
        reading.left_out += 1


def _disbelieved(meta: CellMeta, verdicts: Mapping[str, Verdicts]) -> bool:
    return above_ceiling(meta) or (meta.key in verdicts and bool(verdicts[meta.key].failed))


def _counted(
    metas: list[CellMeta], attacks: list[CellMeta], verdicts: dict[str, Verdicts]
) -> tuple[tuple[str, str], ...]:
    return (
        ("tracks", ", ".join(sorted({meta.track for meta in metas}))),
        ("detectors", ", ".join(sorted({meta.detector for meta in metas}))),
        ("threats", ", ".join(sorted({meta.threat for meta in attacks})) or "none"),
        ("cells", f"{len(metas)}, {len(attacks)} of them attacks"),
        ("soundness", _soundness(attacks, verdicts)),
        ("seconds spent", numbers.seconds(sum(meta.seconds for meta in metas))),
    )


def _soundness(attacks: list[CellMeta], verdicts: dict[str, Verdicts]) -> str:
    """How many attacks were checked, by how many checks, and what came of it."""
    known = {meta.key: verdicts[meta.key] for meta in attacks if meta.key in verdicts}
    failed = sum(_disbelieved(meta, verdicts) for meta in attacks)
    by = f" by {checks_made(known)} checks" if known else ""
    return f"{len(known)} of {len(attacks)} attacks checked{by}, {failed} not to be believed"
