"""The four columns in which ATD reports a detector: clean, ID attacked, OOD attacked, both attacked."""

from collections.abc import Sequence

from bench.cards.threat import Norm, Side
from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.protocols import ball, images_of
from bench.report.table import Failed, Table, is_attack, is_doubted

HEADING = "clean, ID attacked, OOD attacked, both attacked"

CAPTION = (
    "mean AUROC, as ATD's tables have it (Azizmalayeri et al. 2022): with no side attacked, ID images made to look OOD "
    "(alarm), OOD images made to look ID (evade), and both, by the same attack in the same ball. A column whose cell "
    "was not run is empty; a figure with ! is of an attack that cannot be believed"
)

SIDES = (Side.ALARM, Side.EVADE, Side.BOTH)

HEADER = ["detector", "attack", "ball", "clean", *map(str, SIDES)]

_Place = tuple[str, str, Norm | None, float, str, tuple[str, ...], int, str]


def sides_grids(tables: Sequence[Table], failed: Failed) -> list[tuple[str, str, Grid]]:
    """Heading, caption and grid of each choice of images.

    Args:
        tables: Of a store; those of the same images are brought together.
        failed: Which cells failed which soundness checks.
    """
    together: dict[tuple[str, str], dict[_Place, dict[Side, CellMeta]]] = {}
    for table in tables:
        rows = together.setdefault((images_of(table), table.content), {})
        for meta in table.metas:
            if is_attack(meta) and meta.mean is not None and meta.side in SIDES:
                place = (
                    meta.detector,
                    meta.threat,
                    meta.norm,
                    meta.eps or 0.0,
                    meta.threat_hash,
                    meta.weights_sha256,
                    meta.seed,
                    _cheaper(meta),
                )
                rows.setdefault(place, {})[meta.side] = meta
    return [
        (f"{HEADING}: {images}", CAPTION, Grid(HEADER, 3, [[_row(cells, failed) for _, cells in sorted(rows.items())]]))
        for (images, _), rows in together.items()
        if rows
    ]


def _row(cells: dict[Side, CellMeta], failed: Failed) -> list[str]:
    first = next(iter(cells.values()))
    figures = [
        numbers.attacked_auroc(cells[side].mean, doubted=is_doubted(cells[side], failed))
        if side in cells
        else numbers.ABSENT
        for side in SIDES
    ]
    attack = first.threat + _cheaper(first)
    return [first.detector, attack, ball(first), numbers.clean_auroc(first.mean), *figures]


def _cheaper(meta: CellMeta) -> str:
    """How an attack spared some of its budget, in brackets; "" where all images had all of it from the detector."""
    ways = [
        *(["audited"] if meta.evidence is not None else []),
        *([meta.search] if meta.search else []),
        *(["nested"] if meta.nested else []),
    ]
    return f" ({', '.join(ways)})" if ways else ""
