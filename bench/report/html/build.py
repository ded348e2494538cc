"""From a store to a page: which cells make which figures."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bench
from bench.cards.threat import Norm, Side
from bench.errors import CellError
from bench.evaluation.keys import Cards
from bench.evaluation.results import SAMPLE_COLUMNS, Cell, CellMeta
from bench.evaluation.store import CellStore
from bench.report import numbers
from bench.report.html.convergence import Convergence
from bench.report.html.curves import curves_of
from bench.report.html.drawing import Drawing
from bench.report.html.facts import cards_of, provenance_of, soundness_of
from bench.report.html.gallery import Gallery, gallery_of
from bench.report.html.grids import shown_table
from bench.report.html.page import Page
from bench.report.html.scores import histogram
from bench.report.html.starts import StartImages
from bench.report.table import Table, is_attack
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
class _OfCells:
    """What is drawn cell by cell, so that no two cells' samples are held at once."""

    histograms: list[Drawing] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    convergence: Convergence = field(default_factory=Convergence)
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
    drawn = _OfCells()
    for table in shown:
        for threat, label, meta in attacks_of(table):
            cell = store.get(meta.key)
            if cell is not None:
                _draw(drawn, checked(cell), threat, label, starts, each)
    metas = list({meta.key: meta for table in shown for meta in table.metas}.values())
    attacks = [meta for meta in metas if is_attack(meta)]
    notes = list(dict.fromkeys(starts.notices))
    if drawn.left_out:
        notes.append(f"galleries that are left out because the page would be too large: {drawn.left_out}.")
    return Page(
        title=title,
        counted=_counted(metas, attacks, verdicts),
        tables=tuple(shown_table(table, radii(table)) for table in shown),
        curves=tuple(drawing for table in shown for drawing in curves_of(table)),
        histograms=tuple(drawn.histograms),
        galleries=tuple(drawn.galleries),
        gallery_notes=tuple(notes),
        convergence=tuple(drawn.convergence.drawings()),
        soundness=soundness_of(attacks, verdicts),
        cards=tuple(cards_of(metas, cards)),
        provenance=tuple(map(provenance_of, metas)),
        version=bench.__version__,
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


def _draw(drawn: _OfCells, cell: Cell, threat: str, label: str, starts: StartImages, each: int) -> None:
    meta = cell.meta
    if (scores := histogram(cell)) is not None and meta.side is not Side.BETWEEN:
        drawn.histograms.append(scores)
    drawn.convergence.add(cell, threat, label)
    if each < 1:
        return
    used = sum(image.size for gallery in drawn.galleries for image in gallery.images)
    gallery = gallery_of(
        cell, lambda name, at, ids: starts.of(meta, name, at, ids), each=each, letters=GALLERY_LETTERS - used
    )
    if gallery is not None:
        drawn.galleries.append(gallery)
    elif "images" in cell.arrays:
        drawn.left_out += 1


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
    failed = sum(bool(own.failed) for own in known.values())
    by = f" by {checks_made(known)} checks" if known else ""
    return f"{len(known)} of {len(attacks)} attacks checked{by}, {failed} not to be believed"
