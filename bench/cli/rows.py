"""Rows for a terminal that is too narrow for them: a name is never broken, and nothing is left out."""

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

GAP = "   "
"""What stands between two columns."""


def table_width(sizes: Sequence[int]) -> int:
    """The width of a table of such columns side by side, with a blank at each edge."""
    return sum(sizes) + len(GAP) * (len(sizes) - 1) + 2


def print_stacked(
    out: Console, header: Sequence[str], rows: Sequence[Sequence[str]], *, lead: int, right: Sequence[str] = ()
) -> None:
    """The first columns of a row on one line, each of the others on lines of its own below it.

    Args:
        out: Where to print.
        header: The titles of the columns.
        rows: The words of each row.
        lead: How many columns stand side by side.
        right: Titles of the columns that are set to the right.
    """
    sizes = [max(len(row[column]) for row in (header, *rows)) for column in range(lead)]

    def side_by_side(words: Sequence[str]) -> str:
        pairs = zip(header, words, sizes, strict=False)
        return GAP.join(w.rjust(n) if title in right else w.ljust(n) for title, w, n in pairs).rstrip()

    lines = [side_by_side(header)]
    for row in rows:
        lines.append(side_by_side(row))
        for words in row[lead:]:
            lines += textwrap.wrap(
                words,
                out.width,
                initial_indent="    ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    for line in lines:
        out.print(Text(line), soft_wrap=True)
    out.print()
