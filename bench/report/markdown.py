"""A table as GitHub-flavoured Markdown."""

import re
from collections.abc import Iterable, Mapping

from bench.cards.threat import Norm
from bench.report.blocks import blocks_below
from bench.report.captions import caption, heading, remarks
from bench.report.flat import flat_grid
from bench.report.grid import Grid
from bench.report.table import Table
from bench.report.words import printable


def render_markdown(table: Table, *, full: bool = False, radii: Mapping[Norm, float] | None = None) -> str:
    """Heading, table, and what the figures mean.

    Args:
        table: The table.
        full: A row for each set of each cell.
        radii: For each norm, the largest radius that is not too large, where it is known.
    """
    grid = flat_grid(table, full=full)
    lines = _block(heading(table), grid, [*caption(table, full=full), *remarks(table, radii)])
    for block in blocks_below(table):
        lines += ["", *_block(block.heading, block.grid, [block.caption])]
    return "\n".join(lines) + "\n"


def _block(title: str, grid: Grid, said: Iterable[str]) -> list[str]:
    lines = [f"**{escape_markdown(title)}**", "", *markdown_grid(grid)]
    return [*lines, "", *(f"- {escape_markdown(line)}" for line in said)]


def markdown_grid(grid: Grid, texts: int | None = None) -> list[str]:
    """The lines of a table.

    Args:
        grid: Its words.
        texts: How many of the first columns are set to the left; None takes the grid's own number.
    """
    left = grid.texts if texts is None else texts
    rules = [":--"] * left + ["--:"] * (len(grid.header) - left)
    lines = [_row(map(escape_markdown, grid.header)), _row(rules)]
    return [*lines, *(_row(map(escape_markdown, words)) for block in grid.blocks for words in block)]


def escape_markdown(text: str) -> str:
    """The text with everything escaped that Markdown, or a cell of its tables, would take as markup."""
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", printable(" ".join(text.split())))


def _row(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"
