"""Grids as a page shows them: every word with the figure that it is sorted by."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cards.threat import Norm, Side
from bench.report import numbers
from bench.report.blocks import blocks_below
from bench.report.captions import caption, heading, remarks
from bench.report.flat import flat_grid
from bench.report.grid import Grid
from bench.report.table import Table

_SIZES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_FIGURE = re.compile(r"\[?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)([kMG]?)!?(?:$|[ :]|, ?(?:(\d+(?:\.\d+)?)\]!?$)?)")
_ANY_RADIUS = "any"


@dataclass(frozen=True)
class Word:
    """One entry of a grid.

    Attributes:
        text: What is shown.
        order: What it is sorted by, as a number in digits; "" where there is no figure, which is sorted last.
        best: Whether it is the best of its column, where that is marked.
    """

    text: str
    order: str = ""
    best: bool = False


@dataclass(frozen=True)
class ShownGrid:
    """A grid with its title and what its figures mean.

    Attributes:
        title: Its heading; "" where the table's own heading stands above it.
        header: The columns' titles.
        numeric: For each column, whether it is sorted by figures.
        rows: The words.
        said: Sentences below.
        folded: Whether it is shown only on demand.
    """

    title: str
    header: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Word, ...], ...]
    said: tuple[str, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class ShownTable:
    """All grids of one track, side and limit, and what a reader must not overlook."""

    title: str
    grids: tuple[ShownGrid, ...]
    remarks: tuple[str, ...]


def shown_table(table: Table, radii: Mapping[Norm, float]) -> ShownTable:
    """The table, the grids below it, and the one with a row for each OOD set.

    Args:
        table: The table.
        radii: For each norm, the largest radius that is not too large, where it is known.
    """
    first = shown_grid(flat_grid(table), said=caption(table))
    below = [shown_grid(block.grid, title=block.heading, said=[block.caption]) for block in blocks_below(table)]
    if table.side is not Side.FOOL and not table.nearest:  # whose table has every figure
        every = shown_grid(flat_grid(table, full=True), title="every OOD set, with every figure", folded=True)
        below.append(every)
    return ShownTable(heading(table), (first, *below), tuple(remarks(table, radii)))


def shown_grid(grid: Grid, *, title: str = "", said: Sequence[str] = (), folded: bool = False) -> ShownGrid:
    """A grid whose columns of figures are sorted by them, the others by their words."""
    rows = [words for block in grid.blocks for words in block]
    values = [[figure_of(word) for word in words] for words in rows]
    numeric = []
    for column in range(len(grid.header)):
        known = [values[i][column] for i, words in enumerate(rows) if words[column] != numbers.ABSENT]
        numeric.append(bool(known) and all(value is not None for value in known))
    shown = tuple(
        tuple(
            Word(word, _digits(value) if is_figure else "")
            for word, value, is_figure in zip(words, found, numeric, strict=True)
        )
        for words, found in zip(rows, values, strict=True)
    )
    return ShownGrid(title, tuple(grid.header), tuple(numeric), shown, tuple(said), folded)


def figure_of(word: str) -> float | None:
    """The figure by which a word of a table is sorted; None where it holds none.

    Of "clean → attacked" it is the attacked one; an interval at the end of the scale, "[0, 0.015]" or "[0.985, 1]",
    stands for 0 or 1; "12.3k" counts in full.
    """
    if word == _ANY_RADIUS:
        return math.inf
    found = _FIGURE.match(word.rpartition("→ ")[2])
    if found is None:
        return None
    value, size, upper = found.groups()
    return float(upper) if upper is not None and float(upper) == 1.0 else float(value) * _SIZES[size]


def _digits(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return repr(value).replace("inf", "1e999")
