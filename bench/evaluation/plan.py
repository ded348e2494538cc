"""The grid of a run: which cells, with which keys, in which order. Nothing here imports torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError, UsageError
from bench.evaluation.eps import EpsChoice, parse_eps
from bench.evaluation.keys import Cards, Ingredients, code_hash, set_digests, threat_hash, track_hash, weights_hashes
from bench.specs import DetectorSpec, Goal, Loss, Side, ThreatCard, ThresholdSource, TrackCard

CLEAN = "clean"
"""The threat that attacks nothing: its cell holds the clean scores that every other cell of a detector needs."""

LeaveOut = Callable[[str, str, UsageError], bool]
"""Asked with (detector, track, why the one cannot be run on the other): True leaves it out, False raises."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell before it is computed.

    Attributes:
        params: The threat's parameters in force: the card's, and over them those of the command line.
        ignored: Parameters asked for that the threat's card does not list.
        ingredients: What the numbers depend on.
        key: Where the cell is stored.
        clean: The clean cell of the same detector, track, seed and limit; None for a clean cell.
        needs: The cells that it is made from: the members of a worst case, or the sources of a transfer attack.
    """

    detector: DetectorSpec
    threat: ThreatCard
    track: TrackCard
    params: dict[str, Any]
    ignored: tuple[str, ...]
    ingredients: Ingredients
    key: str
    clean: "PlannedCell | None"
    needs: "tuple[PlannedCell, ...]" = ()

    @property
    def label(self) -> str:
        """What a person calls the cell."""
        eps = f" {self.ingredients.norm} {self.ingredients.eps:g}" if self.ingredients.eps is not None else ""
        return f"{self.detector.name} x {self.threat.name}{eps} on {self.track.name}"

    @property
    def attacks(self) -> bool:
        """Whether this is an attack; the clean cell is none."""
        return self.clean is not None


@dataclass(frozen=True)
class RunOptions:
    """What all cells of a run share.

    Attributes:
        seed: Of the attacks' random numbers.
        limit: The most images of a set; None takes the track's own limit.
        side: The images that are attacked; None takes each threat's own first side.
        overrides: Parameters over those of the cards, for the threats whose cards list them.
        early_stop: Stop an image's attack once no rank can change any more; on side `fool` nothing stops early.
        micro_batch: The batch shape of scores and gradients; None takes the detector's own.
        data_dir: Where data files lie; None for the default.
        goal: What side `fool` has to reach.
        loss: What directs gradients there; None takes the joint one where acceptance is asked for, else the margin.
    """

    seed: int = 0
    limit: int | None = None
    side: Side | None = None
    overrides: Mapping[str, Any] | None = None
    early_stop: bool = True
    micro_batch: int | None = None
    data_dir: Path | None = None
    goal: Goal = Goal.MISCLASSIFY
    loss: Loss | None = None


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
        leave_out: Asked of every detector that cannot be run on a track; None leaves out none.

    Raises:
        UsageError: A wrong name, radius, limit or parameter, a detector that cannot be run (no settings for a track,
            missing weights, weights of another sha256) and is not left out, or nothing is left to run.
    """
    for what, names in (("detector", detectors), ("threat", threats), ("track", tracks)):
        if not names:
            raise UsageError(f"no {what} was given; `bench list {what}s` shows those there are.")
    cards = [catalog.threat(name) for name in dict.fromkeys(threats)]
    choice = eps if isinstance(eps, EpsChoice) else parse_eps(eps)
    choice.check(cards)
    options = RunOptions(
        seed, limit, as_side(side), _given(overrides), early_stop, micro_batch, data_dir,
        as_choice(Goal, goal, "goal"), None if loss is None else as_choice(Loss, loss, "loss"),
    )  # fmt: skip
    check_options(options, cards)
    planned: list[PlannedCell] = []
    for track in (catalog.track(name) for name in dict.fromkeys(tracks)):
        usable = list(_usable(catalog, dict.fromkeys(detectors), track.name, leave_out))
        if not usable:
            continue
        train = any(needs_train(spec) for spec, _ in usable)
        digests = set_digests(track, data_dir, workspace=catalog.workspace, train=train)
        for spec, weights in usable:
            planned += plan_detector(
                catalog, spec, track, threats=cards, choice=choice, options=options, digests=digests, weights=weights
            )
    if not planned:
        raise UsageError(
            f"none of the detectors asked for can be run on {' or '.join(dict.fromkeys(tracks))}; name one that has "
            "settings and weights for it, as `bench show NAME` tells."
        )
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
    planner = _Planner(catalog, track, choice, options, digests)
    clean = planner.clean(spec, weights)
    rest = [
        planner.attack(spec, weights, card, radius) for card in threats if card.name != CLEAN
        for radius in planner.radii(card)
    ]  # fmt: skip
    return [clean, *rest]


@dataclass(frozen=True)
class _Planner:
    """Cells of any detector on one track."""

    catalog: Cards
    track: TrackCard
    choice: EpsChoice
    options: RunOptions
    digests: dict[str, str]

    def radii(self, card: ThreatCard) -> tuple[float | None, ...]:
        """One cell for each of them; a threat that looks for the nearest image is run once for all radii."""
        return (None,) if card.min_norm else self.choice.of(card)

    def clean(self, spec: DetectorSpec, weights: tuple[str, ...]) -> PlannedCell:
        """The clean cell of a detector: nothing is drawn, nothing stops, and no goal is followed."""
        card, roots = self.catalog.threat(CLEAN), self.catalog.content_roots()
        ingredients = replace(
            self._base(spec, weights), source_hash=code_hash(spec, card, self.track, roots),
            threat_hash=threat_hash(card, card.params),
        )  # fmt: skip
        return self._cell(spec, card, dict(card.params), (), ingredients, None, ())

    def attack(
        self, spec: DetectorSpec, weights: tuple[str, ...], card: ThreatCard, radius: float | None,
        params: Mapping[str, Any] | None = None,
    ) -> PlannedCell:  # fmt: skip
        """One attack, with the cells that it is made from.

        Args:
            spec: The detector's settings.
            weights: The sha256 of its weights.
            card: The threat.
            radius: Of the ball; None where the threat has none.
            params: Over those of the card, in place of those of the command line.
        """
        options, overrides = self.options, self.options.overrides or {} if params is None else params
        side = options.side or card.sides[0]
        fool = side is Side.FOOL
        loss = options.loss or (Loss.JOINT if options.goal is Goal.ACCEPT else Loss.MARGIN)
        chosen = {**card.params, **{name: value for name, value in overrides.items() if name in card.params}}
        needs = (*self._members(spec, weights, card, side, radius), *self._sources(spec, card, radius))
        ingredients = replace(
            self._base(spec, weights),
            source_hash=code_hash(spec, card, self.track, self.catalog.content_roots()),
            threat_hash=threat_hash(card, chosen),
            norm=card.norm, eps=radius, side=side, seed=options.seed,
            early_stop=options.early_stop and not fool and side is not Side.BETWEEN,
            goal=options.goal if fool else None, loss=loss if fool else None,
            radii=tuple(sorted(e for e in self.choice.of(card) if e)) if card.min_norm and not radius else (),
            needs=tuple(need.key for need in needs),
        )  # fmt: skip
        ignored = tuple(name for name in overrides if name not in card.params)
        return self._cell(spec, card, chosen, ignored, ingredients, self.clean(spec, weights), needs)

    def _base(self, spec: DetectorSpec, weights: tuple[str, ...]) -> Ingredients:
        used = {name: digest for name, digest in self.digests.items() if name != "train" or needs_train(spec)}
        limit, micro_batch = self.options.limit, self.options.micro_batch
        return Ingredients(
            detector_hash=spec.content_hash(), weights_sha256=weights,
            source_hash="", threat_hash="", track_hash=track_hash(self.track), set_digests=used,
            norm=None, eps=None, side=Side.EVADE, seed=0,
            limit=self.track.default_limit if limit is None else limit,
            micro_batch=spec.micro_batch if micro_batch is None else micro_batch, early_stop=True,
        )  # fmt: skip

    def _cell(
        self, spec: DetectorSpec, card: ThreatCard, params: dict[str, Any], ignored: tuple[str, ...],
        ingredients: Ingredients, clean: PlannedCell | None, needs: tuple[PlannedCell, ...],
    ) -> PlannedCell:  # fmt: skip
        return PlannedCell(spec, card, self.track, params, ignored, ingredients, ingredients.key(), clean, needs)

    def _members(
        self, spec: DetectorSpec, weights: tuple[str, ...], card: ThreatCard, side: Side, radius: float | None
    ) -> list[PlannedCell]:
        """The cells of which the worst case is taken, as their cards say: a suite's budget is fixed."""
        if not card.members:
            return []
        # Radii of those that look for the nearest image are none of their own here: this cell's radius counts.
        own = replace(self, choice=EpsChoice({card.norm: (radius,)} if card.norm and radius else {}))
        own = replace(own, options=replace(self.options, side=side))
        threats = [self.catalog.threat(name) for name in card.members[side]]
        return [own.attack(spec, weights, t, None if t.min_norm else radius, params={}) for t in threats]

    def _sources(self, spec: DetectorSpec, card: ThreatCard, radius: float | None) -> list[PlannedCell]:
        """Attacks on other detectors, without early stop: an image that stopped just past the line transfers badly."""
        source = card.source
        if source is None:
            return []
        threat = self.catalog.threat(source.threat)
        side = self.options.side or card.sides[0]
        crafting = replace(self, options=replace(self.options, side=side, early_stop=False, micro_batch=None))
        cells = []
        for name in source.detectors:
            if name.partition(".")[0] == spec.name.partition(".")[0]:
                continue
            try:
                other = self.catalog.detector_spec(name, self.track.name)
                weights = weights_hashes(other, self.catalog)
            except BenchError:  # without settings or weights here: the others serve
                continue
            if "train" in self.digests or not needs_train(other):
                cells.append(crafting.attack(other, weights, threat, radius, params=source.params))
        if not cells:
            raise UsageError(
                f"threat '{card.name}' takes its images from {', '.join(source.detectors)}, and none of them but "
                f"'{spec.name}' itself can be run on {self.track.name}; train one, or name others in the card."
            )
        return cells


def needs_train(spec: DetectorSpec) -> bool:
    """Whether a detector's figures depend on the training images themselves: its thresholds or its fit, when loaded."""
    return spec.fit_when_loaded or spec.thresholds.source is ThresholdSource.TRAIN


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
        if isinstance(value, int | float) and not 0 < value < float("inf"):
            raise UsageError(f"{name} is {value}; allowed is a finite number above 0.")
        if not any(name in card.params for card in threats):
            listed = ", ".join(sorted({param for card in threats for param in card.params})) or "none"
            raise UsageError(f"no chosen threat has the parameter '{name}'; their parameters: {listed}.")
