"""One detector's cells on one track: their ingredients, keys, and the cells that they are made from.

Nothing here imports torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cards.detector import DetectorSpec
from bench.cards.threat import Goal, Knowledge, Loss, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.detectors.precision import FULL_PRECISION, SearchPrecision
from bench.errors import BenchError, NoSettingsError, NotApplicableError
from bench.evaluation.eps import EpsChoice
from bench.evaluation.keys import Cards, Ingredients, code_hash, threat_hash, track_hash, weights_hashes
from bench.evaluation.planned import CLEAN, PlannedCell, RunOptions, needs_train
from bench.evaluation.spending import evidence_for


@dataclass(frozen=True)
class Planner:
    """Cells of any detector on one track.

    Attributes:
        catalog: Where cards and weights are found.
        whole: The track as its card says it.
        choice: The radii.
        options: What all cells share.
        digests: Content digests of the track's sets; that of the training set counts only where it is needed.
    """

    catalog: Cards
    whole: TrackCard
    choice: EpsChoice
    options: RunOptions
    digests: dict[str, str]

    @property
    def track(self) -> TrackCard:
        """The track with the OOD sets that the run is about."""
        return self.options.sets.of(self.whole)

    def radii(self, card: ThreatCard) -> tuple[float | None, ...]:
        """One cell for each of them; a threat that looks for the nearest image is run once for all radii."""
        return (None,) if card.min_norm else self.choice.of(card)

    def clean(self, spec: DetectorSpec, weights: tuple[str, ...]) -> PlannedCell:
        """The clean cell of a detector: nothing is drawn, nothing stops, and no goal is followed."""
        card, roots = self.catalog.threat(CLEAN), self.catalog.content_roots()
        ingredients = replace(
            self._base(spec, weights),
            source_hash=code_hash(spec, card, self.track, roots),
            threat_hash=threat_hash(card, card.params),
        )
        return self._cell(spec, card, dict(card.params), (), ingredients, None, _Parts())

    def sweep(self, spec: DetectorSpec, weights: tuple[str, ...], card: ThreatCard) -> list[PlannedCell]:
        """An attack at each of its radii; where they are nested, the smallest first, which the next one needs."""
        radii = self.radii(card)
        if not (self.options.nested and len(radii) > 1 and _can_be_nested(card, self.options.side or card.sides[0])):
            return [self.attack(spec, weights, card, radius) for radius in radii]
        cells: list[PlannedCell] = []
        for radius in sorted(radius for radius in radii if radius is not None):
            below = cells[-1] if cells else None
            cells.append(self.attack(spec, weights, card, radius, nested=True, below=below))
        return cells

    def attack(
        self,
        spec: DetectorSpec,
        weights: tuple[str, ...],
        card: ThreatCard,
        radius: float | None,
        params: Mapping[str, Any] | None = None,
        *,
        nested: bool = False,
        below: PlannedCell | None = None,
    ) -> PlannedCell:
        """One attack, with the cells that it is made from.

        Args:
            spec: The detector's settings.
            weights: The sha256 of its weights.
            card: The threat.
            radius: Of the ball; None where the threat has none.
            params: Over those of the card, in place of those of the command line.
            nested: It is one of several radii of a sweep.
            below: The next smaller one of them.
        """
        options, overrides = self.options, self.options.overrides or {} if params is None else params
        side = options.side or card.sides[0]
        fool = side is Side.FOOL
        loss = options.loss or (Loss.JOINT if options.goal is Goal.ACCEPT else Loss.MARGIN)
        chosen = {**card.params, **{name: value for name, value in overrides.items() if name in card.params}}
        parts = self._members(spec, weights, card, side, radius) if card.members else self._sources(spec, card, radius)
        parts = parts if below is None else _Parts((below,))
        ingredients = replace(
            self._base(spec, weights),
            source_hash=code_hash(spec, card, self.track, self.catalog.content_roots()),
            threat_hash=threat_hash(card, chosen),
            norm=card.norm,
            eps=radius,
            side=side,
            seed=options.seed,
            early_stop=options.early_stop and not fool and side is not Side.BETWEEN and not card.min_norm,
            goal=options.goal if fool else None,
            loss=loss if fool else None,
            radii=tuple(sorted(e for e in self.choice.of(card) if e)) if card.min_norm and not radius else (),
            needs=tuple(need.key for need in parts.needs),
            evidence=evidence_for(card, chosen, side, options.evidence),
            search_precision=_search_precision(card, side, options.search_precision),
            nested=nested or None,
        )
        ignored = tuple(name for name in overrides if name not in card.params)
        return self._cell(spec, card, chosen, ignored, ingredients, self.clean(spec, weights), parts)

    def _base(self, spec: DetectorSpec, weights: tuple[str, ...]) -> Ingredients:
        absent = {*self.options.sets.left_out(self.whole), *(() if needs_train(spec) else ("train",))}
        used = {name: digest for name, digest in self.digests.items() if name not in absent}
        limit, micro_batch = self.options.limit, self.options.micro_batch
        return Ingredients(
            detector_hash=spec.content_hash(),
            weights_sha256=weights,
            source_hash="",
            threat_hash="",
            track_hash=track_hash(self.whole),
            set_digests=used,
            norm=None,
            eps=None,
            side=Side.EVADE,
            seed=0,
            limit=self.whole.default_limit if limit is None else limit,
            micro_batch=spec.batch_of(self.whole.shape) if micro_batch is None else micro_batch,
            early_stop=True,
        )

    def _cell(
        self,
        spec: DetectorSpec,
        card: ThreatCard,
        params: dict[str, Any],
        ignored: tuple[str, ...],
        ingredients: Ingredients,
        clean: PlannedCell | None,
        parts: "_Parts",
    ) -> PlannedCell:
        return PlannedCell(
            spec,
            card,
            self.track,
            params,
            ignored,
            ingredients,
            ingredients.key(),
            clean,
            parts.needs,
            left_out=parts.left_out,
            without=self.options.sets.left_out(self.whole),
            refused=parts.refused,
        )

    def _members(
        self, spec: DetectorSpec, weights: tuple[str, ...], card: ThreatCard, side: Side, radius: float | None
    ) -> "_Parts":
        """The cells of which the worst case is taken, as their cards say: a suite's budget is fixed."""
        # Radii of those that look for the nearest image are none of their own here: this cell's radius counts.
        own = replace(self, choice=EpsChoice({card.norm: (radius,)} if card.norm and radius else {}))
        own = replace(own, options=replace(self.options, side=side, evidence=None, search_precision=FULL_PRECISION))
        threats = [self.catalog.threat(name) for name in card.members[side]]
        cells = [own.attack(spec, weights, t, None if t.min_norm else radius, params={}) for t in threats]
        left_out = {cell.threat.name: cell.refused.why for cell in cells if cell.refused is not None}
        if side is not Side.FOOL:
            left_out |= {t.name: _NO_SCORE for t in threats if t.min_norm}
            cells = [cell for cell in cells if cell.threat.name not in left_out]
        needs = tuple(cell for cell in cells if cell.refused is None)
        if needs:
            return _Parts(needs, left_out)
        return _Parts((), left_out, nothing_applies(card.name, spec.name, left_out))

    def _sources(self, spec: DetectorSpec, card: ThreatCard, radius: float | None) -> "_Parts":
        """Attacks on other detectors, without early stop: an image that stopped just past the line transfers badly."""
        source = card.source
        if source is None:
            return _Parts()
        threat = self.catalog.threat(source.threat)
        side = self.options.side or card.sides[0]
        crafting = replace(
            self,
            options=replace(
                self.options,
                side=side,
                early_stop=False,
                micro_batch=None,
                evidence=None,
                search_precision=FULL_PRECISION,
            ),
        )
        cells, left_out = [], {}
        for name in source.detectors:
            if name.partition(".")[0] == spec.name.partition(".")[0]:
                continue
            try:
                other = self.catalog.detector_spec(name, self.track.name)
                weights = weights_hashes(other, self.catalog)
            except NoSettingsError:
                continue  # it is no source on this track
            except BenchError as error:  # it would be one, and lacks its weights: the others serve
                left_out[name] = str(error)
                continue
            if needs_train(other) and "train" not in self.digests:
                left_out[name] = f"detector '{name}' needs the training images of {self.track.name}, which are missing."
                continue
            cells.append(crafting.attack(other, weights, threat, radius, params=source.params))
        if cells:
            return _Parts(tuple(cells), left_out)
        return _Parts((), left_out, _no_source(card, source.detectors, spec.name, self.track.name))


_NO_SCORE = "it looks for the nearest image past a threshold, whose score stops there"


def _can_be_nested(card: ThreatCard, side: Side) -> bool:
    """Whether an attack can go on from the points of a smaller radius: one on the score that follows gradients."""
    return card.knowledge is Knowledge.GRADIENTS and side in (Side.EVADE, Side.ALARM) and not card.members


def _search_precision(card: ThreatCard, side: Side, asked: SearchPrecision) -> SearchPrecision | None:
    """What is asked of a cell; None where no step follows a gradient, and where nothing is asked."""
    follows = card.knowledge is Knowledge.GRADIENTS and not card.members and side is not Side.BETWEEN
    return asked if follows and not asked.none else None


@dataclass(frozen=True)
class _Parts:
    """What a cell is made from, what is missing of it, and whether that is all of it; see `PlannedCell`."""

    needs: tuple[PlannedCell, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    refused: NotApplicableError | None = None


def nothing_applies(threat: str, detector: str, left_out: Mapping[str, str]) -> NotApplicableError:
    """The error for a worst case, or a transfer attack, of which no part can be run on a detector.

    Args:
        threat: Its name.
        detector: The detector's name.
        left_out: By a part's name, why it cannot be run.
    """
    reasons = "; ".join(grouped(left_out))
    return NotApplicableError(
        f"threat '{threat}' has no attack that can be run on detector '{detector}' ({reasons}); choose another threat "
        "or --side.",
        why=f"none of its attacks can be run on the detector ({reasons})",
    )


def grouped(absent: Mapping[str, str]) -> list[str]:
    """Names that share a reason, with it: "pgd-l2, apgd-l2: they ..."."""
    by_reason: dict[str, list[str]] = {}
    for name, why in absent.items():
        by_reason.setdefault(why.rstrip("."), []).append(name)
    return [f"{', '.join(names)}: {why}" for why, names in by_reason.items()]


def _no_source(card: ThreatCard, sources: Sequence[str], detector: str, track: str) -> NotApplicableError:
    """The error for a transfer attack that has no images to take."""
    itself = [name for name in sources if name.partition(".")[0] == detector.partition(".")[0]]
    but = f" but '{detector}' itself" if itself else ""
    of = f"{', '.join(sources)}, and none of them{but} can be run on {track}"
    return NotApplicableError(
        f"threat '{card.name}' takes its images from {of}; train one, or name others in the card.",
        why=f"it takes its images from {of}",
    )
