"""What a cell's numbers depend on, as one hash: planning a run must not import torch, so neither does this module."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from bench import __version__
from bench.cards.base import content_hash
from bench.cards.catalog import Kind
from bench.cards.code.source_hash import source_hash
from bench.cards.detector import DetectorSpec
from bench.cards.detector_names import names_code
from bench.cards.network import NetworkCard, is_named, library_version
from bench.cards.threat import Goal, Loss, Norm, Side, ThreatCard
from bench.cards.track import TrackCard
from bench.datasets.forms import declared_digest
from bench.detectors.missing import missing_weights
from bench.detectors.precision import SearchPrecision
from bench.errors import DataError, WeightsError
from bench.evaluation.results import FORMAT
from bench.evaluation.sets import unusable_sets
from bench.evaluation.spending import Evidence
from bench.lazy import lazily

with lazily():
    from bench.datasets import track as tracks

_HARNESS = ("bench.evaluation.cell", "bench.detectors.loading")
_CHUNK = 2**20
_LATER = ("evidence", "search_precision", "nested")
"""Settings that came after cells were stored and rows were shipped: where they are None, keys are what they were."""


class Cards(Protocol):
    """What planning asks of the catalog."""

    @property
    def workspace(self) -> Path | None:
        """The folder whose own modules may be imported."""

    def names(self, kind: Kind | str) -> list[str]:
        """The names of all cards of a kind."""

    def detector_spec(self, name: str, track: str) -> DetectorSpec:
        """A detector's settings on one track."""

    def network(self, name: str) -> NetworkCard:
        """The card of a network."""

    def track(self, name: str) -> TrackCard:
        """A track's card."""

    def threat(self, name: str) -> ThreatCard:
        """A threat's card."""

    def weights_path(self, file: str) -> Path | None:
        """Where a weights file lies, None where it does not."""

    def content_roots(self) -> list[Path]:
        """The folders whose cards are read, the workspace first."""


@dataclass(frozen=True)
class Ingredients:
    """Everything that changes a cell's numbers.

    Attributes:
        detector_hash: Of the resolved settings on the track.
        weights_sha256: Of the files that are there, in the card's order.
        source_hash: Of the code of method, network, threat and harness.
        threat_hash: Of method, version and parameters in force.
        track_hash: Of the card.
        set_digests: Content of the ID test, the calibration and the OOD sets, and of the training set where
            thresholds come from it.
        limit: The most images of a set; None for all.
        goal: What side `fool` has to reach; None on the other sides.
        loss: What directs gradients there; None on the other sides.
        radii: At which the outcome of a threat that looks for the nearest image is counted.
        needs: Keys of the cells that this one is made from.
        evidence: On what evidence images get less than the full budget; None where all of them get it.
        search_precision: How the first half of the steps is made cheaper; None where all ask the detector itself.
        nested: True where a larger radius goes on from this one's points, or this one from those of the smaller radius
            among `needs`; else None.
    """

    detector_hash: str
    weights_sha256: tuple[str, ...]
    source_hash: str
    threat_hash: str
    track_hash: str
    set_digests: dict[str, str]
    norm: Norm | None
    eps: float | None
    side: Side
    seed: int
    limit: int | None
    micro_batch: int
    early_stop: bool
    goal: Goal | None = None
    loss: Loss | None = None
    radii: tuple[float, ...] = ()
    needs: tuple[str, ...] = ()
    evidence: Evidence | None = None
    search_precision: SearchPrecision | None = None
    nested: bool | None = None

    def key(self, *, layout: int = FORMAT, version: str = __version__) -> str:
        """The cell's key: sha256 of all of this, and of the layout and the version that the cell was stored with."""
        content = {name: value for name, value in asdict(self).items() if value is not None or name not in _LATER}
        return content_hash({"format": layout, "version": version, **content})


def threat_hash(card: ThreatCard, params: Mapping[str, Any]) -> str:
    """Of what a threat does; its summary and its default radii have no part in a cell."""
    content = card.model_dump(mode="json", include={"name", "version", "method", "norm", "min_norm"})
    return content_hash({**content, "params": dict(params)})


def track_hash(card: TrackCard) -> str:
    """Of what a track holds and how it is counted, without the words about it."""
    content = card.model_dump(mode="json", exclude={"summary"})
    for ood in content["ood"].values():
        ood.pop("note")
    return content_hash(content)


def code_hash(detector: DetectorSpec, threat: ThreatCard, track: TrackCard, search: Sequence[Path]) -> str:
    """Of the source of everything that makes a cell's numbers, with all code of the user's own that it imports.

    That is a detector's method and network, a threat's method, the harness itself, and where it is the user's own the
    recipe of the weights and the sources of the track's sets. A parameter that reads package.module:attribute names
    code too, which may lie in the current folder.
    """
    paths = {detector.method, *named_code(detector.params), *named_code(threat.params)}
    paths |= {threat.method} if threat.method else set()
    if detector.network is not None:
        own = () if is_named(detector.network.method) else (detector.network.method,)
        paths |= {*own, *named_code(detector.network.args)}
    sets = (track.train, track.calibration, track.test, *track.ood.values(), *track.outliers)
    beside = {name for one in sets for form in one.forms for name in named_code([form.source, form.args])}
    if detector.training is not None:
        beside |= {detector.training.recipe, *named_code(detector.training.args)}
    theirs = {path for path in beside if not path.startswith("bench.")}  # what those give is hashed as it is
    modules = sorted(path.partition(":")[0] for path in paths | theirs)
    own_code = source_hash([*_HARNESS, *modules], [*search, Path.cwd()])
    library = library_version(detector.network.method) if detector.network is not None else ""
    return content_hash([own_code, library]) if library else own_code


def named_code(value: object) -> Iterator[str]:
    """Every text that names code, however deep in what a card gives."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from named_code(item)
    elif isinstance(value, str) and names_code(value):
        yield value


def weights_hashes(spec: DetectorSpec, cards: Cards) -> tuple[str, ...]:
    """The sha256 of every weights file of a detector, as the files are.

    Raises:
        WeightsError: A file is missing, or differs from the card's sha256.
    """
    found = []
    for weights in spec.weights:
        path = cards.weights_path(weights.file)
        if path is None or not path.is_file():
            raise missing_weights(weights, spec, cards)
        digest = file_sha256(path)
        if weights.sha256 is not None and digest != weights.sha256:
            raise WeightsError(
                f"weights '{path}' have sha256 {digest[:16]}..., and the card of detector '{spec.name}' expects "
                f"{weights.sha256[:16]}...; restore the file or train it again and write its sha256 into the card."
            )
        found.append(digest)
    return tuple(found)


def set_digests(
    card: TrackCard, data_dir: Path | None, *, workspace: Path | None = None, train: bool = False
) -> dict[str, str]:
    """The content digest of every set that a cell uses; only a set whose form at hand does not fix it is loaded.

    Args:
        card: The track's card.
        data_dir: Where data files lie; None for the default.
        workspace: A folder that is searched for the modules of a user's own sources.
        train: With the training images too, from which some detectors take their thresholds.

    Raises:
        DataError: Sets are missing or cannot be used; all of them are named.
    """
    sets = {"test": card.test, "calibration": card.calibration, **card.ood, **({"train": card.train} if train else {})}
    digests, problems = {}, {}
    for name, spec in sets.items():
        try:
            digests[name] = declared_digest(spec, data_dir) or _loaded_digest(card, data_dir, workspace, name)
        except DataError as error:
            problems[name] = error
    if problems:
        raise unusable_sets(card, problems)
    return digests


def _loaded_digest(card: TrackCard, data_dir: Path | None, workspace: Path | None, name: str) -> str:
    return str(tracks.Track(card, data_dir, workspace=workspace).digest(name))


def file_sha256(path: Path) -> str:
    """The sha256 of a file, read once while it stays as it is."""
    status = path.stat()
    return _file_hash(path, status.st_mtime_ns, status.st_size)


@cache
def _file_hash(path: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
