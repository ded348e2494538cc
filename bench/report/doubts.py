"""What a reader is told of cells that failed a soundness check."""

from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.table import Table


def doubt_lines(table: Table) -> list[str]:
    """One line for each choice of soundness checks that failed, with the cells that failed them."""
    failed: dict[tuple[str, ...], list[CellMeta]] = {}
    for section in table.sections:
        for row in section.rows:
            if row.failed:
                failed.setdefault(row.failed, []).append(row.meta)
    return [
        f"! not to be believed and not ranked, since {', '.join(checks)} failed: {'; '.join(map(_name, metas))}; "
        "`bench diagnose` says what to try."
        for checks, metas in failed.items()
    ]


def _name(meta: CellMeta) -> str:
    radius = f" {meta.norm} {numbers.radius(meta.eps)}" if meta.eps is not None else ""
    return f"{meta.detector} under {meta.threat}{radius}"
