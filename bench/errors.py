"""The errors that a user may meet: one sentence each, with what was given, what is allowed and what to do."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Something that stops one command or one cell, said in one sentence."""


class UsageError(BenchError):
    """The request itself is wrong: the command line ends with exit code 2."""


class CardError(UsageError):
    """A card cannot be used: names file, line, field, what was given and what is allowed."""


class NoSettingsError(UsageError):
    """A detector has no settings for a track."""


class NotApplicableError(UsageError):
    """A threat that a detector gives nothing to attack: no classes to fool, or no gradient to follow."""


class DataError(UsageError):
    """A data set is missing, differs from its digest or cannot be read."""


class WeightsError(UsageError):
    """Weights are missing, differ from their sha256 or do not fit the detector."""


class InputError(BenchError):
    """Images of the wrong shape, range or type were given to a detector or a threat."""


class CellError(BenchError):
    """A cell could not be computed; the other cells go on."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in the catalog, with the nearest ones that are."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}."
    return UsageError(f"unknown {kind} '{given}': {hint} `bench list {kind}s` shows them all.")
