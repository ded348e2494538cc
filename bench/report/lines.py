"""Lines of a terminal: columns set side by side, and sentences broken to its width."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "
"""What stands between two columns, and before the second line of a sentence."""


@dataclass(frozen=True)
class Line:
    """One line, and what kind of thing it says: "heading", "caption", "header", "section", "row" or "remark"."""

    text: str
    kind: str


def sentence_lines(sentence: str, width: int, kind: str) -> list[Line]:
    """A sentence in as many lines as it takes."""
    parts = textwrap.wrap(sentence, width, subsequent_indent=GAP, break_long_words=False, break_on_hyphens=False)
    return [Line(part, kind) for part in parts]


def set_line(words: Sequence[str], sizes: Sequence[int], left: Sequence[bool]) -> str:
    """One row: names to the left of their columns, figures to the right."""
    padded = [w.ljust(n) if names else w.rjust(n) for w, n, names in zip(words, sizes, left, strict=True)]
    return GAP.join(padded).rstrip()


def header_lines(headers: Sequence[tuple[str, ...]], sizes: Sequence[int], left: Sequence[bool]) -> list[Line]:
    """Titles of one or more lines, all of them ending at the rows."""
    height = max(map(len, headers))
    whole = [("",) * (height - len(header)) + header for header in headers]
    return [Line(set_line([header[i] for header in whole], sizes, left), "header") for i in range(height)]


def total_width(sizes: Sequence[int]) -> int:
    """The width of a row."""
    return sum(sizes) + len(GAP) * (len(sizes) - 1)
