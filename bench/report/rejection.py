"""Classification with rejection, as a grid below the table of detectors."""

from bench.evaluation.results import RejectionMetrics
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.table import Row, Table

HEADING = "classification with rejection"

CAPTION = (
    "threshold: a percentile, for each class, of the class-conditional scores of the ID images of the class that are "
    "classified correctly; rejected: share of the ID test images below the threshold of their predicted class; left: "
    "accuracy on the others; OOD sets: share of the images below a class's threshold, mean over the classes"
)


def rejection_block(table: Table) -> tuple[str, str, Grid] | None:
    """A row for each detector and percentile; None where no detector of the table rejects."""
    sets = [column.title for column in table.columns]
    blocks = [
        [_words(row, figures, table) for figures in row.meta.rejection]
        for section in table.sections
        for row in section.rows
        if row.meta.rejection
    ]
    header = ["detector", "threshold", "rejected", "accuracy", "left", *sets]
    return (HEADING, CAPTION, Grid(header, 2, blocks)) if blocks else None


def _words(row: Row, figures: RejectionMetrics, table: Table) -> list[str]:
    every = "" if figures.correct_only else ", wrong ones too"
    rates = (figures.detection_rates.get(column.name) for column in table.columns)
    return [
        row.label,
        f"{figures.percentile:g} % of {figures.source}{every}",
        numbers.share(figures.rejection_rate),
        numbers.share(row.meta.id_accuracy),
        numbers.share(figures.accuracy),
        *map(numbers.share, rates),
    ]
