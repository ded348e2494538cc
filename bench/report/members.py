"""What each attack of a worst case came to alone."""

from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.table import Table

HEADING = "the attacks of each worst case, alone"

CAPTION = (
    "the figure that ranks, for each attack alone: mean AUROC, or on side fool the share of images that are left; the "
    "worst case is taken image by image, so it lies at or below them"
)


def members_block(table: Table) -> tuple[str, str, Grid] | None:
    """A row for each worst case; None where the table has none."""
    cells = [(section, row) for section in table.sections for row in section.rows if row.meta.members]
    if not cells:
        return None
    names = list(dict.fromkeys(name for _, row in cells for name in row.meta.members))
    rows = [
        [row.label, section.threat, _radius(row.meta), *(numbers.share(row.meta.members.get(n)) for n in names)]
        for section, row in cells
    ]
    return HEADING, CAPTION, Grid(["detector", "worst case", "eps", *names], 3, [rows])


def _radius(meta: CellMeta) -> str:
    return numbers.ABSENT if meta.eps is None else numbers.radius(meta.eps)
