"""`bench list`: the cards that are there."""

import os
from enum import StrEnum
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.cards import detector_names, threat_names
from bench.cards.base import Card
from bench.cards.catalog import Catalog, Kind
from bench.cards.detector import DetectorCard
from bench.cards.network import NetworkCard
from bench.cards.threat import ThreatCard
from bench.cards.track import TrackCard
from bench.cli.common import WorkspaceOption, catalog, console, say
from bench.cli.rows import print_stacked, table_width
from bench.errors import CardError

EXAMPLES = ("bench list", "bench list detectors", "bench list threats")

PIPED_WIDTH = 2000
"""Columns where the output goes to a file or program: nothing is cut that a reader could search for."""

LAST_COLUMN = 40
"""Columns that the last column needs beside the others; with fewer it stands below them."""

THIRD = {Kind.DETECTOR: "tracks", Kind.THREAT: "norm: eps", Kind.TRACK: "shape: OOD sets", Kind.NETWORK: "track"}
"""Title of the third column."""


class What(StrEnum):
    """Which cards to list."""

    ALL = "all"
    DETECTORS = "detectors"
    THREATS = "threats"
    TRACKS = "tracks"
    NETWORKS = "networks"


def command(
    what: Annotated[What, typer.Argument(help="Which cards.")] = What.ALL,
    workspace: WorkspaceOption = None,
) -> None:
    """List the detectors, threats, tracks and networks that can be named, and where each comes from."""
    found = catalog(workspace)
    out = console()
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = PIPED_WIDTH
    for sentence in found.passed_over():
        say(f"notice: {sentence}")
    for kind in Kind:
        if what in (What.ALL, f"{kind}s"):
            rows, broken = _rows(found, kind)
            _print_rows(out, kind, rows)
            for sentences in broken:
                out.print(sentences, soft_wrap=True)
            if forms := {Kind.DETECTOR: detector_names.forms(), Kind.THREAT: threat_names.forms()}.get(kind):
                out.print(f"Named without a card: {forms}.\n", soft_wrap=True)


def _rows(found: Catalog, kind: Kind) -> tuple[list[tuple[str, str, str, str]], list[str]]:
    """One row a card and a variant, and the sentences of the cards that are broken."""
    rows, broken = [], []
    for name in found.names(kind):
        origin = found.origin(kind, name)
        try:
            card = found.read(kind, found.where(kind, name))
        except CardError as error:
            rows.append((name, origin, "broken", "see below"))
            broken.append(str(error))
            continue
        rows.append((name, origin, _brief(card), _summary(card)))
        if isinstance(card, DetectorCard):
            for variant, spec in card.variants.items():
                tracks = _brief(card) if card.on_network else ", ".join(spec.tracks or card.tracks)
                rows.append((f"  {name}.{variant}", origin, tracks, spec.summary))
    return rows, broken


def _print_rows(out: Console, kind: Kind, rows: list[tuple[str, str, str, str]]) -> None:
    """One line a row, with the last column cut; where too little of it would be left, it stands below in full."""
    header = ("name", "origin", THIRD[kind], "what it is")
    sizes = [max(len(row[column]) for row in (header, *rows)) for column in range(4)]
    if table_width([*sizes[:3], min(LAST_COLUMN, sizes[3])]) > out.width:
        out.print(f"{kind}s\n")
        print_stacked(out, header, rows, lead=3 if table_width(sizes[:3]) <= out.width else 2)
        return
    table = Table(title=f"{kind}s", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in header[:3]:
        table.add_column(title, no_wrap=True)
    table.add_column(header[3])  # the one column that gives way
    for row in rows:
        table.add_row(*map(Text, row[:3]), Text(row[3], no_wrap=True, overflow="ellipsis"))
    out.print(table)


def _brief(card: Card) -> str:
    if isinstance(card, DetectorCard):
        return "any network" if card.on_network else ", ".join(card.tracks) or "none"
    if isinstance(card, NetworkCard):
        return card.track
    if isinstance(card, ThreatCard):
        return f"{card.norm}: {', '.join(f'{eps:.4g}' for eps in card.eps)}" if card.norm else "no budget"
    assert isinstance(card, TrackCard)
    return f"{'x'.join(map(str, card.shape))}: {', '.join(card.ood)}"


def _summary(card: Card) -> str:
    assert isinstance(card, DetectorCard | ThreatCard | TrackCard | NetworkCard)
    return card.summary
