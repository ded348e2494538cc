"""What cards say of a detector and its track: written into a row, and compared with it when it is verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import import_method
from bench.cards.code.source_hash import own_modules
from bench.cards.detector import DetectorCard, DetectorSpec
from bench.cards.detector_names import split_network
from bench.cards.network import is_named
from bench.cards.track import TrackCard
from bench.detectors.base import Detector, DetectorInfo
from bench.detectors.wanted import DETECTOR
from bench.errors import UsageError, shorten
from bench.evaluation.keys import named_code, track_hash
from bench.evaluation.plan import needs_train
from bench.leaderboards.row import DetectorPart, TrackPart, WeightsPart

CALIBRATION, TEST, TRAIN = "calibration", "test", "train"

MOST_OTHERS = 10
"""Of a card of more other tracks and variants only the whole is compared."""

_NOTHING = ("", "none", "no", "nothing")


def detector_part(catalog: Catalog, name: str, track: TrackCard, weights: tuple[str, ...]) -> DetectorPart:
    """A detector as its card describes it; a score on the network of a trained detector has seen what that one has.

    Args:
        catalog: Where the card is found.
        name: Of the detector.
        track: The track's card.
        weights: The sha256 of its weights files, in the card's order.

    Raises:
        UsageError: There is no such card, or its method cannot be imported.
    """
    check_has_card(name)
    card, spec = catalog.detector(name)[0], catalog.detector_spec(name, track.name)
    method = import_method(spec.method, catalog.workspace, DETECTOR)
    info: DetectorInfo = method.info
    seen = _seen(catalog, name, track)
    return DetectorPart(
        name=name,
        card_hash=card.content_hash(),
        settings_hash=spec.content_hash(),
        weights=tuple(
            WeightsPart(file=part.file, sha256=digest, source=part.source)
            for part, digest in zip(spec.weights, weights, strict=True)
        ),
        paper=card.paper,
        trained_on=seen.trained_on,
        tuned_on=seen.tuned_on,
        extra_data=seen.extra_data,
        white_box=info.differentiable,
        certified=method.bound is not Detector.bound,
        random=info.random,
    )


def card_hashes(card: DetectorCard, track: str, variant: str | None = None) -> frozenset[str]:
    """The hashes of a card with and without each other track and variant, which may have come after a row.

    Args:
        card: The card here.
        track: The row's; what the card says of it stays.
        variant: The row's, which stays too; None where its detector is the card's own.
    """
    parts = [card.tracks, *(own.tracks for own in card.variants.values())]
    others = [(name, "") for name in sorted({name for part in parts for name in part} - {track})]
    others += [("", name) for name in sorted(set(card.variants) - {variant})]
    left_out = (
        [some for count in range(len(others) + 1) for some in combinations(others, count)]
        if len(others) <= MOST_OTHERS
        else [()]
    )
    return frozenset(
        _without(card, {name for name, _ in some}, {name for _, name in some}).content_hash() for some in left_out
    )


def _without(card: DetectorCard, tracks: set[str], variants: set[str]) -> DetectorCard:
    def kept(part: Mapping[str, Any]) -> dict[str, Any]:
        return {name: own for name, own in part.items() if name not in tracks}

    of_variants = {
        name: own.model_copy(update={"tracks": kept(own.tracks)})
        for name, own in card.variants.items()
        if name not in variants
    }
    return card.model_copy(update={"tracks": kept(card.tracks), "variants": of_variants})


def check_has_card(name: str) -> None:
    """Raise for a detector that is named by its code, and that a card alone could describe to others.

    Raises:
        UsageError: It has no card.
    """
    if ":" in name:
        raise UsageError(f"detector {shorten(name)} has no card; a row needs one, so write detectors/NAME.yaml for it.")


def own_code(catalog: Catalog, name: str, track: str) -> dict[str, str]:
    """The modules of the workspace's own that score a detector, and the sha256 of each file; none where all is bench's.

    Args:
        catalog: Where the card is found.
        name: Of the detector.
        track: The track's name.

    Raises:
        UsageError: There is no such card.
    """
    spec = catalog.detector_spec(name, track)
    paths = {spec.method, *named_code(spec.params)}
    if spec.network is not None:
        paths |= {*(() if is_named(spec.network.method) else (spec.network.method,)), *named_code(spec.network.args)}
    found: dict[str, str] = {}
    for path in sorted(paths):
        found |= own_modules(path.partition(":")[0], catalog.content_roots())
    return dict(sorted(found.items()))


def declared_weights(spec: DetectorSpec) -> tuple[str, ...] | None:
    """The sha256 that the card gives to each weights file; None where it leaves one out."""
    digests = [part.sha256 for part in spec.weights]
    return None if None in digests else tuple(digest for digest in digests if digest is not None)


def track_part(track: TrackCard, digests: dict[str, str]) -> TrackPart:
    """A track as its card describes it, with the digests of the sets at hand."""
    return TrackPart(
        name=track.name, version=track.version, hash=track_hash(track), set_digests=digests, limit=track.row_limit
    )


def digest_problem(track: TrackCard, spec: DetectorSpec, digests: dict[str, str]) -> str | None:
    """How a row's content digests differ from those that the track's card accepts; None where they do not."""
    sets = {TEST: track.test, CALIBRATION: track.calibration, **track.of_rows().ood}
    sets |= {TRAIN: track.train} if needs_train(spec) else {}
    if set(sets) != set(digests):
        return f"it names the sets {', '.join(sorted(digests))}; the track has {', '.join(sorted(sets))}"
    wrong = [name for name, own in sets.items() if own.accepted() and digests[name] not in own.accepted()]
    return f"set '{wrong[0]}' has another content than the track's card accepts" if wrong else None


@dataclass(frozen=True)
class _Seen:
    """What a detector owes its figures to beside its method, in words."""

    trained_on: str
    tuned_on: str
    extra_data: str


def _seen(catalog: Catalog, name: str, track: TrackCard) -> _Seen:
    card, spec = catalog.detector(name)[0], catalog.detector_spec(name, track.name)
    info: DetectorInfo = import_method(spec.method, catalog.workspace, DETECTOR).info
    own = _Seen(_trained_on(spec, track, info), card.tuned_on.strip(), card.extra_data.strip())
    if (base := _trained_base(catalog, card, name, track)) is None:
        return own
    below = _seen(catalog, base, track)
    return _Seen(
        below.trained_on, _both(own.tuned_on, below.tuned_on, base), _both(own.extra_data, below.extra_data, base)
    )


def _trained_base(catalog: Catalog, card: DetectorCard, name: str, track: TrackCard) -> str | None:
    """The detector on whose network a score stands; None for one that stands on none, or on a network's own card."""
    base = (split_network(name)[1] or track.network) if card.on_network else None
    return None if base in (None, *catalog.names(Kind.NETWORK)) else base


def _both(own: str, below: str, base: str) -> str:
    """What a score's card says, and that of the detector below it."""
    return own if is_nothing(below) else f"{'' if is_nothing(own) else f'{own}; '}{below} (for {base})"


def is_nothing(said: str) -> bool:
    """Whether a card says of extra data, or of tuning, that there was none."""
    return said.strip().rstrip(".").lower() in _NOTHING


def _trained_on(spec: DetectorSpec, track: TrackCard, info: DetectorInfo) -> str:
    """In words, which images the weights or the fit have seen."""
    if not spec.weights and not spec.fit_when_loaded:
        return "nothing"
    if spec.training is None and not spec.fit_when_loaded:
        sources = sorted({part.source for part in spec.weights if part.source})
        return f"as published by {', '.join(sources)}" if sources else "not stated in the card"
    outliers = " and its training outliers" if info.outliers else ""
    return f"the training images of {track.name}{outliers}"
