"""How the images of a cell are cut: into shares for several processes, and into pieces that bound the memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench.cards.threat import Side
from bench.datasets.base import ImageSet
from bench.evaluation.crafting import Crafted
from bench.evaluation.planned import Part

_HELD_BYTES = 8 * 2**20
"""Images are attacked in pieces of at most so many bytes as float32: an attack holds about ten tensors of a piece, and
as many of its restarts. So the memory is about that of the network's own pass, however many images there are."""


_ON_A_CPU, _LARGE = 16, 3 * 32 * 32
"""On a CPU a pass of 16 colour images takes no longer an image than one of 128; small grey ones need the larger."""


@dataclass(frozen=True)
class Piece:
    """What came of one piece of the images of a run, which any process may have attacked.

    Attributes:
        rows: (n,) where they are among the images of the run.
        form: In which form they were attacked, see `Order.forms`.
        done: One entry an image, without the images.
        predicted: The classes that the detector predicts for them after the attack.
        kept: The attacked images that a cell keeps, by set: (their positions in the set, the images).
    """

    rows: NDArray[np.int64]
    form: int
    done: Crafted
    predicted: NDArray[np.int64]
    kept: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]


Pieces = Mapping[Side, Sequence[Piece]]
"""All pieces of each run of an attack, by its direction."""


@dataclass(frozen=True)
class Share:
    """What came of the attack on a part of a cell's images.

    Attributes:
        pieces: By the direction of the attack.
        seconds: What it took.
    """

    pieces: Pieces
    seconds: float


WHOLE = Part()
"""All images of a cell."""


def pieces(count: int, shape: Sequence[int], micro_batch: int, *, whole: bool = False) -> list[slice]:
    """Where to cut so many images of a shape, so that one float32 tensor of a piece stays within `_HELD_BYTES`.

    A piece has whole micro-batches, so that no batch is composed differently for it.

    Args:
        count: How many images there are, at least 1.
        shape: (C, H, W).
        micro_batch: Of scores and gradients.
        whole: Do not cut: the images influence each other.
    """
    held = _HELD_BYTES // (4 * math.prod(shape) * micro_batch)
    size = count if whole else max(1, held) * micro_batch
    return [slice(start, min(start + size, count)) for start in range(0, count, max(1, size))]


def batch_of_a_search(shape: Sequence[int], micro_batch: int, device: torch.device) -> int:
    """Images of a pass of an attack: as few as cost nothing, since images that are done leave in whole passes.

    What an attack found is scored at the micro-batch, whatever the search took. It depends on nothing that may change
    from run to run on one kind of device.

    Args:
        shape: (C, H, W) of an image.
        micro_batch: Of scores, the most that a pass may have.
        device: Where the detector computes.
    """
    if device.type == "cpu" and math.prod(shape) >= _LARGE:
        return min(micro_batch, _ON_A_CPU)
    return micro_batch


def slices(names: Sequence[str], chosen: Sequence[ImageSet]) -> dict[str, slice]:
    """Where each set lies among the images of one run."""
    ends = np.cumsum([len(part) for part in chosen]).tolist()
    return {name: slice(end - len(part), end) for name, part, end in zip(names, chosen, ends, strict=True)}
