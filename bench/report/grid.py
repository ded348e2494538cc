"""A flat grid of words, for formats without a width."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Words to be escaped by whoever prints them.

    Attributes:
        header: The columns' titles.
        texts: How many of the first columns hold names (set to the left); the others hold figures.
        blocks: The rows, one block a threat and radius.
    """

    header: list[str]
    texts: int
    blocks: list[list[list[str]]]
