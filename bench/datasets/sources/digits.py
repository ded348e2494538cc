"""scikit-learn's 1,797 handwritten digits, split for good into train, calibration and test."""

import gzip
import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import SourceArgs
from bench.datasets.sources._lowres import upscale
from bench.errors import DataError

CALIBRATION, TEST = 300, 400
"""Sizes of the held-out parts; the other 1,097 images train."""

SPLIT_SEED = 1797


class DigitsArgs(SourceArgs):
    """Which part of the digits."""

    split: Literal["train", "calibration", "test"]


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """The digits of one part, 32x32x1, with labels 0..9.

    The 8x8 originals (0..16) are scaled to bytes and enlarged four times, bilinear. The split is stratified by class
    and fixed by a seed; within a part the original order is kept.

    Raises:
        DataError: A wrong argument, or scikit-learn's file is not where it is expected.
    """
    split = DigitsArgs.parse(args, "digits").split
    counts, labels = originals()
    keep = split_positions(labels)[split]
    return RawImages(upscale(counts[keep]), labels[keep])


def originals() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) values 0..16 and (1797,) labels.

    Read from scikit-learn's own file: importing `sklearn.datasets` for it would take longer than all the rest.
    """
    path = sklearn_file("data/digits.csv.gz")
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    if table.shape != (1797, 65):
        raise DataError(f"{path} holds a table of shape {table.shape}, expected (1797, 65): reinstall scikit-learn.")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def sklearn_file(name: str) -> Path:
    """A data file of the installed scikit-learn, found without importing it.

    Raises:
        DataError: scikit-learn, or the file in it, is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / name
        if path.is_file():
            return path
    raise DataError(f"scikit-learn's file datasets/{name} was not found: install scikit-learn again.")


def split_positions(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Sorted positions of each part: every class is dealt out in the same proportions."""
    rng = np.random.default_rng(SPLIT_SEED)
    shuffled = rng.permutation(len(labels))
    # Order by class (stable, so shuffled within a class), then give position k of that list the rank (k + 0.5) / N of
    # a systematic sample: equal steps through the list take the same share of every class.
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    slots = np.arange(len(labels))
    test = _evenly(slots, TEST)
    rest = np.setdiff1d(slots, test)
    calibration = _evenly(rest, CALIBRATION)
    train = np.setdiff1d(rest, calibration)
    parts = {"train": train, "calibration": calibration, "test": test}
    return {name: np.sort(by_class[part]) for name, part in parts.items()}


def _evenly(slots: np.ndarray, count: int) -> np.ndarray:
    """`count` of the slots in equal steps."""
    taken: np.ndarray = slots[(np.arange(count) * len(slots)) // count]
    return taken
