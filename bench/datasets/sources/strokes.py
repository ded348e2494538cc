"""Random pen strokes at the digits' resolution: training outliers that are near the digits and are no letters."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Count, Seed, SourceArgs
from bench.datasets.sources._lowres import count_blocks, fill_box, near_line, upscale


class StrokesArgs(SourceArgs):
    """How many scribbles, and which draw of them."""

    count: Count
    seed: Seed


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Scribbles as 32x32x1 images, without labels.

    Every image is two to four strokes of one pen, each a cubic Bezier curve, a polyline or an arc at random, drawn
    as a bitmap that fills the box as digits do, counted in 4x4 blocks and enlarged as the digits are. No font is used.

    Raises:
        DataError: A wrong argument.
    """
    wanted = StrokesArgs.parse(args, "strokes")
    rng = np.random.default_rng(wanted.seed)
    bitmaps = np.stack([_bitmap(rng) for _ in range(wanted.count)])
    return RawImages(upscale(count_blocks(bitmaps)), np.full(wanted.count, -1, dtype=np.int64))


def _bitmap(rng: np.random.Generator) -> np.ndarray:
    radius = rng.uniform(1.6, 3.0)
    kinds = (_bezier, _polyline, _arc)
    strokes = [kinds[rng.integers(len(kinds))](rng) for _ in range(rng.integers(2, 5))]
    # The unit square is made as narrow as digits are before it is stretched to their height.
    narrow = np.array([rng.uniform(0.35, 0.85), 1.0])
    return near_line(fill_box([stroke * narrow for stroke in strokes], radius), radius)


def _bezier(rng: np.random.Generator) -> np.ndarray:
    p, q, r, s = rng.uniform(0.0, 1.0, size=(4, 2))
    t = np.linspace(0.0, 1.0, 10)[:, None]
    curve: np.ndarray = (1 - t) ** 3 * p + 3 * t * (1 - t) ** 2 * q + 3 * t**2 * (1 - t) * r + t**3 * s
    return curve


def _polyline(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.0, 1.0, size=(int(rng.integers(2, 5)), 2))


def _arc(rng: np.random.Generator) -> np.ndarray:
    start, span = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.5 * np.pi, 1.8 * np.pi)
    angle = start + np.linspace(0.0, span, 13)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    arc: np.ndarray = rng.uniform(0.3, 0.7, size=2) + rng.uniform(0.15, 0.45, size=2) * circle
    return arc
