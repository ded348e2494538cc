"""What a reader is told of cells that failed a soundness check."""

from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.table import Table, above_ceiling


def doubt_lines(table: Table) -> list[str]:
    """One line for each choice of soundness checks that failed, with the cells that failed them.

    One too for each cell whose attack lacks parts that failed: with them its figure can only be lower. And one for all
    cells whose attack did less than a copy of ID images would.
    """
    failed: dict[tuple[str, ...], list[CellMeta]] = {}
    for section in table.sections:
        for row in section.rows:
            if row.failed:
                failed.setdefault(row.failed, []).append(row.meta)
    return [
        f"! not to be believed and not ranked, since {', '.join(checks)} failed: {'; '.join(map(_name, metas))}; "
        "`bench diagnose` says what to try."
        for checks, metas in failed.items()
    ] + [*(_lacking(meta) for meta in table.metas if meta.failed_needs), *_above_ceiling(table)]


def _above_ceiling(table: Table) -> list[str]:
    metas = [meta for meta in table.metas if above_ceiling(meta)]
    if not metas:
        return []
    return [
        "! not to be believed and not ranked, since the AUROC lies above its ceiling, which an attack reaches that "
        f"turns OOD images into ID images: {'; '.join(map(_name, metas))}; take a stronger attack or a smaller radius."
    ]


def _lacking(meta: CellMeta) -> str:
    reasons = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in meta.failed_needs.items())
    return (
        f"! not to be believed and not ranked, since parts of the attack failed and the figure may be too high: "
        f"{_name(meta)} lacks {', '.join(meta.failed_needs)} ({reasons}); mend that and run it again."
    )


def _name(meta: CellMeta) -> str:
    radius = f" {meta.norm} {numbers.radius(meta.eps)}" if meta.eps is not None else ""
    return f"{meta.detector} under {meta.threat}{radius}"
