"""Readings of options that several commands share."""

from collections.abc import Iterable


def comma_separated(values: Iterable[str] | None) -> list[str]:
    """The parts of options that may be repeated and may hold several names between commas; each once, in order."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return list(dict.fromkeys(part for part in parts if part))
