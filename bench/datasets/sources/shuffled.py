"""Training digits that are broken: training outliers with the digits' own strokes and no digit."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Count, Seed, SourceArgs
from bench.datasets.sources._lowres import upscale
from bench.datasets.sources.digits import originals, split_positions


class ShuffledArgs(SourceArgs):
    """How many broken digits, and which draw of them."""

    count: Count
    seed: Seed


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Broken training digits as 32x32x1 images, without labels.

    One half has the four quadrants of a digit out of place (no quadrant stays where it was), the other half are digits
    turned by a quarter to the left or right; zeros, which would stay zeros, are not used. Both happen at 8x8, before
    the enlarging, so that no seam shows. Only digits of the training part are used.

    Raises:
        DataError: A wrong argument.
    """
    wanted = ShuffledArgs.parse(args, "shuffled")
    rng = np.random.default_rng(wanted.seed)
    counts, labels = originals()
    train = split_positions(labels)["train"]
    digits = counts[train[labels[train] != 0]]
    chosen = digits[rng.integers(len(digits), size=wanted.count)]
    broken = [
        _quadrants(digit, rng) if i % 2 == 0 else np.rot90(digit, k=int(rng.choice((1, 3))))
        for i, digit in enumerate(chosen)
    ]
    return RawImages(upscale(np.stack(broken)), np.full(wanted.count, -1, dtype=np.int64))


def _quadrants(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    parts = [image[y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
    order = rng.permutation(4)
    while (order == np.arange(4)).any():
        order = rng.permutation(4)
    a, b, c, d = (parts[k] for k in order)
    return np.block([[a, b], [c, d]])
