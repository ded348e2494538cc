"""Row sums of the Gram matrices of a layer at all orders, and the range that each class has."""

import torch
from torch import Tensor, nn

from bench.errors import NotFittableError

SMALLEST_BOUND = 1e-6
"""Added to a bound's size before it divides, so that a channel which is always off divides by no zero."""

CACHED = 2**17
"""Numbers of a layer that are raised to all powers at a time on a CPU: as many as stay in its cache, three times as
fast as a batch of 256 at once."""


def gram_row_sums(features: Tensor, orders: int) -> Tensor:
    """Row sums of the Gram matrices of orders p = 1 to `orders`, each with its signed p-th root.

    With F the (C, places) features of an image and powers taken entry by entry, row i of order p is the signed p-th
    root of sum_j [F^p (F^p)^T]_ij. Neither the (C, C) matrix nor a power that leaves float32 is formed:
    the sum is F^p (1^T F^p)^T, and the powers are taken of F over its largest entry at each place, m(x), and of
    F m over the largest entry of each channel, c_i. The p-th root takes both scales out again, g_i = c_i * root_p of
    sum_x (F_i m / c_i)^p sum_j (F_j / m)^p, and for even p the sum is at least 1. As g does not depend on them, the
    scales are constants to the gradient.

    Args:
        features: (N, C) or (N, C, ...), of any sign.
        orders: The highest order.

    Returns:
        (N, orders, C).
    """
    maps = features.flatten(2) if features.ndim > 2 else features[:, :, None]
    size = max(1, CACHED // (maps.shape[1] * maps.shape[2])) if maps.device.type == "cpu" else max(1, len(maps))
    parts = [maps[start : start + size] for start in range(0, max(1, len(maps)), size)]
    return torch.cat([_row_sums(part, orders) for part in parts])


def _row_sums(maps: Tensor, orders: int) -> Tensor:
    """(N, C, places) -> (N, orders, C)."""
    channels, places = 1, 2
    if maps.shape[1] > maps.shape[2]:  # the longer side goes last, where sums along either are fast
        maps, channels, places = maps.transpose(1, 2).contiguous(), 2, 1
    with torch.no_grad():
        sizes = maps.abs()
        at_place = _or_one(sizes.amax(dim=channels, keepdim=True))
        of_channel = _or_one((sizes * at_place).amax(dim=places, keepdim=True))
    by_place, by_channel = maps / at_place, maps * at_place / of_channel
    left, right, sums = by_channel, by_place, []
    for order in range(1, orders + 1):
        if order > 1:
            left, right = left * by_channel, right * by_place
        sums.append((left * right.sum(dim=channels, keepdim=True)).sum(dim=places))
    return _signed_roots(torch.stack(sums, dim=1)) * of_channel.squeeze(places)[:, None]


def _or_one(scale: Tensor) -> Tensor:
    """The scale, and 1 where it is zero or too small for its reciprocal."""
    return torch.where(scale > torch.finfo(scale.dtype).tiny, scale, 1.0)


def _signed_roots(sums: Tensor) -> Tensor:
    """(N, P, C) -> the same, entry [:, p - 1] to the power 1 / p with its sign.

    The root's slope is infinite at 0, which sums of odd order reach where their terms cancel. Terms being of the
    order of 1, sums below the rounding error of 1 say nothing, and a straight line through 0 takes the root's place.
    """
    orders = torch.arange(1, sums.shape[1] + 1, dtype=sums.dtype, device=sums.device)[:, None]
    return sums * sums.abs().clamp_min(torch.finfo(sums.dtype).eps) ** (1.0 / orders - 1.0)


class ClassRanges(nn.Module):
    """Smallest and largest value of every row sum of a layer among the training images of each class.

    Buffers: `lower` and `upper` (classes, orders, C); NaN before `set`.

    Args:
        classes: Number of classes.
        orders: Number of orders.
        channels: C.
        floor: What a bound counts for where a deviation is divided by it: at least this share of the largest bound of
            its class and order. Sums that are near zero next to the others are all rounding.
    """

    def __init__(self, classes: int, orders: int, channels: int, floor: float = 0.0) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer("lower", torch.full((classes, orders, channels), torch.nan))
        self.register_buffer("upper", torch.full((classes, orders, channels), torch.nan))
        self.lower: Tensor
        self.upper: Tensor

    def set(self, lower: Tensor, upper: Tensor) -> None:
        """Take over the ranges."""
        self.lower.copy_(lower)
        self.upper.copy_(upper)

    def forward(self, sums: Tensor, classes: Tensor) -> Tensor:
        """(N, orders, C) row sums and (N,) classes -> (N,): how far outside, relative to the bound that is crossed."""
        nearest = torch.clamp(sums, self.lower[classes], self.upper[classes])
        return ((sums - nearest).abs() / self._size(nearest, classes)).sum(dim=(1, 2))

    def slack(self, sums: Tensor, classes: Tensor) -> Tensor:
        """(N, orders, C) row sums and (N,) classes -> (N,): how far the nearest bound is, relative to it.

        Only of sums strictly inside their ranges; infinite where there are none.
        """
        lower, upper = self.lower[classes], self.upper[classes]
        room = torch.minimum((sums - lower) / self._size(lower, classes), (upper - sums) / self._size(upper, classes))
        return torch.where(room > 0, room, torch.inf).amin(dim=(1, 2))

    def _size(self, bounds: Tensor, classes: Tensor) -> Tensor:
        """What a deviation from these bounds (N, orders, C) is divided by."""
        largest = torch.maximum(self.lower.abs(), self.upper.abs()).amax(dim=2, keepdim=True)
        return torch.maximum(bounds.abs() + SMALLEST_BOUND, self.floor * largest[classes])


class RunningRanges:
    """Smallest and largest row sums of each class, of images that arrive in batches.

    Args:
        like: The ranges to be set in the end, for shapes, device and type.
    """

    def __init__(self, like: ClassRanges) -> None:
        self.lower = torch.full_like(like.lower, torch.inf)
        self.upper = torch.full_like(like.upper, -torch.inf)

    def add(self, sums: Tensor, classes: Tensor) -> None:
        """Take in (N, orders, C) row sums of images of (N,) classes."""
        for label in set(classes.tolist()):
            of_class = sums[classes == label]
            self.lower[label] = torch.minimum(self.lower[label], of_class.amin(dim=0))
            self.upper[label] = torch.maximum(self.upper[label], of_class.amax(dim=0))

    def estimate(self) -> tuple[Tensor, Tensor]:
        """(classes, orders, C) lower and upper bounds.

        Raises:
            NotFittableError: A class has no image.
        """
        missing = torch.nonzero(torch.isinf(self.lower).flatten(1).any(dim=1)).flatten().tolist()
        if missing:
            raise NotFittableError(
                f"the network predicts class {missing} for no training image; every class needs at least one: "
                "fit on more images, or on a network that is trained."
            )
        return self.lower, self.upper
