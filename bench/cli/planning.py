"""Which cells a request of `bench run` is about, and the notices of what is left out of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.cards.standing import standing_on
from bench.cli.common import say
from bench.cli.request import RunRequest
from bench.errors import NoSettingsError, UsageError
from bench.lazy import lazily

with lazily():
    from bench.evaluation import plan, planner
    from bench.leaderboards import suite

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog
    from bench.evaluation.plan import PlannedCell


def planned_cells(request: RunRequest, cards: "Catalog") -> "list[PlannedCell]":
    """The cells of a request that are this command's, after notices of what is left out.

    Raises:
        UsageError: As `bench.evaluation.plan.plan`.
    """
    omitted = _Omitted(request.detector)
    try:
        planned = _suites(request, cards, omitted) if request.suite else _grid(request, cards, omitted)
    finally:  # they also say why nothing is left
        for sentence in omitted.sentences():
            say(f"notice: {sentence}")
    ignored = {(cell.threat.name, name): None for cell in planned if cell.clean is not None for name in cell.ignored}
    for threat, name in ignored:
        say(f"notice: threat '{threat}' has no parameter '{name}'; it runs as its card says.")
    for sentence in lacks({cell.label: cell.left_out for cell in planned if cell.refused is None}):
        say(f"notice: {sentence}")
    return request.part_of(planned)


def _grid(request: RunRequest, cards: "Catalog", leave_out: "_Omitted") -> "list[PlannedCell]":
    return plan.plan(
        cards,
        _detectors(request, cards),
        _threats(request, cards),
        request.eps or None,
        _tracks(request, cards),
        seed=request.seed,
        micro_batch=request.micro_batch,
        limit=request.limit,
        side=request.side,
        goal=request.goal,
        loss=request.loss,
        overrides=request.overrides(),
        early_stop=request.early_stop,
        data_dir=request.data_dir,
        sets=request.sets(),
        evidence=request.spending(),
        search_precision=request.search_precision(),
        nested=request.nested,
        leave_out=leave_out,
    )


def _suites(request: RunRequest, cards: "Catalog", leave_out: "_Omitted") -> "list[PlannedCell]":
    """What rows of the detectors need on each track."""
    choice = suite.Choice(request.seed, request.early_stop)
    return [
        cell
        for track in _tracks(request, cards)
        for cell in suite.suite_plan(
            cards, _detectors(request, cards), cards.track(track), choice, request.data_dir, leave_out
        )
    ]


def _tracks(request: RunRequest, cards: "Catalog") -> list[str]:
    return cards.expand("track", ",".join(request.track))


def _detectors(request: RunRequest, cards: "Catalog") -> list[str]:
    names = cards.expand("detector", ",".join(request.detector))
    wildcards = any(part == "all" or "*" in part for part in request.detector)
    return standing_on(cards, names, request.network, wildcards=wildcards)


def _threats(request: RunRequest, cards: "Catalog") -> list[str]:
    """The threats by name; of those that only `all` or a wildcard asked for, the ones that attack the side."""
    names = cards.expand("threat", ",".join(request.threat))
    if request.side is None:
        return names
    others = [name for name in names if name not in request.threat and request.side not in cards.threat(name).sides]
    if len(others) == len(names):
        return names  # which is refused, with the sides that there are
    if others:
        say(f"notice: left out, since they do not attack the side {request.side}: {', '.join(others)}.")
    return [name for name in names if name not in others]


def lacks(absent: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What cells lack, each reason once with the first cell of it.

    Args:
        absent: By a cell's label, what it lacks and why.
    """
    by_reason: dict[str, list[str]] = {}
    for label, parts in absent.items():
        for words in planner.grouped(parts):
            by_reason.setdefault(words, []).append(label)
    for words, labels in by_reason.items():
        more = f" ({len(labels)} cells do for this reason)" if len(labels) > 1 else ""
        yield f"{labels[0]} does without {words}.{more}"


class _Omitted:
    """Detectors that cannot be run on a track and that only `all` or a wildcard asked for: left out with a notice.

    Args:
        asked: The detectors as they were asked for; one that is named must be run.
    """

    def __init__(self, asked: Sequence[str]) -> None:
        self._named = {p for p in asked if ":" in p or not (p == "all" or any(sign in p for sign in "*?["))}
        self._without_settings: dict[str, list[str]] = {}
        self._others: list[str] = []

    def __call__(self, name: str, track: str, error: UsageError) -> bool:
        """Whether a detector is left out of a track; remembers why."""
        if name in self._named:
            return False
        if isinstance(error, NoSettingsError):
            self._without_settings.setdefault(track, []).append(name)
        else:
            self._others.append(f"detector '{name}' is left out: {error}")
        return True

    def sentences(self) -> list[str]:
        """One for each track on which detectors have no settings, and one for everything else that is amiss."""
        without = [
            f"left out of track '{track}', for which they have no settings: {', '.join(names)}."
            for track, names in self._without_settings.items()
        ]
        return [*without, *self._others]
