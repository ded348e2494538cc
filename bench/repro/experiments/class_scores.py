"""Class-conditional scores of images as they are: of the right class, of the likeliest wrong one, and of OOD images."""

from typing import Annotated

import torch
from pydantic import Field, StringConstraints
from torch import Tensor

from bench.datasets.base import ImageSet
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.errors import UsageError
from bench.metrics import delong
from bench.repro.claims import Measured, Ref
from bench.repro.experiments import ExperimentArgs, Outcome, Surroundings
from bench.repro.panels import Panel, histogram
from bench.repro.shares import share

_Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class Row(ExperimentArgs):
    """A row of the table: a detector on a track."""

    detector: str
    track: str


class Args(ExperimentArgs):
    """Of `class-scores`.

    Attributes:
        rows: Of the table.
        limit: Images of each set.
        ood: OOD sets by the name of a row; none are scored where none are named.
        classes: Draw the classes' own histograms, of the images of the class and of the OOD images.
        quantile: The share of the training set's right classes below which an image is rejected.
    """

    rows: dict[_Title, Row] = Field(min_length=1, max_length=6)
    limit: int = Field(default=200, ge=2, le=10_000)
    ood: dict[_Title, tuple[str, ...]] = {}
    classes: bool = False
    quantile: float = Field(default=0.05, gt=0, lt=1)


def measured(args: Args, surroundings: Surroundings) -> Outcome:
    """For every row: how far the likeliest wrong class lies below the right one, and what that is to the spread.

    Columns: "accuracy"; "gap", the median of log p(x | right) - log p(x | likeliest wrong); "spread", the
    interquartile range of log p(x | right); "gap / spread"; "auroc", of right classes against wrong ones, each pooled
    over the images; "wrong accepted", the share of images of which the wrong class lies above the quantile of the
    calibration images' right classes; and "rejected SET", the share of an OOD set below the quantile of each class,
    the mean over the classes.
    """
    figures: dict[Ref, Measured] = {}
    panels: list[Panel] = []
    for name, row in args.rows.items():
        data = Track(surroundings.catalog.track(row.track), surroundings.data_dir)
        spec = surroundings.catalog.detector_spec(row.detector, row.track)
        detector = load_detector(spec, data.card, surroundings.catalog, surroundings.device)
        logits, labels = _scores(detector, data.set("test").limited(args.limit), row)
        held, held_labels = _scores(detector, data.set("calibration").limited(args.limit), row)
        found = _told(logits, labels, held, held_labels, args.quantile)
        figures |= {(name, column): figure for column, figure in found.items()}
        right, wrong = _right_and_wrong(logits, labels)
        panels.append(histogram(name, "log p(x | y)", {"right class": right, "top wrong": wrong}))
        for which in args.ood.get(name, ()):
            outside, _ = _scores(detector, data.set(which).limited(args.limit), row)
            figures[name, f"rejected {which}"] = _rejected(outside, held, held_labels, args.quantile)
            if args.classes:
                panels += _by_class(name, which, logits, labels, outside)
    return Outcome(figures, tuple(panels))


def _scores(detector: Detector, images: ImageSet, row: Row) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = [detector.logits(x) for x in torch.split(images.pixels(), 32)]
    scores = [one.double() for one in found if one is not None]
    if not scores:
        raise UsageError(f"'{row.detector}' has no class-conditional scores; name another detector.")
    return torch.cat(scores), images.labels


def _right_and_wrong(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) scores of the right class, and the largest of the others."""
    mine = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    return logits[mine], logits.masked_fill(mine, -torch.inf).amax(dim=1)


def _told(logits: Tensor, labels: Tensor, held: Tensor, held_labels: Tensor, quantile: float) -> dict[str, Measured]:
    right, wrong = _right_and_wrong(logits, labels)
    low, high = right.quantile(0.25), right.quantile(0.75)
    gap, spread = float((right - wrong).median()), float(high - low)
    threshold = _right_and_wrong(held, held_labels)[0].quantile(quantile)
    auroc = delong(right.numpy(), wrong.numpy(), name="right and wrong classes")
    return {
        "accuracy": share(int((right > wrong).sum()), len(right)),
        "gap": Measured(gap, gap, gap),
        "spread": Measured(spread, spread, spread),
        "gap / spread": Measured(gap / spread, gap / spread, gap / spread),
        "auroc": Measured(auroc.auroc, auroc.low, auroc.high),
        "wrong accepted": share(int((wrong >= threshold).sum()), len(wrong)),
    }


def _rejected(outside: Tensor, held: Tensor, held_labels: Tensor, quantile: float) -> Measured:
    """The share below each class's quantile of its own images, the mean over the classes that have some."""
    right, _ = _right_and_wrong(held, held_labels)
    shares = []
    for label in range(outside.shape[1]):
        own = right[held_labels == label]
        if len(own):
            shares.append(float((outside[:, label] < own.quantile(quantile)).double().mean()))
    mean = sum(shares) / len(shares)
    near = share(round(mean * len(outside)), len(outside))
    return Measured(mean, min(mean, near.low), max(mean, near.high))


def _by_class(name: str, which: str, logits: Tensor, labels: Tensor, outside: Tensor) -> list[Panel]:
    mine = [logits[labels == label, label] for label in range(logits.shape[1])]
    return [
        histogram(f"{name}, class {label}", f"log p(x | {label})", {"ID": mine[label], which: outside[:, label]})
        for label in range(logits.shape[1])
    ]
