"""Figures and tables as files beside the page."""

from collections.abc import Iterable
from pathlib import Path

from bench.evaluation.results import CellMeta
from bench.own_files import REMARK, write_own
from bench.report.html.answers import means_latex
from bench.report.html.build import Radii
from bench.report.html.drawing import Drawing, stem
from bench.report.latex import render_latex
from bench.report.markdown import render_markdown
from bench.report.means import means_csv, means_of
from bench.report.records import Findings, render_csv
from bench.report.table import Table

_REMEDY = "choose another folder for it"


def write_figures(folder: Path, drawings: Iterable[Drawing]) -> int:
    """Every figure as PNG and SVG; of two with one name the second has a number.

    Returns:
        How many figures there are.

    Raises:
        UsageError: The folder cannot be written, or a file in it is somebody else's.
    """
    names: dict[str, int] = {}
    files: dict[Path, bytes] = {}
    for drawing in drawings:
        names[drawing.name] = names.get(drawing.name, 0) + 1
        number = names[drawing.name]
        name = drawing.name if number == 1 else f"{drawing.name}-{number}"
        files[folder / f"{name}.svg"] = f"{drawing.svg()}<!-- {REMARK} -->\n".encode()
        files[folder / f"{name}.png"] = drawing.png()
    write_own(files, _REMEDY)
    return sum(names.values())


def write_tables(
    folder: Path, tables: Iterable[Table], metas: Iterable[CellMeta], radii: Radii, verdicts: Findings
) -> int:
    """Every table as Markdown and LaTeX, its means against eps as LaTeX and CSV, and all cells as one CSV file.

    Args:
        folder: Where to; made if need be.
        tables: The tables.
        metas: Their cells.
        radii: For each norm, the largest radius that is not too large for a table, where it is known.
        verdicts: What soundness checks found, by the cells' keys.

    Returns:
        How many tables there are.

    Raises:
        UsageError: The folder cannot be written, or a file in it is somebody else's.
    """
    files = {folder / "cells.csv": render_csv(metas, verdicts).encode()}
    shown = list(tables)
    for number, table in enumerate(shown, start=1):
        name = stem("table", number, table.track, table.side)
        markdown, latex = render_markdown(table, full=True, radii=radii(table)), render_latex(table, radii=radii(table))
        files[folder / f"{name}.md"] = f"{markdown}\n<!-- {REMARK} -->\n".encode()
        files[folder / f"{name}.tex"] = f"% {REMARK}\n{latex}".encode()
        if (means := means_of(table)) is not None:
            name = stem("means", number, table.track, table.side)
            files[folder / f"{name}.tex"] = f"% {REMARK}\n{means_latex(table, means)}".encode()
            files[folder / f"{name}.csv"] = means_csv(means).encode()
    write_own(files, _REMEDY)
    return len(shown)
