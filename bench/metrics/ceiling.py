"""The AUROC that no detector can exceed: an attacker may turn an OOD image into an ID image that is near enough."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.cards.threat import Norm
from bench.metrics.scores import FloatArray, MetricError, checked

_SLACK = 1.0 + 1e-6
"""A pixel k / 255 in float32 is off by up to 3e-8: an image at distance eps counts as reachable."""

_COPY = 1e-9
"""Images nearer than this are the same image: float64 rounding over a million pixels stays below it."""

_CHUNK_BYTES = 8 * 2**20
"""Size of one temporary array; at most three of them live at a time."""

_Pixels = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Ceiling:
    """What a radius leaves to be defended.

    Attributes:
        reachable: Share of OOD images with an ID pool image inside their ball.
        auroc: 1 - reachable / 2: on an image that is copied, no detector does better than a coin.
        distances: (N,) distance of each OOD image to the nearest pool image.
    """

    reachable: float
    auroc: float
    distances: FloatArray


def distance_ceiling(ood_images: ArrayLike, pool_images: ArrayLike, norm: Norm, eps: float) -> Ceiling:
    """Ceiling of one radius; for several, ask `nearest_distances` once and then `ceiling_at`.

    Arguments and errors as in those two.
    """
    return ceiling_at(nearest_distances(ood_images, pool_images, norm), eps)


def ceiling_at(distances: ArrayLike, eps: float) -> Ceiling:
    """Ceiling of a radius, from the distances that `nearest_distances` returns.

    The straight line to a pool image stays in the box [0, 1], so the ball alone decides.

    Args:
        distances: (N,) distances to the nearest pool image.
        eps: Radius in [0, 1] pixel units.

    Raises:
        MetricError: There are no distances, some are NaN, or `eps` is negative or NaN.
    """
    values = checked(distances, "distances")
    if not eps >= 0.0:
        raise MetricError(f"eps is {eps}; allowed is a radius of 0 or more.")
    reachable = float(np.mean(values <= eps * _SLACK))
    return Ceiling(reachable, 1.0 - reachable / 2.0, values)


def nearest_distances(ood_images: ArrayLike, pool_images: ArrayLike, norm: Norm) -> FloatArray:
    """Distance of each OOD image to the nearest pool image, in [0, 1] pixel units.

    Takes memory of about 25 MB beside the images themselves, whatever their number.

    Args:
        ood_images: (N, ...) float in [0, 1], or uint8 in [0, 255] (faster for L-infinity).
        pool_images: (M, ...) images of the same shape: ID images that the attacker may use.
        norm: Any; in L0 values that differ count.

    Returns:
        (N,) float64.

    Raises:
        MetricError: No images, other shapes, or pixels outside [0, 1].
    """
    ood, pool = _flat_pixels(ood_images, "OOD images"), _flat_pixels(pool_images, "pool images")
    if ood.shape[1] != pool.shape[1]:
        raise MetricError(
            f"OOD images have {ood.shape[1]} pixels and pool images {pool.shape[1]}; give images of one shape."
        )
    if norm in (Norm.L1, Norm.L0):
        return _nearest_summed(ood, pool, Norm(norm))
    return _nearest_l2(ood, pool) if norm == Norm.L2 else _nearest_linf(ood, pool)


def radii_for_reach(distances: ArrayLike, shares: Sequence[float]) -> tuple[float, ...]:
    """For each share the largest radius, cut to two digits, at which at most this share of OOD images is reachable.

    Args:
        distances: (N,) as `nearest_distances` returns.
        shares: Each in [0, 1).

    Returns:
        One radius a share; 0 where more than the share is reachable at any radius (copies of pool images).

    Raises:
        MetricError: There are no distances, some are NaN, or a share lies outside [0, 1).
    """
    ordered = np.sort(checked(distances, "distances"))
    if wrong := [share for share in shares if not 0.0 <= share < 1.0]:
        raise MetricError(f"shares {wrong} are given; allowed are shares from 0 up to below 1.")
    # Rounding first: 0.29 of 100 images is 29, where binary floats make it 28.
    return tuple(_cut_below(float(ordered[math.floor(round(share * ordered.size, 9))]) / _SLACK) for share in shares)


def _cut_below(bound: float) -> float:
    """The largest number of two significant digits strictly below a bound; 0 where that is rounding error."""
    if bound < _COPY:
        return 0.0
    exponent = math.floor(math.log10(bound)) - 1
    digits = math.ceil(bound / 10.0**exponent)
    while float(f"{digits}e{exponent}") >= bound:
        digits -= 1
    if digits < 10:  # below a power of ten the next number of two digits is a tenth as far away: 0.099, not 0.09
        digits, exponent = 99, exponent - 1
    return float(f"{digits}e{exponent}")


def _flat_pixels(images: ArrayLike, what: str) -> _Pixels:
    """(N, pixels): bytes stay bytes, all else is checked to lie in [0, 1]."""
    values = np.asarray(images)
    if values.ndim < 2 or values.size == 0:
        raise MetricError(f"the {what} have shape {values.shape}; give at least one image, as (N, ...).")
    flat = values.reshape(len(values), -1)
    if flat.dtype == np.uint8:
        return flat
    flat = flat.astype(np.float32, copy=False)
    if not (flat.min() >= 0.0 and flat.max() <= 1.0):  # false for NaN too
        raise MetricError(f"the {what} have pixels outside [0, 1]; divide bytes by 255, or give them as uint8.")
    return flat


def _unit(pixels: _Pixels, dtype: type[np.floating]) -> NDArray[np.floating]:
    values = pixels.astype(dtype)
    return values / dtype(255) if pixels.dtype == np.uint8 else values


def _chunks(rows: int, row_bytes: int) -> Iterator[slice]:
    step = max(1, _CHUNK_BYTES // max(1, row_bytes))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _nearest_l2(ood: _Pixels, pool: _Pixels) -> FloatArray:
    """By |a|^2 + |b|^2 - 2 ab in float64; the nearest one's distance is then taken from the pixels themselves.

    That form cancels near 0: without the second step a copy would not come out at 0.
    """
    pixels = ood.shape[1]
    best = np.full(len(ood), np.inf)
    for mine in _chunks(len(ood), 8 * pixels):
        a = _unit(ood[mine], np.float64)
        least, nearest = np.full(len(a), np.inf), np.zeros(len(a), dtype=np.int64)
        for others in _chunks(len(pool), 8 * max(pixels, len(a))):
            b = _unit(pool[others], np.float64)
            squares = np.einsum("ij,ij->i", b, b)[None, :] - 2.0 * (a @ b.T)
            where = squares.argmin(axis=1)
            value = squares[np.arange(len(a)), where]
            nearest = np.where(value < least, where + others.start, nearest)
            least = np.minimum(value, least)
        best[mine] = np.linalg.norm(a - _unit(pool[nearest], np.float64), axis=1)
    return best


def _nearest_linf(ood: _Pixels, pool: _Pixels) -> FloatArray:
    """Pixel by pixel: exact on bytes where both sides are bytes, else in float32."""
    bytes_only = ood.dtype == pool.dtype == np.uint8
    if not bytes_only:
        ood, pool = _unit(ood, np.float32), _unit(pool, np.float32)
    best = np.full(len(ood), np.inf)
    for others in _chunks(len(pool), 8 * ood.dtype.itemsize * ood.shape[1]):  # an eighth of the size stays in the cache
        b = pool[others]
        high, low = np.empty_like(b), np.empty_like(b)
        for i, a in enumerate(ood):
            np.maximum(a, b, out=high)
            np.minimum(a, b, out=low)
            best[i] = min(best[i], float(np.subtract(high, low, out=high).max(axis=1).min()))
    return best / 255.0 if bytes_only else best


def _nearest_summed(ood: _Pixels, pool: _Pixels, norm: Norm) -> FloatArray:
    """Image by image: sums of differences, or how many values differ; exact on bytes where both sides are bytes."""
    bytes_only = ood.dtype == pool.dtype == np.uint8
    if not bytes_only:
        ood, pool = _unit(ood, np.float32), _unit(pool, np.float32)
    best = np.full(len(ood), np.inf)
    for others in _chunks(len(pool), 16 * ood.shape[1]):
        b = pool[others]
        for i, a in enumerate(ood):
            if norm is Norm.L0:
                far = np.count_nonzero(b != a, axis=1)
            else:
                far = np.subtract(np.maximum(a, b), np.minimum(a, b)).sum(axis=1, dtype=np.float64)
            best[i] = min(best[i], float(far.min()))
    return best / 255.0 if bytes_only and norm is Norm.L1 else best
