"""How far images have to be moved until they are across a line: pure functions on the radius of every image."""

import numpy as np
from numpy.typing import NDArray

from bench.metrics.scores import MetricError

Radii = NDArray[np.float64]
"""(N,) distances from the clean image of the nearest one across the line: 0 where the clean image is, infinite where no
such image is known."""


def radii_across(norms: NDArray[np.floating], across: NDArray[np.bool_]) -> Radii:
    """Radii of images from how far they were moved, and whether they came to lie across the line.

    >>> radii_across(np.array([0.0, 0.5, 0.5]), np.array([True, True, False])).tolist()
    [0.0, 0.5, inf]
    """
    return np.where(across, np.asarray(norms, dtype=np.float64), np.inf)


def share_within(radii: Radii, eps: float | None, *, name: str = "radii") -> float:
    """Share of the images that are across the line within eps; None: anywhere.

    Raises:
        MetricError: There is no image.

    >>> share_within(np.array([0.0, 0.5, 2.0, np.inf]), 0.5)
    0.5
    """
    if len(radii) == 0:
        raise MetricError(f"{name}: there are no images, so there is no share of them.")
    limit = np.finfo(np.float64).max if eps is None else eps * (1 + 1e-5) + 2.0**-23  # as balls are measured
    return float(np.mean(radii <= limit))


def median_radius(radii: Radii, *, name: str = "radii") -> float | None:
    """The radius within which half of the images are across the line; None where fewer than half are anywhere.

    Raises:
        MetricError: There is no image.

    >>> median_radius(np.array([0.0, 0.5, np.inf]))
    0.5
    """
    if len(radii) == 0:
        raise MetricError(f"{name}: there are no images, so there is no median of them.")
    middle = np.sort(radii)[[(len(radii) - 1) // 2, len(radii) // 2]]
    return float(middle.mean()) if np.isfinite(middle).all() else None
