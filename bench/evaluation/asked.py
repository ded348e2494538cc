"""What `bench.evaluate` is asked for: detectors and threats by name or as objects, and the cells of each detector."""

import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bench.cards.catalog import SCORES, Catalog, Kind
from bench.cards.detector import DetectorSpec
from bench.cards.standing import standing_on
from bench.cards.threat import ThreatCard
from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.errors import DataError, UsageError
from bench.evaluation.eps import EpsChoice
from bench.evaluation.loaded import images_of, on_network, score_spec
from bench.evaluation.objects import as_detector, check_detector_kind, check_kinds, object_spec, threat_card
from bench.evaluation.plan import RunOptions, check_options, digests_for, needs_train, plan_detector
from bench.evaluation.planned import PlannedCell
from bench.evaluation.sets import unusable_sets
from bench.evaluation.workbench import Given
from bench.threat_models.base import Threat

AsDetector = str | nn.Module | Callable[..., Any]
AsThreat = str | ThreatCard | Threat


@dataclass(frozen=True)
class AskedDetector:
    """One detector, as it was given and as the settings that it has or that stand for it.

    Attributes:
        spec: Its settings on the track.
        given: The object; None where a name was given.
        network: The module that the score stands on; None for that of the spec.
        named: Whether its own name was given, or an object: it is never left out.
    """

    spec: DetectorSpec
    given: nn.Module | Callable[..., Any] | None = None
    network: nn.Module | None = None
    named: bool = True

    @property
    def by_name(self) -> bool:
        """Whether nothing of it is an object, so that a stored cell can be told to be its own."""
        return self.given is None and self.network is None


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated.

    Attributes:
        catalog: Where cards are found.
        detectors: In the order asked.
        cards: Of the threats, or what stands for them.
        attackers: Those that were given as objects, by the names of their cards.
        track: As it was given.
        card: Its card.
        choice: The radii.
    """

    catalog: Catalog
    detectors: tuple[AskedDetector, ...]
    cards: tuple[ThreatCard, ...]
    attackers: dict[str, Threat]
    track: str | TrackCard | Track
    card: TrackCard
    choice: EpsChoice

    @property
    def single(self) -> bool:
        """Whether it is one detector and one threat."""
        return len(self.detectors) == len(self.cards) == 1

    def planned(self, options: RunOptions) -> list[tuple[AskedDetector, list[PlannedCell]]]:
        """The cells of every detector, its clean one first.

        Raises:
            UsageError: The request does not fit together, or data or weights are missing.
        """
        check_options(options, self.cards)
        options.sets.check([self.card])
        digests = self._digests(options)
        plans = []
        for detector in self.detectors:
            try:
                plans.append((detector, self._cells(detector, options, digests)))
            except UsageError as error:
                if detector.named:
                    raise
                warnings.warn(f"detector '{detector.spec.name}' is left out: {error}", stacklevel=4)
        if not plans:
            raise UsageError(f"none of the detectors asked for can be run on {self.card.name}; name one that can.")
        return plans

    def given(self, detector: AskedDetector, device: str, data_dir: Path | None) -> Given:
        """What was given as an object for one detector's cells, by the names in them."""
        detectors = {}
        if detector.network is not None:
            images = images_of(self.track, self.card, data_dir, self.catalog)
            detectors[detector.spec.name] = on_network(detector.spec, detector.network, images, self.catalog, device)
        elif detector.given is not None:
            detectors[detector.spec.name] = as_detector(detector.given, self.card, device)
        return Given(detectors, self.attackers, {self.card.name: self.track} if isinstance(self.track, Track) else {})

    def _cells(self, detector: AskedDetector, options: RunOptions, digests: dict[str, str]) -> list[PlannedCell]:
        # What is given as an object has no content that could be hashed for certain: a name used once stands for it.
        once = (uuid.uuid4().hex,)
        by_name = [card for card in self.cards if card.name not in self.attackers]
        groups = [(by_name, None if detector.by_name else once)] if by_name else []
        if objects := [card for card in self.cards if card.name in self.attackers]:
            groups.append((objects, once))
        cells: list[PlannedCell] = []
        for cards, weights in groups:
            own = plan_detector(
                self.catalog,
                detector.spec,
                self.card,
                threats=cards,
                choice=self.choice,
                options=options,
                digests=digests,
                weights=weights,
            )
            cells += own if not cells else [cell for cell in own if cell.attacks]
        return cells

    def _digests(self, options: RunOptions) -> dict[str, str]:
        card, specs = options.sets.of(self.card), [detector.spec for detector in self.detectors]
        if isinstance(self.track, Track):
            return _own_digests(self.track, card, train=any(map(needs_train, specs)))
        return digests_for(self.catalog, specs, self.cards, card, options.data_dir)


def as_asked(
    detector: AsDetector | Sequence[AsDetector],
    threat: AsThreat | Sequence[AsThreat],
    track: str | TrackCard | Track,
    network: str | nn.Module | None,
    choice: EpsChoice,
    catalog: Catalog,
) -> Asked:
    """The request with its cards.

    Raises:
        UsageError: Something is of a kind that cannot be evaluated, or a name or radius is wrong.
    """
    detectors, threats = _several(detector, "detector"), _several(threat, "threat")
    for one in threats:
        check_kinds(one, track)
    card = track.card if isinstance(track, Track) else track if isinstance(track, TrackCard) else catalog.track(track)
    cards, attackers = _threats(threats, choice, catalog)
    choice.check(cards)
    return Asked(
        catalog, tuple(_detectors(detectors, network, card, catalog)), tuple(cards), attackers, track, card, choice
    )


def _several(given: Any, what: str) -> list[Any]:
    found = list(given) if isinstance(given, list | tuple) else [given]
    if not found:
        raise UsageError(f"no {what} was given; `bench list {what}s` shows those there are.")
    return found


def _threats(
    given: Iterable[AsThreat], choice: EpsChoice, catalog: Catalog
) -> tuple[list[ThreatCard], dict[str, Threat]]:
    """The cards, and the objects by the names of theirs; of two with one name the second is NAME-2."""
    cards: dict[str, ThreatCard] = {}
    attackers = {}
    for one in given:
        if isinstance(one, str):
            cards |= {name: catalog.threat(name) for name in catalog.expand(Kind.THREAT, one)}
    for one in given:
        if isinstance(one, str):
            continue
        card = threat_card(one, choice)
        card = card.model_copy(update={"name": _free(card.name, cards)})
        cards[card.name] = card
        if isinstance(one, Threat):
            attackers[card.name] = one
    return list(cards.values()), attackers


def _detectors(
    given: Iterable[AsDetector], network: str | nn.Module | None, track: TrackCard, catalog: Catalog
) -> Iterator[AskedDetector]:
    taken: set[str] = set()
    for one in given:
        check_detector_kind(one)
        if not isinstance(one, str):
            if network is not None:
                raise UsageError(
                    "network goes with the name of a score, such as 'energy'; a detector at hand has its own."
                )
            spec = object_spec(one, track)
            found = [AskedDetector(spec.model_copy(update={"name": _free(spec.name, taken)}), given=one)]
        else:
            found = list(_by_name(one, network, track, catalog))
        for detector in found:
            if detector.spec.name not in taken:
                taken.add(detector.spec.name)
                yield detector


def _by_name(
    asked: str, network: str | nn.Module | None, track: TrackCard, catalog: Catalog
) -> Iterator[AskedDetector]:
    literal = {part.strip() for part in asked.split(",")}
    wildcards = any(part in ("all", SCORES) or any(sign in part for sign in "*?[") for part in literal)
    names = catalog.expand(Kind.DETECTOR, asked)
    if isinstance(network, nn.Module):
        for name in names:
            yield AskedDetector(score_spec(name, network, track, catalog), network=network, named=name in literal)
        return
    for name in standing_on(catalog, names, network, wildcards=wildcards):
        named = name in literal or name.rpartition("@")[0] in literal
        try:
            yield AskedDetector(catalog.detector_spec(name, track.name), named=named)
        except UsageError as error:
            if named:
                raise
            warnings.warn(f"detector '{name}' is left out: {error}", stacklevel=2)


def _free(name: str, taken: Iterable[str]) -> str:
    """A name that is not taken: the given one, or with a number behind it."""
    numbers = (f"{name}-{number}" for number in range(2, len(list(taken)) + 3))
    return name if name not in taken else next(other for other in numbers if other not in taken)


def _own_digests(track: Track, card: TrackCard, *, train: bool) -> dict[str, str]:
    """The content digests of the sets that cells use, of a track at hand."""
    digests, problems = {}, {}
    for name in _set_names(card, train=train):
        try:
            digests[name] = track.digest(name)
        except DataError as error:
            problems[name] = error
    if problems:
        raise unusable_sets(card, problems)
    return digests


def _set_names(card: TrackCard, *, train: bool) -> list[str]:
    return ["test", "calibration", *card.ood, *(["train"] if train else [])]
