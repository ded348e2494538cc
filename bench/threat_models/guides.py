"""Which in-distribution images an attacked image is led by: drawn, in order, or the nearest ones."""

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.base import Context

_POSITION = 2**31 - 1
"""`sample_ids` keeps an image's position in its set in these bits."""


def needed_pool(context: Context) -> Tensor:
    """(M, C, H, W) the ID images that the attacker may use, M at least 1.

    Raises:
        UsageError: There are none.
    """
    if context.pool is None or len(context.pool) == 0:
        raise UsageError("this threat is led by in-distribution images and was given none; give a track that has some.")
    return context.pool


def drawn_guides(ids: Tensor, count: int, *, pool: int, draw: int, context: Context) -> Tensor:
    """(N, min(count, pool)) int64 rows of the pool, distinct for each sample: a pure function of seed, id and draw.

    The first is drawn, the others follow at even distances, so that all parts of the pool have their say.

    Args:
        ids: (N,) sample ids.
        count: How many are wanted, at least 1.
        pool: The number of images in the pool.
        draw: Which draw of these samples this is.
        context: Where the random numbers come from.
    """
    first = (context.uniform(ids, draw, (1,)).double() * pool).long()
    return _spread(first, count, pool)


def ordered_guides(ids: Tensor, count: int, *, pool: int) -> Tensor:
    """(N, min(count, pool)) int64 rows of the pool: the image at position i of its set starts at row i (mod M)."""
    return _spread((ids & _POSITION)[:, None] % pool, count, pool)


def nearest_guides(x: Tensor, pool: Tensor, norm: Norm, count: int) -> Tensor:
    """(N, min(count, M)) int64 rows of the pool, the nearest first.

    Image by image, so that no distance depends on how many there are.

    Args:
        x: (N, C, H, W) images.
        pool: (M, C, H, W) images, M at least 1.
        norm: L2 or L-infinity.
        count: How many are wanted.
    """
    order, flat = geometry.ORDERS[norm], pool.flatten(1)
    rows = [
        torch.linalg.vector_norm(flat - image.flatten(), ord=order, dim=1).argsort(stable=True)[:count] for image in x
    ]
    return torch.stack(rows) if rows else torch.zeros((0, min(count, len(pool))), dtype=torch.int64, device=x.device)


def _spread(first: Tensor, count: int, pool: int) -> Tensor:
    """(N, 1) rows -> (N, min(count, pool)) distinct ones at even distances from them, round the pool."""
    count = min(count, pool)
    steps = torch.arange(count, device=first.device) * pool // count
    return (first + steps) % pool
