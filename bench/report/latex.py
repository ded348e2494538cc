"""A table as LaTeX with booktabs rules."""

from collections.abc import Iterable, Mapping

from bench.cards.threat import Norm
from bench.report.blocks import blocks_below
from bench.report.captions import caption, heading, remarks
from bench.report.flat import flat_grid
from bench.report.grid import Grid
from bench.report.table import Table
from bench.report.words import printable

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "→": r"$\to$",
}


def render_latex(table: Table, *, full: bool = False, radii: Mapping[Norm, float] | None = None) -> str:
    r"""`table` environments that need `\usepackage{booktabs}` and nothing else.

    Args:
        table: The table.
        full: A row for each set of each cell.
        radii: For each norm, the largest radius that is not too large, where it is known.
    """
    lines = [f"% {printable(' '.join(line.split()))}" for line in remarks(table, radii)]
    lines += _environment(flat_grid(table, full=full), [heading(table), *caption(table, full=full)])
    for block in blocks_below(table):
        lines += _environment(block.grid, [block.heading, block.caption])
    return "\n".join(lines) + "\n"


def latex_table(grid: Grid, sentences: Iterable[str]) -> str:
    """One `table` environment.

    Args:
        grid: Its rows.
        sentences: Its caption.
    """
    return "\n".join(_environment(grid, sentences)) + "\n"


def _environment(grid: Grid, sentences: Iterable[str]) -> list[str]:
    alignment = "l" * grid.texts + "r" * (len(grid.header) - grid.texts)
    said = ". ".join(escape_latex(line.rstrip(".")) for line in sentences)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{said}.}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _row(grid.header),
    ]
    for block in grid.blocks:
        lines += [r"\midrule", *map(_row, block)]
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def escape_latex(text: str) -> str:
    """The text with LaTeX's special characters, and the arrows and signs of a table, written as commands."""
    return "".join(_ESCAPES.get(letter, letter) for letter in printable(" ".join(text.split())))


def _row(words: Iterable[str]) -> str:
    return f"{' & '.join(map(escape_latex, words))} \\\\"
