"""Figures of paths between images: what scores and class probabilities do on the way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.scores import FloatArray, MetricError


@dataclass(frozen=True)
class PathFigures:
    """What P paths have in common at each of their A points.

    Attributes:
        score: (A,) mean score.
        accepted: (A,) share of the paths whose image is accepted, the score at or above its threshold.
        confidence_from: (A,) mean probability of the class that the path leaves; None without class probabilities.
        confidence_to: (A,) mean probability of the class that it goes to; None as well.
        accepted_throughout: Share of the paths of which every image is accepted.
    """

    score: FloatArray
    accepted: FloatArray
    confidence_from: FloatArray | None
    confidence_to: FloatArray | None
    accepted_throughout: float


def path_figures(
    scores: ArrayLike,
    thresholds: ArrayLike,
    *,
    confidence_from: ArrayLike | None = None,
    confidence_to: ArrayLike | None = None,
    name: str = "paths",
) -> PathFigures:
    """Mean curves along paths, and how many of the paths are never left by the detector's acceptance.

    Args:
        scores: (P, A), P and A at least 1.
        thresholds: (P, A) in force for each image, or anything that broadcasts to that.
        confidence_from: (P, A) probabilities of the first image's class.
        confidence_to: (P, A) probabilities of the second image's class.
        name: Whose paths, for errors.

    Raises:
        MetricError: There are no paths, or numbers that are not finite or of another shape.
    """
    table = _table(scores, None, f"the scores of {name}")
    limits = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), table.shape)
    curves = [
        None if given is None else _table(given, table.shape, f"the probabilities of {name}").mean(axis=0)
        for given in (confidence_from, confidence_to)
    ]
    accepted = table >= limits
    return PathFigures(
        table.mean(axis=0), accepted.mean(axis=0), curves[0], curves[1], float(accepted.all(axis=1).mean())
    )


def _table(values: ArrayLike, shape: tuple[int, ...] | None, what: str) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or (shape is not None and table.shape != shape):
        allowed = "(paths, points)" if shape is None else str(shape)
        raise MetricError(f"{what} have shape {table.shape}; allowed is {allowed}, with at least one of each.")
    if not np.isfinite(table).all():
        raise MetricError(f"{what} hold numbers that are not finite; a detector must give a finite one for each image.")
    return table
