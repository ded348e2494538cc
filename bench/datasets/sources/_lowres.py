"""Bitmaps brought to the resolution of scikit-learn's digits, in the way those digits were made.

The digits are 32x32 bitmaps of which every 4x4 block was counted: 8x8 values 0..16 (Alpaydin and Kaynak 1998). Letters
and scribbles pass through the same steps, so that they differ from digits in shape and not in sharpness.
"""

import numpy as np
from PIL import Image

SIDE = 32
"""Height and width of a bitmap, and of the images made from it."""

WIDTH = 26
"""Pixels that digits are wide at most: the outermost 4x4 blocks of their columns are almost always empty."""

_Y, _X = (np.mgrid[0:SIDE, 0:SIDE] + 0.5).reshape(2, -1, 1)


def count_blocks(bitmaps: np.ndarray) -> np.ndarray:
    """(N, 32, 32) bool -> (N, 8, 8) counts 0..16 of the set pixels in each 4x4 block."""
    blocks = bitmaps.reshape(len(bitmaps), 8, 4, 8, 4)
    counts: np.ndarray = blocks.sum(axis=(2, 4))
    return counts


def upscale(counts: np.ndarray) -> np.ndarray:
    """(N, 8, 8) values 0..16 -> (N, 32, 32, 1) uint8, bilinear.

    Bilinear and not smoother: its values stay in range without clipping. Pillow resizes bytes in fixed-point
    arithmetic, so the result is the same on every machine.
    """
    small = np.rint(np.asarray(counts, dtype=np.float64) * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in small]
    return np.stack(large)[..., None]


def inside(contours: list[np.ndarray]) -> np.ndarray:
    """(32, 32) bool: which pixel centres closed contours enclose, by the non-zero winding rule.

    Args:
        contours: (P, 2) corner points each, x to the right and y down, in pixels.
    """
    start, end = np.concatenate(contours), np.concatenate([np.roll(line, -1, axis=0) for line in contours])
    upward = (start[:, 1] <= _Y) & (end[:, 1] > _Y)
    downward = (start[:, 1] > _Y) & (end[:, 1] <= _Y)
    # Twice the signed area of the triangle (start, end, point): its sign says on which side of the edge the point lies.
    side = (end[:, 0] - start[:, 0]) * (_Y - start[:, 1]) - (_X - start[:, 0]) * (end[:, 1] - start[:, 1])
    winding = (upward & (side > 0)).sum(axis=1) - (downward & (side < 0)).sum(axis=1)
    mask: np.ndarray = (winding != 0).reshape(SIDE, SIDE)
    return mask


def near_line(lines: list[np.ndarray], radius: float) -> np.ndarray:
    """(32, 32) bool: which pixel centres lie within `radius` pixels of open polylines; arguments as in `inside`."""
    start, end = np.concatenate([line[:-1] for line in lines]), np.concatenate([line[1:] for line in lines])
    along_x, along_y = (end - start).T
    from_x, from_y = _X - start[:, 0], _Y - start[:, 1]
    length2 = np.maximum(along_x**2 + along_y**2, 1e-12)
    t = np.clip((from_x * along_x + from_y * along_y) / length2, 0.0, 1.0)
    distance2 = (from_x - t * along_x) ** 2 + (from_y - t * along_y) ** 2
    mask: np.ndarray = (distance2.min(axis=1) <= radius**2).reshape(SIDE, SIDE)
    return mask


def fill_box(lines: list[np.ndarray], margin: float, width: float = WIDTH) -> list[np.ndarray]:
    """Points moved and scaled to the box that the digits fill: the whole height, centred.

    Args:
        lines: (P, 2) points each, x to the right and y down.
        margin: Pixels left free on every side, for the width of the stroke.
        width: Pixels that the result is wide at most, margins included.
    """
    points = np.concatenate(lines)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = np.maximum(high - low, 1e-9)
    scale = (SIDE - 2 * margin) / extent[1]
    # What would be too wide is squeezed and not shrunk: a digit always has the full height.
    squeeze = min(1.0, (width - 2 * margin) / (extent[0] * scale))
    return [(line - (low + high) / 2) * (scale * squeeze, scale) + SIDE / 2 for line in lines]


def turn(lines: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    """Points turned about the origin."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return [line @ np.array([[c, s], [-s, c]]) for line in lines]
