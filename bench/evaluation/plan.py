"""The grid of a run: which cells, with which keys, in which order. Nothing here imports torch."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from bench.cards.detector import DetectorSpec
from bench.cards.threat import Goal, Loss, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.detectors.precision import FULL_PRECISION, SearchPrecision
from bench.errors import BenchError, DataError, UsageError
from bench.evaluation.eps import EpsChoice, parse_eps
from bench.evaluation.keys import Cards, set_digests, weights_hashes
from bench.evaluation.planned import CLEAN, PlannedCell, RunOptions, needs_train
from bench.evaluation.planner import Planner
from bench.evaluation.sets import ALL_SETS, SetChoice
from bench.evaluation.spending import Evidence

__all__ = ["CLEAN", "PlannedCell", "RunOptions", "needs_train", "plan", "plan_detector"]

_ABOVE_ZERO = frozenset({"steps", "restarts", "step_size"})
"""What every attack that has it needs; other parameters may be 0 where their threat allows it."""

LeaveOut = Callable[[str, str, UsageError], bool]
"""Asked with (detector, track, why the one cannot be run on the other): True leaves it out, False raises."""


def plan(
    catalog: Cards,
    detectors: Sequence[str],
    threats: Sequence[str],
    eps: EpsChoice | str | float | Iterable[str | float] | None,
    tracks: Sequence[str],
    *,
    seed: int = 0,
    limit: int | None = None,
    side: Side | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    early_stop: bool = True,
    micro_batch: int | None = None,
    data_dir: Path | None = None,
    goal: Goal | str = Goal.MISCLASSIFY,
    loss: Loss | str | None = None,
    sets: SetChoice = ALL_SETS,
    evidence: Evidence | None = None,
    search_precision: SearchPrecision = FULL_PRECISION,
    nested: bool = False,
    leave_out: LeaveOut | None = None,
) -> list[PlannedCell]:
    """Every cell of detectors x threats x eps x tracks, each once, the clean cell of a detector before its others.

    Args:
        catalog: Where names become cards.
        detectors: Names; `NAME.VARIANT` names a variant.
        threats: Names.
        eps: Radii as `bench.evaluation.eps` reads them; None takes each card's own.
        tracks: Names.
        seed: Of the attacks' random numbers.
        limit: The most images of a set; None takes each track's own limit.
        side: The images that are attacked; None takes each threat's own first side.
        overrides: Parameters such as steps, restarts and step_size; entries that are None are left out.
        early_stop: Stop an image's attack once no rank can change any more.
        micro_batch: The batch shape of scores and gradients; None takes the detector's own.
        data_dir: Where data files lie; None for the default.
        goal: What side `fool` has to reach.
        loss: What directs gradients there; None takes the joint one where acceptance is asked for, else the margin.
        sets: The OOD sets that the run is about.
        evidence: On what evidence images get less than the full budget; None spends it on all.
        search_precision: How the first half of an attack's steps is made cheaper.
        nested: Let attacks on the score at several radii go on from the best points of the next smaller one.
        leave_out: Asked of every detector that cannot be run on a track; None leaves out none.

    Raises:
        UsageError: A wrong name, radius, limit or parameter, a detector that cannot be run (no settings for a track,
            missing weights, weights of another sha256) and is not left out, or nothing is left to run.
        NotApplicableError: None of the threats can be run on any of the detectors; where some can, the other cells are
            planned as refused.
    """
    for what, names in (("detector", detectors), ("threat", threats), ("track", tracks)):
        if not names:
            raise UsageError(f"no {what} was given; `bench list {what}s` shows those there are.")
    cards = [catalog.threat(name) for name in dict.fromkeys(threats)]
    choice = eps if isinstance(eps, EpsChoice) else parse_eps(eps)
    choice.check(cards)
    options = RunOptions(
        seed,
        limit,
        as_side(side),
        _given(overrides),
        early_stop,
        micro_batch,
        data_dir,
        as_choice(Goal, goal, "goal"),
        None if loss is None else as_choice(Loss, loss, "loss"),
        sets,
        evidence,
        search_precision,
        nested,
    )
    check_options(options, cards)
    chosen = [catalog.track(name) for name in dict.fromkeys(tracks)]
    sets.check(chosen)
    planned: list[PlannedCell] = []
    for track in chosen:
        usable = list(_usable(catalog, dict.fromkeys(detectors), track.name, leave_out))
        if not usable:
            continue
        specs = [spec for spec, _ in usable]
        digests = digests_for(catalog, specs, cards, sets.of(track), data_dir)
        for spec, weights in usable:
            planned += plan_detector(
                catalog, spec, track, threats=cards, choice=choice, options=options, digests=digests, weights=weights
            )
    if not planned:
        raise UsageError(
            f"none of the detectors asked for can be run on {' or '.join(dict.fromkeys(tracks))}; name one that has "
            "settings and weights for it, as `bench show NAME` tells."
        )
    attacks = [cell for cell in planned if cell.attacks]
    if attacks and CLEAN not in threats and all(cell.refused is not None for cell in attacks):
        assert attacks[0].refused is not None
        raise attacks[0].refused
    return list({cell.key: cell for cell in planned}.values())


def _usable(
    catalog: Cards, names: Iterable[str], track: str, leave_out: LeaveOut | None
) -> Iterator[tuple[DetectorSpec, tuple[str, ...]]]:
    """The settings on a track, and the sha256 of the weights, of every detector that can be run on it."""
    for name in names:
        try:
            spec = catalog.detector_spec(name, track)
            weights = weights_hashes(spec, catalog)
        except UsageError as error:
            if leave_out is None or not leave_out(name, track, error):
                raise
            continue
        yield spec, weights


def plan_detector(
    catalog: Cards,
    spec: DetectorSpec,
    track: TrackCard,
    *,
    threats: Iterable[ThreatCard],
    choice: EpsChoice,
    options: RunOptions,
    digests: dict[str, str],
    weights: tuple[str, ...] | None = None,
) -> list[PlannedCell]:
    """The cells of one detector on one track, its clean cell first.

    Args:
        catalog: Where the clean card and the weights are found.
        spec: The detector's settings on the track.
        track: The track's card.
        threats: The threats' cards.
        choice: The radii.
        options: What all cells share.
        digests: Content digests of the track's sets; that of the training set counts only where it is needed.
        weights: The sha256 of the weights where they are no files; None reads the files.
    """
    weights = weights_hashes(spec, catalog) if weights is None else weights
    planner = Planner(catalog, track, choice, options, digests)
    clean = planner.clean(spec, weights)
    rest = [cell for card in threats if card.name != CLEAN for cell in planner.sweep(spec, weights, card)]
    return [clean, *rest]


def digests_for(
    catalog: Cards,
    specs: Iterable[DetectorSpec],
    threats: Iterable[ThreatCard],
    track: TrackCard,
    data_dir: Path | None,
) -> dict[str, str]:
    """The content digests of a track's sets, that of the training set where a detector or a source needs it.

    Args:
        catalog: Where the cards of sources are found, and the modules of a user's own sets.
        specs: The detectors' settings on the track.
        threats: The threats' cards.
        track: The track with the OOD sets that the run is about.
        data_dir: Where data files lie; None for the default.

    Raises:
        DataError: Sets whose card fixes no digest are missing or cannot be used; all of them are named.
    """
    own = any(map(needs_train, specs))
    digests = set_digests(track, data_dir, workspace=catalog.workspace, train=own)
    if not own and _sources_need_train(catalog, threats, track):
        with suppress(DataError):  # without it, that source is left out
            digests = set_digests(track, data_dir, workspace=catalog.workspace, train=True)
    return digests


def _sources_need_train(catalog: Cards, threats: Iterable[ThreatCard], track: TrackCard) -> bool:
    """Whether a detector from which some transfer attack takes its images depends on the training images."""
    cards = list(threats)
    members = dict.fromkeys(name for card in cards for names in card.members.values() for name in names)
    attacks = [*cards, *map(catalog.threat, members)]
    for name in {name for card in attacks if card.source is not None for name in card.source.detectors}:
        with suppress(BenchError):  # it is no source here
            if needs_train(catalog.detector_spec(name, track.name)):
                return True
    return False


def as_side(side: Side | str | None) -> Side | None:
    """A side by its name; None stays None.

    Raises:
        UsageError: There is no such side.
    """
    return None if side is None else as_choice(Side, side, "side")


_E = TypeVar("_E", bound=StrEnum)


def as_choice(kind: type[_E], value: str, what: str) -> _E:
    """One of a few words.

    Raises:
        UsageError: It is none of them.
    """
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{what} is '{value}'; allowed are {', '.join(kind)}.") from None


def _given(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (overrides or {}).items() if value is not None}


def check_options(options: RunOptions, threats: Sequence[ThreatCard]) -> None:
    """Raise unless the options can be used with these threats.

    Raises:
        UsageError: A limit, batch shape, side or parameter that is not allowed.
    """
    if options.limit is not None and options.limit < 2:
        raise UsageError(f"limit is {options.limit}; allowed is 2 or more images of each set.")
    if options.micro_batch is not None and options.micro_batch < 1:
        raise UsageError(f"micro_batch is {options.micro_batch}; allowed is 1 or more images.")
    for card in threats:
        if options.side is not None and options.side not in card.sides and card.name != CLEAN:
            allowed = " or ".join(card.sides)
            raise UsageError(f"threat '{card.name}' cannot attack the side '{options.side}'; its sides: {allowed}.")
    for name, value in (options.overrides or {}).items():
        if name in _ABOVE_ZERO and isinstance(value, int | float) and not 0 < value < math.inf:
            raise UsageError(f"{name} is {value}; allowed is a finite number above 0.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name} is {value}; allowed is a finite number.")
        if not any(name in card.params for card in threats):
            listed = ", ".join(sorted({param for card in threats for param in card.params})) or "none"
            raise UsageError(f"no chosen threat has the parameter '{name}'; their parameters: {listed}.")
