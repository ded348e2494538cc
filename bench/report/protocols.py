"""What a published protocol leaves of a detector beside what ours leave, on the same images in the same ball."""

from collections.abc import Sequence

from bench.cards.threat import Norm
from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.table import Failed, Table, is_attack, is_doubted, mean_auroc

PREFIX = "protocol-"
"""What the names of published protocols begin with."""

HEADING = "published protocols beside ours"

CAPTION = (
    "mean AUROC of the same images: unattacked, under the attack that a paper reports, and under the strongest of the "
    "other attacks here in the ball of the same eps on the same side. A protocol's figure says what that attack "
    "leaves; `bench show PROTOCOL` says what it leaves out. A figure with ! is of an attack that cannot be believed"
)

HEADER = ["detector", "protocol", "ball", "side", "clean", "their protocol", "ours", "by"]


def protocols_grids(tables: Sequence[Table], failed: Failed) -> list[tuple[str, str, Grid]]:
    """Heading, caption and grid of each table that has cells of protocols."""
    found = [(table, protocols_grid(table, failed)) for table in tables]
    return [(f"{HEADING}: {images_of(table)}", CAPTION, grid) for table, grid in found if grid is not None]


def images_of(table: Table) -> str:
    """Which images the cells of a table are of."""
    limit = "all images" if table.limit is None else f"{table.limit} images of a set"
    without = f", without {', '.join(table.without)}" if table.without else ""
    return f"{table.track}, {limit}{without}"


def protocols_grid(table: Table, failed: Failed) -> Grid | None:
    """A row for each cell of a protocol; None where the table has none.

    Args:
        table: Of one track, side and choice of images.
        failed: Which cells failed which soundness checks.
    """
    metas = [meta for meta in table.metas if is_attack(meta) and meta.mean is not None]
    theirs = [meta for meta in metas if meta.threat.startswith(PREFIX)]
    if not theirs:
        return None
    ordered = sorted(theirs, key=lambda meta: (meta.norm or "", meta.eps or 0.0, meta.threat, meta.detector, meta.key))
    return Grid(HEADER, 4, [[_row(meta, strongest(meta, metas, failed), failed) for meta in ordered]])


def strongest(protocol: CellMeta, metas: Sequence[CellMeta], failed: Failed) -> CellMeta | None:
    """The cell of the lowest mean among those of other attacks in the same ball, that can be believed; None: no such.

    Args:
        protocol: The cell of a protocol.
        metas: Cells of the same track, side and images.
        failed: Which of them failed which soundness checks.
    """

    def place(meta: CellMeta) -> tuple[str, tuple[str, ...], Norm | None, float | None, int]:
        return meta.detector, meta.weights_sha256, meta.norm, meta.eps, meta.seed

    ours = [
        meta
        for meta in metas
        if place(meta) == place(protocol) and not meta.threat.startswith(PREFIX) and not is_doubted(meta, failed)
    ]
    return min(ours, key=lambda meta: (mean_auroc(meta), meta.threat), default=None)


def _row(meta: CellMeta, ours: CellMeta | None, failed: Failed) -> list[str]:
    doubted = is_doubted(meta, failed)
    return [
        meta.detector,
        meta.threat,
        ball(meta),
        str(meta.side),
        numbers.clean_auroc(meta.mean),
        numbers.attacked_auroc(meta.mean, doubted=doubted),
        numbers.attacked_auroc(ours.mean) if ours is not None else numbers.ABSENT,
        ours.threat if ours is not None else numbers.ABSENT,
    ]


def ball(meta: CellMeta) -> str:
    """The ball of a cell, and where a protocol measures its radius after normalisation what that is in pixels."""
    if meta.eps is None:
        return "the box"
    radius = f"{meta.eps * 255:.3g}/255" if meta.norm is Norm.LINF else numbers.radius(meta.eps)
    units = meta.threat_params.get("units")
    if not isinstance(units, list | tuple) or not units:
        return f"{meta.norm} {radius}"
    own = [meta.eps * 255 * float(unit) for unit in units]
    span = f"{min(own):.3g}" if min(own) == max(own) else f"{min(own):.3g} to {max(own):.3g}"
    return f"{meta.norm} {radius} normalised: {span}/255"
