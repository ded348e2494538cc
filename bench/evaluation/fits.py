"""What a score finds in training images (means, ranges, banks), found once and kept by what it depends on.

A file holds the part of a detector's state that is not its network's. Its name is the hash of the score's settings, the
network's weights, the content of the images that a fit may see, and the code; so it is never out of date, and anything
wrong with it only means that the fit is made again.
"""

import contextlib
from pathlib import Path

from torch import Tensor

from bench import __version__
from bench.cards.base import content_hash
from bench.cards.catalog import Catalog
from bench.cards.code.source_hash import source_hash
from bench.cards.detector import DetectorSpec
from bench.cards.network import is_named, library_version
from bench.datasets.track import Track
from bench.detectors.base import Detector, Progress, silent
from bench.detectors.weights import check_state, load_tensors, save_tensors
from bench.errors import BenchError
from bench.evaluation.keys import weights_hashes
from bench.places import user_cache

LARGEST = 1 << 29
"""Bytes of statistics that are kept; larger ones are found anew every time."""

_NETWORK = "network."


def fit_or_recall(
    detector: Detector, spec: DetectorSpec, track: Track, catalog: Catalog, *, progress: Progress = silent
) -> bool:
    """Give a loaded detector what it finds in the training images, from the cache where it is there.

    Args:
        detector: With the weights of its network.
        spec: Its settings on the track.
        track: The track's images.
        catalog: Where its weights lie.
        progress: Called while a fit is made.

    Returns:
        Whether it was in the cache.

    Raises:
        DataError: Images that the fit needs are missing or cannot be used.
    """
    file = _file(detector, spec, track, catalog)
    if file is not None and _recalled(detector, file):
        return True
    detector.fit(track.training_data(), progress=progress)
    state = _statistics(detector)
    if file is not None and state and sum(part.nbytes for part in state.values()) <= LARGEST:
        with contextlib.suppress(BenchError):  # a full or read-only cache costs time alone
            save_tensors(file, state)
    return False


def recall(detector: Detector, spec: DetectorSpec, track: Track, catalog: Catalog) -> bool:
    """The same from the cache alone: whether it was there. Arguments as in `fit_or_recall`."""
    file = _file(detector, spec, track, catalog)
    return file is not None and _recalled(detector, file)


def _statistics(detector: Detector) -> dict[str, Tensor]:
    """The part of the state that is not the network's; behind the boundary, the names are those of the detector."""
    inner = getattr(detector, "inner", detector)
    return {name: value for name, value in inner.state_dict().items() if not name.startswith(_NETWORK)}


def _recalled(detector: Detector, file: Path) -> bool:
    if not file.is_file():
        return False
    inner = getattr(detector, "inner", detector)
    own = inner.state_dict()
    try:
        found = load_tensors(file)
        check_state({name: value for name, value in own.items() if not name.startswith(_NETWORK)}, found, "the fit")
    except BenchError:  # damaged: it is made again
        return False
    inner.load_state_dict(own | found)
    detector.recalled()
    return True


def _file(detector: Detector, spec: DetectorSpec, track: Track, catalog: Catalog) -> Path | None:
    """Where the statistics are kept; None where they cannot be, or there is no cache."""
    inner = getattr(detector, "inner", detector)
    cache = user_cache()
    if cache is None or not inner.statistics_in_state or not _statistics(detector):
        return None
    settings = spec.model_dump(mode="json", include={"method", "params", "network"})
    sets = ("train", "calibration", *(("outliers",) if track.card.outliers else ()))
    digests = [track.digest(name) for name in sets]
    modules = [spec.method.partition(":")[0]]
    if spec.network is not None and not is_named(spec.network.method):
        modules.append(spec.network.method.partition(":")[0])
    code = source_hash(modules, [*catalog.content_roots(), Path.cwd()])
    library = library_version(spec.network.method) if spec.network is not None else ""
    identity = [
        settings,
        library,
        weights_hashes(spec, catalog),
        track.card.classes,
        list(track.card.shape),
        digests,
        code,
    ]
    return cache / "fits" / f"{content_hash([*identity, __version__])}.safetensors"
