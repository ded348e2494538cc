"""`bench list`: the cards that are there."""

import os
from enum import StrEnum
from typing import Annotated

import typer
from rich import box
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
from bench.errors import CardError

EXAMPLES = ("bench list", "bench list detectors", "bench list threats")

PIPED_WIDTH = 2000
"""Columns where the output goes to a file or program: nothing is cut that a reader could search for."""

THIRD_COLUMN = 28
"""Columns that the third column keeps while the last one is cut."""


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
            out.print(_table(kind, rows))
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


def _table(kind: Kind, rows: list[tuple[str, str, str, str]]) -> Table:
    """One line a row: a narrow terminal cuts the last column first, then the third, and never a name."""
    third = {"detector": "tracks", "threat": "norm: eps", "track": "shape: OOD sets", "network": "track"}[kind]
    table = Table(title=f"{kind}s", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("origin", no_wrap=True)
    table.add_column(third, min_width=min(THIRD_COLUMN, max((len(row[2]) for row in rows), default=0)))
    table.add_column("what it is")
    for name, origin, brief, summary in rows:
        # Columns that may wrap are the ones that shrink; texts that may not are cut there instead.
        cut = [Text(text, no_wrap=True, overflow="ellipsis") for text in (brief, summary)]
        table.add_row(Text(name), Text(origin), *cut)
    return table


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
