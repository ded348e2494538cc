"""Make the weights of one detector on one track: the card's recipe, run to a safetensors file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

import bench
from bench.cards.base import content_hash
from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.detector import DetectorSpec
from bench.datasets.track import Track
from bench.detectors.base import Progress, silent
from bench.detectors.loading import last_weights, load_for_training
from bench.detectors.weights import check_replaceable, save_tensors
from bench.errors import CardError, UsageError, WeightsError
from bench.training.base import Recipe
from bench.training.runner import TrainingReport, discard, train
from bench.training.wanted import RECIPE


@dataclass(frozen=True)
class TrainedWeights:
    """What `train_weights` made.

    Attributes:
        path: The safetensors file.
        sha256: Of that file.
        expected: The sha256 that the card declares, None where it declares none.
        report: Steps, seconds and figures.
    """

    path: Path
    sha256: str
    expected: str | None
    report: TrainingReport


def train_weights(
    catalog: Catalog,
    spec: DetectorSpec,
    *,
    data_dir: Path | None = None,
    out: Path | None = None,
    seed: int | None = None,
    device: str = "cpu",
    fresh: bool = False,
    threads: int = 1,
    progress: Progress = silent,
    curve_points: int = 0,
) -> TrainedWeights:
    """Run the training recipe of a card.

    Args:
        catalog: Where cards and weights are found.
        spec: The settings of a detector, or of a score on the network that is trained, on a track.
        data_dir: Where data files lie; None for the default.
        out: Folder of the weights; None for the workspace's, or the cache without one.
        seed: Another seed than the card's.
        device: Where to train.
        fresh: Start anew even where an interrupted training could go on.
        threads: Processor threads. Sums are rounded otherwise with another number, and training magnifies that, so
            that the same number is needed for the same bits.
        progress: Called with (done, total, figures).
        curve_points: How many points, about, the report's curve has; 0 keeps none.

    Raises:
        UsageError: The card has no recipe for this track, data or earlier weights are missing, or the folder cannot be
            written.
    """
    if spec.training is None or not spec.weights:
        raise UsageError(
            f"'{spec.name}' has no training recipe for track '{spec.track}'; `bench show {spec.name}` prints its card."
        )
    track = Track(catalog.track(spec.track), data_dir, workspace=catalog.workspace)
    seed = spec.training.seed if seed is None else seed
    recipe = build_recipe(spec, track, catalog, seed=seed, device=device)
    target = (out if out is not None else catalog.weights_dir_for_writing()) / spec.weights[-1].file
    checkpoint = target.with_name(f"{target.stem}.checkpoint.safetensors")
    _check_writable(target.parent)
    check_replaceable(target, last_weights(recipe.detector, spec, catalog))
    if fresh:
        discard(checkpoint)
    with _threads(threads):
        report = train(
            recipe,
            checkpoint=checkpoint,
            identity=_identity(spec, track, seed, threads),
            progress=progress,
            curve_every=max(1, recipe.total_steps // curve_points) if curve_points else 0,
        )
    sha256 = save_tensors(target, last_weights(recipe.detector, spec, catalog))
    discard(checkpoint)
    return TrainedWeights(target, sha256, spec.weights[-1].sha256, report)


def build_recipe(spec: DetectorSpec, track: Track, catalog: Catalog, *, seed: int, device: str = "cpu") -> Recipe:
    """The card's recipe on a detector whose earlier weights are loaded.

    Raises:
        CardError: The recipe is not one, or its arguments are wrong.
        UsageError: There is nothing to train.
    """
    assert spec.training is not None
    kind: type[Recipe] = import_method(spec.training.recipe, catalog.workspace, RECIPE)
    try:
        kind.Args.model_validate(spec.training.args)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "args"
        raise CardError(
            f"training.args of '{spec.name}' on '{spec.track}': '{field}' is {str(first['input'])[:80]!r}: "
            f"{first['msg']}; correct the card."
        ) from error
    detector = load_for_training(spec, track.card, catalog, device)
    if not detector.state_dict():
        raise UsageError(
            f"'{spec.name}' has no network on track '{spec.track}', so that there is nothing to train; name `network` "
            "for the track in its card, also below a variant's own `tracks`."
        )
    return kind(detector, track.training_data(), spec.training.args, seed=seed, device=device)


def _check_writable(folder: Path) -> None:
    """Raise before a training whose weights could not be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WeightsError(
            f"weights cannot be written to {folder} ({error.strerror}); name another folder with --out."
        ) from error


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _identity(spec: DetectorSpec, track: Track, seed: int, threads: int) -> str:
    """Hash of everything that the weights depend on, so that no training goes on from another one's checkpoint."""
    digests = [track.digest(name) for name in ("train", "calibration", "outliers")]
    content = spec.model_dump(mode="json", exclude={"weights": {-1: {"sha256"}}, "recorded": True})
    return content_hash([content, digests, seed, threads, bench.__version__])
