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
    rules = [":--"] * grid.texts + ["--:"] * (len(grid.header) - grid.texts)
    lines = [f"**{escape_markdown(title)}**", "", _row(map(escape_markdown, grid.header)), _row(rules)]
    lines += [_row(map(escape_markdown, words)) for block in grid.blocks for words in block]
    return [*lines, "", *(f"- {escape_markdown(line)}" for line in said)]


def escape_markdown(text: str) -> str:
    """The text with everything escaped that Markdown, or a cell of its tables, would take as markup."""
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", printable(" ".join(text.split())))


def _row(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"
