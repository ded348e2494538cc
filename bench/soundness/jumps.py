"""Where a score jumps: no gradient shows that, and an ascent that stands before a jump does not know of it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.detectors.untouched import untouched
from bench.metrics.scores import Scores
from bench.soundness.probes import Target
from bench.threat_models import geometry
from bench.threat_models.gradient import Oracle

PIECES = 8
"""Pieces of a way, of which the one over which the score changes most is halved."""

HALVINGS = 14
"""How often: what is left of the way is 1 / (8 * 2^14) of it, some 1e-5 of the radius."""


def queries(ways: int) -> int:
    """Scores of an image that `largest_jumps` asks for."""
    return ways * (PIECES + 1 + HALVINGS)


def largest_jumps(target: Target, ends: Sequence[Tensor]) -> Scores:
    """The largest jump of each image's score on the straight ways to some points, each cut at the ball.

    Of a continuous score the difference vanishes with the piece. Where a ripple and a jump lie on one way, the ripple
    may hide it.

    Args:
        target: What is probed.
        ends: Each (N, C, H, W), where a way ends.

    Returns:
        (N,) absolute differences between the ends of what is left of the way after all halvings.
    """
    oracle = Oracle(target.detector, ids=target.ids, context=target.context)
    with untouched(target.detector):
        found = [_jump(oracle, target.x, geometry.project(end, target.x, target.norm, target.eps)) for end in ends]
    jumps: NDArray[np.float64] = torch.stack(found).amax(dim=0).double().cpu().numpy()
    return jumps


def _jump(oracle: Oracle, start: Tensor, end: Tensor) -> Tensor:
    """(N,) the difference over the shortest piece of one way."""

    def score(at: Tensor) -> Tensor:
        place = at.to(start)[:, None, None, None]
        return oracle.evaluate(torch.lerp(start, end, place))[0]

    ticks = torch.linspace(0.0, 1.0, PIECES + 1, dtype=torch.float64, device=start.device)
    known = torch.stack([score(tick.expand(len(start))) for tick in ticks])
    piece = _size(known[1:] - known[:-1]).argmax(dim=0)
    low, high = ticks[piece], ticks[piece + 1]
    below, above = (known.gather(0, (piece + end)[None]).squeeze(0) for end in (0, 1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        found = score(middle)
        first = _size(found - below) >= _size(above - found)
        low, below = torch.where(first, low, middle), torch.where(first, below, found)
        high, above = torch.where(first, middle, high), torch.where(first, found, above)
    return _size(above - below)


def _size(difference: Tensor) -> Tensor:
    """Absolute, 0 where a score is not finite: those are another check's."""
    return difference.abs().nan_to_num(0.0, 0.0, 0.0)
