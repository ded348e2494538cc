"""Images of several sets as one row, converted to float32 only where they are asked for: bytes take a quarter."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.base import ImageSet


class Pixels:
    """(N, C, H, W) images in [0, 1] that are held as bytes.

    Args:
        parts: The sets, one after the other; at least one.
        device: Where the converted images go.
    """

    def __init__(self, parts: Sequence[ImageSet], device: torch.device) -> None:
        self._parts = parts
        self.device = device
        self.shape = tuple(parts[0].images.shape[1:])

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def at(self, rows: NDArray[np.int64]) -> Tensor:
        """(R, C, H, W) float32 on the device, of ascending rows."""
        found, before = [], 0
        for part in self._parts:
            first, last = np.searchsorted(rows, [before, before + len(part)])
            if first < last:
                found.append(part.pixels(torch.from_numpy(rows[first:last] - before)))
            before += len(part)
        return torch.cat(found or [self._parts[0].pixels(slice(0, 0))]).to(self.device)

    def __getitem__(self, rows: slice) -> Tensor:
        """(R, C, H, W) float32 on the device, of neighbouring rows."""
        start, stop, step = rows.indices(len(self))
        assert step == 1, "neighbours are asked for"
        found, before = [], 0
        for part in self._parts:
            mine = slice(max(start - before, 0), max(min(stop - before, len(part)), 0))
            if mine.start < mine.stop:
                found.append(part.pixels(mine))
            before += len(part)
        return torch.cat(found or [self._parts[0].pixels(slice(0, 0))]).to(self.device)
