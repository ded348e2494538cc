"""Readings of options that several commands share."""

from collections.abc import Iterable
from typing import Annotated

import typer

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.cards.detector_names import of_logits
from bench.errors import UsageError

OodOption = Annotated[
    list[str] | None, typer.Option("--ood", help="Only these OOD sets of the track; repeatable, or with commas.")
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option("--without", help="All OOD sets but these; the mean is then that of the others, and says so."),
]


def set_names(values: Iterable[str] | None) -> list[str] | None:
    """The same for options that may be left out: None where they are, an empty list where nothing is in them."""
    return None if values is None else comma_separated(values)


def comma_separated(values: Iterable[str] | None) -> list[str]:
    """The parts of options that may be repeated and may hold several names between commas; each once, in order."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def named_spec(found: Catalog, network: str | None, detector: str | None, track: str | None) -> DetectorSpec:
    """What a command is about: a network on the track of its card, or a detector on a track.

    Raises:
        UsageError: Both or neither are named, the track is missing or another one, or there is no such card.
    """
    if (network is None) == (detector is None):
        raise UsageError("name either a network by --network, or a detector by --detector.")
    if network is not None:
        card = found.network(network)
        if track not in (None, card.track):
            raise UsageError(f"network '{network}' is for the track '{card.track}', not '{track}'; leave --track out.")
        return of_logits(card)
    if track is None:
        raise UsageError(f"detector '{detector}' needs a track; name it by --track.")
    return found.detector_spec(str(detector), track)
