"""Arrays of scores: what is accepted, their spread, and their form after an early stop."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import CellError

FloatArray = NDArray[np.float64]


class MetricError(CellError):
    """A figure is not defined for the scores given."""


Scores = NDArray[np.floating[Any]]
"""float32, or float64 where the detector gives that: an offset must not make ties of ranks that float64 holds."""


def as_scores(values: NDArray[Any]) -> Scores:
    """The same numbers, as float64 where they are that and as float32 else."""
    return values if values.dtype == np.float64 else values.astype(np.float32, copy=False)


def checked(scores: ArrayLike, what: str, name: str = "scores") -> FloatArray:
    """The scores as a float64 vector.

    Args:
        scores: (N,) numbers; +-inf are allowed, for they have a rank.
        what: What these scores are, e.g. "ID scores".
        name: Where they come from, e.g. a cell's name; the message starts with it.

    Raises:
        MetricError: They are not a vector of numbers, there is none, or some are NaN.
    """
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MetricError(f"{name}: the {what} are not numbers ({error}); give a vector of floats.") from error
    if values.ndim != 1:
        raise MetricError(f"{name}: the {what} have shape {values.shape}; give a vector, one score an image.")
    if values.size == 0:
        raise MetricError(f"{name}: there are no {what}; give at least one on the ID and one on the OOD side.")
    if missing := int(np.isnan(values).sum()):
        raise MetricError(
            f"{name}: {missing} of {values.size} {what} are NaN; numbers and +-inf are allowed, "
            "so look at the detector that gave them."
        )
    return values


def checked_sides(id_scores: ArrayLike, ood_scores: ArrayLike, name: str = "scores") -> tuple[FloatArray, FloatArray]:
    """Both sides as float64 vectors; arguments and errors as in `checked`."""
    return checked(id_scores, "ID scores", name), checked(ood_scores, "OOD scores", name)


def iqr(scores: ArrayLike, *, name: str = "scores") -> float:
    """Interquartile range of the finite scores: the scale on which differences of scores are judged.

    Always above 0, so that one may divide by it: where the quartiles coincide it is the standard deviation, and
    where all finite scores are equal (or none is finite) it is 1.

    Raises:
        MetricError: As `checked`.
    """
    values = checked(scores, "scores", name)
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.min() == finite.max():
        return 1.0
    low, high = np.percentile(finite, [25, 75])
    return float(high - low) if high > low else float(np.std(finite))


def clip_beyond_targets(
    scores: ArrayLike, low: float | None, high: float | None, *, name: str = "scores"
) -> FloatArray:
    """Scores beyond an early-stop target, set equal to it.

    An attack that stops for ranks leaves a score anywhere beyond its target. Figures that look at ranks within the
    attacked side (AUPR-out under evasion, AUPR-in under alarm) are the same with and without the stop only after this.

    Args:
        scores: (N,) scores of the attacked side.
        low: Target of scores that were lowered, None where none was.
        high: Target of scores that were raised, None where none was.
        name: As in `checked`.

    Returns:
        (N,) float64, a new array.

    Raises:
        MetricError: As `checked`, or `low` is not below `high`, or a target is NaN.

    >>> clip_beyond_targets([0.2, 5.0], low=None, high=1.0).tolist()
    [0.2, 1.0]
    """
    values = checked(scores, "scores", name).copy()
    if any(target is not None and np.isnan(target) for target in (low, high)):
        raise MetricError(f"{name}: the early-stop targets are {low} and {high}; NaN is not allowed.")
    if low is not None and high is not None and low >= high:
        raise MetricError(f"{name}: the lower early-stop target {low} is not below the upper one {high}; swap them.")
    if high is not None:
        np.minimum(values, high, out=values)
    if low is not None:
        np.maximum(values, low, out=values)
    return values
