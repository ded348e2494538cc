"""Paths between ID images: what the detector says on the way."""

from bench.evaluation.results import BetweenMetrics
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.table import Table

HEADING = "paths between accepted, correctly classified ID images of different classes"

CAPTION = (
    "accepted throughout: share of the paths whose every image is accepted; mid-point AUROC [95 % interval]: clean ID "
    "test images against the images half-way; half-way: share accepted there, and mean probability of the "
    "classes at both ends"
)


def paths_block(table: Table) -> tuple[str, str, Grid] | None:
    """A row for each cell of side `between`; None where the table has none."""
    rows = [
        _words(row.label, row.meta.between)
        for section in table.sections
        for row in section.rows
        if row.meta.between is not None
    ]
    header = ["detector", "paths", "accepted throughout", "mid-point AUROC", "accepted half-way", "p(from)", "p(to)"]
    return (HEADING, CAPTION, Grid(header, 1, [rows])) if rows else None


def _words(label: str, found: BetweenMetrics) -> list[str]:
    middle = min(range(len(found.alphas)), key=lambda i: abs(found.alphas[i] - 0.5))
    return [
        label,
        str(found.paths),
        numbers.share(found.accepted_throughout),
        numbers.with_optional_ends(found.midpoint_auroc, found.midpoint_low, found.midpoint_high),
        numbers.share(found.accepted[middle]),
        numbers.share(found.confidence_from[middle] if found.confidence_from else None),  # none without a classifier
        numbers.share(found.confidence_to[middle] if found.confidence_to else None),
    ]
