"""What cards say of a detector and its track: written into a row, and compared with it when it is verified."""

from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.detector import DetectorSpec
from bench.cards.track import TrackCard
from bench.detectors.base import Detector, DetectorInfo
from bench.detectors.wanted import DETECTOR
from bench.errors import UsageError, shorten
from bench.evaluation.keys import track_hash
from bench.evaluation.plan import needs_train
from bench.leaderboards.row import DetectorPart, TrackPart, WeightsPart

CALIBRATION, TEST, TRAIN = "calibration", "test", "train"


def detector_part(catalog: Catalog, name: str, track: TrackCard, weights: tuple[str, ...]) -> DetectorPart:
    """A detector as its card describes it.

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
    return DetectorPart(
        name=name,
        card_hash=card.content_hash(),
        settings_hash=spec.content_hash(),
        weights=tuple(
            WeightsPart(file=part.file, sha256=digest, source=part.source)
            for part, digest in zip(spec.weights, weights, strict=True)
        ),
        paper=card.paper,
        trained_on=_trained_on(spec, track, info),
        tuned_on=card.tuned_on.strip(),
        extra_data=card.extra_data.strip(),
        white_box=info.differentiable,
        certified=method.bound is not Detector.bound,
        random=info.random,
    )


def check_has_card(name: str) -> None:
    """Raise for a detector that is named by its code, and that a card alone could describe to others.

    Raises:
        UsageError: It has no card.
    """
    if ":" in name:
        raise UsageError(f"detector {shorten(name)} has no card; a row needs one, so write detectors/NAME.yaml for it.")


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
    sets = {TEST: track.test, CALIBRATION: track.calibration, **track.ood}
    sets |= {TRAIN: track.train} if needs_train(spec) else {}
    if set(sets) != set(digests):
        return f"it names the sets {', '.join(sorted(digests))}; the track has {', '.join(sorted(sets))}"
    wrong = [name for name, own in sets.items() if own.accepted() and digests[name] not in own.accepted()]
    return f"set '{wrong[0]}' has another content than the track's card accepts" if wrong else None


def _trained_on(spec: DetectorSpec, track: TrackCard, info: DetectorInfo) -> str:
    """In words, which images the weights or the fit have seen."""
    if not spec.weights and not spec.fit_when_loaded:
        return "nothing"
    if spec.training is None and not spec.fit_when_loaded:
        sources = sorted({part.source for part in spec.weights if part.source})
        return f"as published by {', '.join(sources)}" if sources else "not stated in the card"
    outliers = " and its training outliers" if info.outliers else ""
    return f"the training images of {track.name}{outliers}"
