"""What a run says of cells that could not be computed: what failed, and what is only left out."""

import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.cards.detector_names import split_network
from bench.cli.common import say, settings
from bench.cli.request import RunRequest
from bench.errors import NotApplicableError, NotFittableError

if TYPE_CHECKING:
    from bench.evaluation.engine import CellFailure


def may_be_left_out(request: RunRequest, failure: "CellFailure") -> bool:
    """Whether something does not apply that only `all` or a wildcard asked for: the detector, or the threat on it."""
    if not isinstance(failure.error, NotApplicableError):
        return False
    asked = {split_network(name)[0] for name in request.detector}
    named = split_network(failure.planned.detector.name)[0] in asked
    if isinstance(failure.error, NotFittableError):  # whatever the threat
        return not named
    return not (named and failure.planned.threat.name in request.threat)


def say_left_out(failures: "Sequence[CellFailure]") -> None:
    """Each reason once: all detectors that cannot be fitted for it, or the first cell whose threat does not apply."""
    unfit: dict[tuple[str, str], dict[str, None]] = {}
    for failure in failures:
        if isinstance(failure.error, NotFittableError):
            place = failure.planned.track.name, str(failure.error)
            unfit.setdefault(place, {})[failure.planned.detector.name] = None
    for (track, reason), names in unfit.items():
        say(f"notice: left out of track '{track}': {', '.join(names)}: {reason}")
    others = [failure for failure in failures if not isinstance(failure.error, NotFittableError)]
    _say_each_reason(others, "notice: left out: ", "are left out")


def say_failures(failures: "Iterable[CellFailure]") -> None:
    """Each reason once, with the first cell that failed for it."""
    _say_each_reason(failures, "error: ", "failed")


def _say_each_reason(failures: "Iterable[CellFailure]", before: str, ended: str) -> None:
    by_reason: dict[str, list[CellFailure]] = {}
    for failure in failures:
        by_reason.setdefault(str(failure.error), []).append(failure)
    for stopped in by_reason.values():
        more = f" ({len(stopped)} cells {ended} for this reason)" if len(stopped) > 1 else ""
        say(f"{before}{stopped[0].sentence}{more}")
        if settings.debug and stopped[0].error.__cause__ is not None:
            say("".join(traceback.format_exception(stopped[0].error.__cause__)))
