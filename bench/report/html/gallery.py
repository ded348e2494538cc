"""Start image, attacked image and their difference, with norm and scores."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.evaluation.results import Cell
from bench.report import numbers
from bench.report.html.drawing import data_uri
from bench.report.html.scores import label_of, single_threshold

Starts = Callable[[str, list[int], list[int]], "list[NDArray[np.float32] | None]"]
"""Images of a set by their positions and ids: (C, H, W) in [0, 1], or None where they are not at hand."""


@dataclass(frozen=True)
class Shown:
    """One attacked image; images are data URIs.

    Attributes:
        set: The set that it is from.
        start: The clean image; "" where it is not at hand.
        attacked: The attacked image.
        difference: Grey where nothing changed, each pixel's change times `factor`; "" without a clean image.
        factor: By how much the difference is magnified.
        norm: Distance between the two.
        clean_score: Score of the clean image.
        score: Score of the attacked image.
        outcome: What the detector makes of the two: "rejected → accepted"; "" where it has no single threshold.
    """

    set: str
    start: str
    attacked: str
    difference: str
    factor: str
    norm: str
    clean_score: str
    score: str
    outcome: str

    @property
    def size(self) -> int:
        """Letters of its images."""
        return len(self.start) + len(self.attacked) + len(self.difference)


@dataclass(frozen=True)
class Gallery:
    """The attacked images of one cell that are shown."""

    title: str
    norm: str
    images: tuple[Shown, ...]


def gallery_of(cell: Cell, starts: Starts, *, each: int, letters: int) -> Gallery | None:
    """The first images of every attacked set; None where the cell keeps none that fit.

    Args:
        cell: The cell.
        starts: Gives clean images.
        each: The most images of a set.
        letters: The most letters that the images may take together; those beyond are left out.
    """
    shown: list[Shown] = []
    for name, rows in _chosen(cell, each).items():
        samples = cell.samples.iloc[[row for row, _ in rows]]
        clean = starts(name, samples["index"].astype(int).tolist(), samples["id"].astype(int).tolist())
        for (_, image), (_, sample), start in zip(rows, samples.iterrows(), clean, strict=True):
            found = _shown(cell, name, sample, image, start)
            if sum(other.size for other in shown) + found.size > letters:
                break
            shown.append(found)
    return Gallery(label_of(cell.meta), str(cell.meta.norm or "l2"), tuple(shown)) if shown else None


def _chosen(cell: Cell, each: int) -> "dict[str, list[tuple[int, NDArray[np.float32]]]]":
    """Set -> rows of samples and their attacked images."""
    images, rows = cell.arrays.get("images"), cell.arrays.get("image_rows")
    if images is None or rows is None or images.ndim != 4 or images.shape[1] not in (1, 3) or len(rows) != len(images):
        return {}
    sets = cell.samples["set"].to_numpy()
    chosen: dict[str, list[tuple[int, NDArray[np.float32]]]] = {}
    for row, image in zip(rows.tolist(), images, strict=True):
        if 0 <= row < len(sets) and len(of_set := chosen.setdefault(str(sets[row]), [])) < each:
            of_set.append((row, image))
    return chosen


def _shown(
    cell: Cell, name: str, sample: Any, attacked: NDArray[np.float32], start: NDArray[np.float32] | None
) -> Shown:
    if start is not None and start.shape != attacked.shape:
        start = None
    difference, factor = ("", "") if start is None else _difference(attacked - start)
    threshold = single_threshold(cell.meta)
    outcome = ""
    if threshold is not None:
        words = ["accepted" if score >= threshold else "rejected" for score in (sample["clean_score"], sample["score"])]
        outcome = " → ".join(words)
    return Shown(
        name,
        "" if start is None else image_uri(start),
        image_uri(attacked),
        difference,
        factor,
        _figure(sample["norm"]),
        _figure(sample["clean_score"]),
        _figure(sample["score"]),
        outcome,
    )


def _difference(change: NDArray[np.float32]) -> tuple[str, str]:
    largest = float(np.nan_to_num(np.abs(change)).max())
    if largest == 0.0:
        return image_uri(np.full_like(change, 0.5)), "1"
    return image_uri(0.5 + change / (2.0 * largest)), f"{0.5 / largest:.3g}"


def image_uri(image: NDArray[np.floating]) -> str:
    """A PNG data URI of a (C, H, W) image in [0, 1] with one or three channels."""
    pixels = np.rint(np.nan_to_num(image, nan=0.0).clip(0, 1) * 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(out, "PNG", optimize=False)
    return data_uri("image/png", out.getvalue())


def _figure(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else numbers.ABSENT
