"""Detectors that an entry trains: once for each recipe, with the curve of the training beside the weights."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from bench.cards.base import Card
from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.errors import UsageError
from bench.files import FileTooLargeError, read_file, write_file
from bench.lazy import lazily
from bench.repro.changed import WEIGHTS, ChangedCatalog
from bench.repro.entry import Run
from bench.seals import SealError, sealed_json, unsealed_json

with lazily():
    from bench.training import job

POINTS = 30
"""Of a training's curve, about."""

_MAX_BYTES = 1 << 21
_Name = Annotated[str, StringConstraints(max_length=100)]


class Curve(Card):
    """What a training came to.

    Attributes:
        steps: At which the figures were taken.
        figures: By their names, one for each of those steps.
        seconds: That the training took, the figures included.
    """

    steps: tuple[int, ...]
    figures: dict[_Name, tuple[float, ...]]
    seconds: float = Field(ge=0, allow_inf_nan=False)


def trained_specs(run: Run, catalog: Catalog, root: Path) -> Iterator[tuple[DetectorSpec, ChangedCatalog]]:
    """Every detector that a run trains, with the catalog that knows it; none where it trains nothing."""
    if run.train is None:
        return
    for args in run.train.variants():
        changed = ChangedCatalog(catalog, run, {}, args, root / WEIGHTS)
        for name in run.detector:
            yield changed.detector_spec(name, run.track), changed


def train_missing(
    runs: Sequence[Run], catalog: Catalog, root: Path, data_dir: Path | None, *, device: str = "cpu"
) -> float:
    """Train what no file holds yet.

    Args:
        runs: Of an entry.
        catalog: Where cards are found.
        root: Of the store, in whose folder `trained` the weights and their curves lie.
        data_dir: Where data files lie; None for the default.
        device: Where to train.

    Returns:
        The seconds that all trainings of these runs took, whenever that was.
    """
    seconds = 0.0
    for run in runs:
        for spec, changed in trained_specs(run, catalog, root):
            if not curve_file(root, spec).is_file():
                _train(spec, changed, root, data_dir, device)
            seconds += curve_of(root, spec).seconds
    return seconds


def curve_file(root: Path, spec: DetectorSpec) -> Path:
    """Where the curve of a trained detector lies."""
    return (root / WEIGHTS / spec.weights[-1].file).with_suffix(".json")


def curve_of(root: Path, spec: DetectorSpec) -> Curve:
    """The curve of a training.

    Raises:
        UsageError: There is none, or it is not what was written.
    """
    path = curve_file(root, spec)
    try:
        return Curve.model_validate(unsealed_json(read_file(path, _MAX_BYTES)))
    except (OSError, FileTooLargeError, SealError, ValidationError) as error:
        raise UsageError(
            f"'{path}' is no curve of a training ({type(error).__name__}); remove it and run the entry again."
        ) from None


def _train(spec: DetectorSpec, changed: ChangedCatalog, root: Path, data_dir: Path | None, device: str) -> None:
    began = time.monotonic()
    made = job.train_weights(
        changed,
        spec,
        data_dir=data_dir,
        out=root / WEIGHTS,
        device=device,
        fresh=True,
        curve_points=POINTS,
    )
    points = made.report.curve
    names = [name for name in (points[0][1] if points else {}) if all(name in found for _, found in points)]
    curve = Curve(
        steps=tuple(step for step, _ in points),
        figures={name: tuple(found[name] for _, found in points) for name in names},
        seconds=time.monotonic() - began,
    )
    write_file(
        curve_file(root, spec),
        sealed_json(curve.model_dump(mode="json")),
        through_links=False,
        remedy="name another folder (--out)",
    )
