"""`bench list`: the cards that are there."""

from enum import StrEnum
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from bench.catalog import Catalog, Kind
from bench.cli.common import WorkspaceOption, catalog, console
from bench.errors import CardError
from bench.specs import Card, DetectorCard, ThreatCard, TrackCard

EXAMPLES = ("bench list", "bench list detectors", "bench list threats")


class What(StrEnum):
    """Which cards to list."""

    ALL = "all"
    DETECTORS = "detectors"
    THREATS = "threats"
    TRACKS = "tracks"


def command(
    what: Annotated[What, typer.Argument(help="Which cards.")] = What.ALL,
    workspace: WorkspaceOption = None,
) -> None:
    """List the detectors, threats and tracks that can be named, and where each comes from."""
    found = catalog(workspace)
    out = console()
    for kind in Kind:
        if what in (What.ALL, f"{kind}s"):
            out.print(_table(found, kind))


def _table(found: Catalog, kind: Kind) -> Table:
    table = Table(title=f"{kind}s", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column({"detector": "tracks", "threat": "norm: eps", "track": "shape: OOD sets"}[kind.value])
    table.add_column("what it is")
    table.add_column("origin", no_wrap=True)
    for name in found.names(kind):
        origin = found.origin(kind, name)
        try:
            card = found.read(kind, found.where(kind, name))
        except CardError as error:
            table.add_row(Text(name), Text("broken"), Text(str(error)), origin)
            continue
        table.add_row(Text(name), Text(_brief(card)), Text(_summary(card)), origin)
        if isinstance(card, DetectorCard):
            for variant, spec in card.variants.items():
                table.add_row(Text(f"  {name}.{variant}"), "", Text(spec.summary), "")
    return table


def _brief(card: Card) -> str:
    if isinstance(card, DetectorCard):
        return ", ".join(card.tracks) or "none"
    if isinstance(card, ThreatCard):
        return f"{card.norm}: {', '.join(f'{eps:.4g}' for eps in card.eps)}" if card.norm else "no budget"
    assert isinstance(card, TrackCard)
    return f"{'x'.join(map(str, card.shape))}: {', '.join(card.ood)}"


def _summary(card: Card) -> str:
    assert isinstance(card, DetectorCard | ThreatCard | TrackCard)
    return card.summary
