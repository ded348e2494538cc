"""What has to go along with a row: the cards, code and weights of the workspace that nobody else has."""

from collections.abc import Iterator
from pathlib import Path

from bench.cards.catalog import Catalog, Kind
from bench.cards.code.source_hash import own_modules
from bench.cards.code.static_code import find_module, lies_below
from bench.cards.detector_names import split_network
from bench.cards.threat import Side
from bench.cards.track import TrackCard
from bench.leaderboards.identity import own_code
from bench.leaderboards.row import DetectorPart, WeightsPart


def workspace_files(catalog: Catalog, detector: DetectorPart, track: TrackCard) -> list[Path]:
    """The workspace's own files on which a row depends; none where the workspace is the checkout of the package.

    Args:
        catalog: Of the workspace.
        detector: The row's.
        track: The track's card.
    """
    workspace = catalog.workspace
    if workspace is None or workspace.resolve() == catalog.builtin.resolve():
        return []
    found = [*_cards(catalog, detector.name, track), *_code(catalog, detector.name, track)]
    found += [path for part in detector.weights if (path := catalog.weights_path(part.file)) is not None]
    return [path for path in dict.fromkeys(found) if lies_below(path, workspace)]


def whence(catalog: Catalog, weights: WeightsPart) -> str:
    """Where others get a weights file, as far as that is known."""
    if weights.source:
        return f"from {weights.source}"
    path = catalog.weights_path(weights.file)
    if lies_below(path, catalog.builtin / "detectors"):
        return "from this repository"
    if lies_below(path, catalog.workspace):
        return "of this workspace: hand it in with the row, or name its `source` in the card"
    return "of this machine alone: name its `source` in the card"


def private_images(track: TrackCard) -> str:
    """A sentence where images of a track lie in a folder of this machine; "" where they do not."""
    sets = {"train": track.train, "calibration": track.calibration, "test": track.test, **track.ood}
    own = [name for name, spec in sets.items() if any(_is_here(form.args.get("path")) for form in spec.forms)]
    if not own:
        return ""
    return (
        f"those of {', '.join(own)} lie in a folder of this machine: nobody else can verify the row until they can be "
        "had, and the card says where."
    )


def _is_here(path: object) -> bool:
    return isinstance(path, str) and Path(path).is_absolute()


def _cards(catalog: Catalog, name: str, track: TrackCard) -> Iterator[Path]:
    yield catalog.where(Kind.DETECTOR, name)
    base = split_network(name)[1] or (track.network if catalog.detector(name)[0].on_network else None)
    if base is not None:
        yield catalog.where(Kind.NETWORK if base in catalog.names(Kind.NETWORK) else Kind.DETECTOR, base)
    yield catalog.where(Kind.TRACK, track.name)
    yield from (catalog.where(Kind.THREAT, threat) for threat in _threats(catalog, track))


def _threats(catalog: Catalog, track: TrackCard) -> list[str]:
    """Those of the suite and their members."""
    asked = [entry.threat for entry in track.suite]
    return [name for threat in asked for name in (threat, *catalog.threat(threat).members.get(Side.EVADE, ()))]


def _code(catalog: Catalog, name: str, track: TrackCard) -> Iterator[Path]:
    modules = list(own_code(catalog, name, track.name))
    methods = [catalog.threat(threat).method or "" for threat in _threats(catalog, track)]
    sets = (track.train, track.calibration, track.test, *track.ood.values())
    for path in dict.fromkeys([*methods, *(form.source for spec in sets for form in spec.forms)]):
        if ":" in path:
            modules += own_modules(path.partition(":")[0], catalog.content_roots())
    for module in dict.fromkeys(modules):
        if (file := find_module(module, catalog.workspace)) is not None:
            yield file
