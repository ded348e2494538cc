"""Readings of options that several commands share."""

from collections.abc import Iterable
from typing import Annotated

import typer

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
