"""Figures that papers publish, as they stand there: shown beside measured rows, never ranked with them."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from bench.cards.base import Card, Name, Paper
from bench.cards.catalog import Catalog
from bench.cards.folders import card_files
from bench.cards.reading import read_card
from bench.cards.threat import Norm
from bench.errors import CardError, UsageError
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.lines import Line, panels, sentence_lines

FOLDER = "published"
MOST_FILES = 200
"""The most files of published figures that are read from one folder."""

TITLE = "Published, not measured here"

HINT = (
    "Figures as papers print them, each under an attack, sets and networks of its own: they have no place, and compare "
    "with nothing that was measured here. `protocol-*` threats run such attacks."
)

Words = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Auroc = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Read(StrEnum):
    """How a figure came here."""

    TEXT = "text"  # read as text
    PICTURE = "picture"  # read by eye off a picture of a table: a digit may be wrong


class PublishedFigures(Card):
    """What a paper prints of one method: AUROCs with no side attacked, ID, OOD, and both."""

    method: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    clean: Auroc | None = None
    alarm: Auroc | None = None
    evade: Auroc | None = None
    both: Auroc | None = None


class PublishedTable(Card):
    """A table of a paper in one setting."""

    paper: Paper
    track: Name  # whose ID set it has
    setting: Name  # figures of one setting agree in ID set, norm and radius, and in little else
    norm: Norm = Norm.LINF
    eps: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # in [0, 1] pixel units; None: not said
    attack: Words
    sets: Words  # OOD sets, and networks where they are known
    source: Words  # where the figures were read
    read: Read
    figures: tuple[PublishedFigures, ...] = Field(min_length=1, max_length=200)


Said = Callable[[str], None]
"""Hears a sentence about each file that is left out."""


def published_tables(
    catalog: Catalog, tracks: Sequence[str] | None, setting: str | None = None, *, said: Said = lambda sentence: None
) -> tuple[PublishedTable, ...]:
    """The published tables of these tracks, by track, setting, year and title.

    Args:
        catalog: Whose workspace and built-in content are read.
        tracks: Their tracks; None takes all.
        setting: Only this setting.
        said: Hears of a file that is not what it should be, which is left out, and of a folder with too many.

    Raises:
        UsageError: No table has the setting.
    """
    every = sorted(
        _read(catalog, said), key=lambda table: (table.track, table.setting, table.paper.year, table.paper.title)
    )
    of_tracks = [table for table in every if tracks is None or table.track in tracks]
    if setting is not None and setting not in {table.setting for table in of_tracks}:
        known = ", ".join(sorted({table.setting for table in of_tracks})) or "none"
        raise UsageError(f"no published figure has the setting '{setting[:80]}'; these have: {known}.")
    return tuple(table for table in of_tracks if setting in (None, table.setting))


def _read(catalog: Catalog, said: Said) -> Iterator[PublishedTable]:
    for root in catalog.content_roots():
        folder = root / "leaderboards" / FOLDER
        files = card_files(folder) if folder.is_dir() else []
        if len(files) > MOST_FILES:
            said(f"'{folder}' holds {len(files)} files; only the first {MOST_FILES} are read.")
        for path in files[:MOST_FILES]:
            try:
                yield read_card(path, PublishedTable)
            except CardError as error:
                said(str(error))


def facts_of(table: PublishedTable) -> str:
    """In one sentence, under what the figures of a table were found."""
    eye = ", read by eye off a picture" if table.read is Read.PICTURE else ""
    ball = f"{table.norm} eps {numbers.both_scales(table.norm, table.eps) or 'not said'}"
    return f"{ball}; {table.attack}; {table.sets}; from {table.source}{eye}."


def published_grid(table: PublishedTable) -> Grid:
    """The figures of one table."""
    rows = [
        [own.method, *(numbers.share(figure) for figure in (own.clean, own.alarm, own.evade, own.both))]
        for own in table.figures
    ]
    return Grid(["method", "clean", "alarm", "evade", "both"], 1, [rows])


def published_lines(tables: Sequence[PublishedTable], width: int) -> list[Line]:
    """Published tables for a terminal, all of it dim.

    Args:
        tables: In order.
        width: Columns of the terminal.
    """
    lines = sentence_lines(TITLE, width, "caption") + sentence_lines(HINT, width, "caption")
    for table in tables:
        title = f"{table.track}, {table.setting}: {table.paper.title} ({table.paper.year})"
        lines += [Line("", "caption"), *sentence_lines(title, width, "caption")]
        lines += sentence_lines(facts_of(table), width, "caption")
        grid = published_grid(table)
        rows = [words for block in grid.blocks for words in block]
        columns = [((name,), [words[i] for words in rows]) for i, name in enumerate(grid.header)]
        lines += [Line(line.text, "caption") for line in panels(columns[:1], columns[1:], width)]
    return lines
