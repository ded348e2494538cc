"""Cells of side `fool`: how often ID images were misclassified, and accepted by the detector."""

from bench.evaluation.results import CellMeta, FoolAtEps
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.table import Row, Section, Table

CAPTION = (
    "accuracy: share of the ID test images that are classified correctly, as they are and under attack; of the images "
    "that are right as they are: fooled: share that is misclassified within eps; undetected: share that is "
    "misclassified and accepted (in brackets where each class has its threshold at a percentile)",
    "detected: share of the misclassified that is rejected, at the threshold that accepts 95 % of clean ID images, or "
    "as many as the detector's card says; AUROC: clean images against misclassified ones [95 % interval]; "
    "norm: median of the misclassified; grads, queries: an image",
)

_HEADER = [
    "detector", "threat", "goal", "eps", "accuracy", "under attack", "fooled", "undetected", "detected", "AUROC",
    "norm", "grads", "queries", "seconds",
]  # fmt: skip


def fool_grid(table: Table) -> Grid:
    """A row for each attack and radius; clean cells have none."""
    blocks = []
    for section in table.sections:
        rows = [
            _words(section, row, at) for row in section.rows if row.meta.fool is not None for at in row.meta.fool.curve
        ]
        blocks += [rows] if rows else []
    return Grid(_HEADER, 4, blocks)


def _words(section: Section, row: Row, at: FoolAtEps) -> list[str]:
    meta, fool = row.meta, row.meta.fool
    assert fool is not None
    spread = ", ".join(f"{share:.3f} at {percentile} %" for percentile, share in at.by_percentile.items())
    return [
        row.label,
        section.threat,
        _goal(meta),
        "any" if at.eps is None else numbers.radius(at.eps),
        numbers.share(fool.attacked / fool.n),
        numbers.share(at.adversarial_accuracy),
        numbers.share(at.misclassified),
        numbers.share(at.undetected) + (f" ({spread})" if spread else ""),
        numbers.share(at.detection_rate),
        numbers.with_optional_ends(at.auroc, at.low, at.high),
        numbers.ABSENT if at.median_norm is None else f"{at.median_norm:.3g}",
        numbers.amount(round(meta.gradients / max(1, fool.attacked))),
        numbers.amount(round(meta.queries / max(1, fool.attacked))),
        numbers.seconds(meta.seconds),
    ]


def _goal(meta: CellMeta) -> str:
    assert meta.fool is not None
    return "and be accepted" if str(meta.fool.goal).endswith("accept") else str(meta.fool.goal)
