"""The balls in L1 and L0: exact projection onto ball and box, steepest ascent, and random points.

An L0 radius counts values, so that a pixel of three channels counts as three where all of them change; a radius of 10.5
allows 10. Functions are batched over rows, (N, D) each, and treat each row by itself.
"""

import torch
from torch import Tensor


def project_l1(z: Tensor, x: Tensor, eps: float) -> Tensor:
    """The point of {y in [0, 1]: ||y - x||_1 <= eps} that is nearest to z in L2 (Croce and Hein 2021, proposition 2.1).

        y = x + sign(z - x) min(max(|z - x| - t, 0), room),  room = how far x is from the wall on that side

    for the smallest t >= 0 in the ball. How far y is from x falls with t along straight pieces, so that Newton's
    step from the left of the root lands on it once both lie on one piece; where values come off their walls on the way
    it goes past the root, which then bounds the search from the right, and every third step halves what is left.
    Computed in float64, since long steps cancel.

    Args:
        z: (N, D), anywhere.
        x: (N, D) centres in [0, 1].
        eps: Radius, above 0.
    """
    d = z.double() - x
    size, room = d.abs(), torch.where(d > 0, 1.0 - x, x.double())
    off_wall = size - room
    t = low = size.new_zeros(len(x), 1)
    high = size.amax(dim=1, keepdim=True)
    excess = slope = torch.ones_like(low)  # at the left end
    moved = torch.minimum(size, room)
    over = moved.sum(dim=1, keepdim=True) - eps
    for turn in range(_MOST_STEPS):
        left = (over > _CLOSE * eps) | ((over < -_CLOSE * eps) & (t > 0))
        if x.device.type == "cpu" and not bool(left.any()):  # elsewhere asking makes a device wait
            break
        outside = over > 0
        under_way = ((size > t) & (off_wall <= t)).sum(dim=1, keepdim=True)
        low, high = torch.where(outside, t, low), torch.where(outside, high, t)
        excess, slope = torch.where(outside, over, excess), torch.where(outside, under_way.double(), slope)
        ahead = low + excess / slope  # infinite where all values lie at walls
        halved = (low + high) / 2 if turn % 3 == 2 else ahead
        t = torch.where(left, torch.where(halved < high, halved, (low + high) / 2), t)
        moved = torch.minimum((size - t).clamp_min_(0.0), room)
        over = moved.sum(dim=1, keepdim=True) - eps
    moved = torch.where(over > _CLOSE * eps, torch.minimum((size - high).clamp_min_(0.0), room), moved)
    return (x + torch.where(moved > 0, d.sign() * moved, 0.0)).to(x.dtype).clamp_(0.0, 1.0)


_MOST_STEPS = 40
"""More than the search takes (3 to 15)."""

_CLOSE = 1e-9
"""The root is found once the distance is within this share of the radius."""


def project_l0(z: Tensor, x: Tensor, eps: float) -> Tensor:
    """The point of {y in [0, 1]: ||y - x||_0 <= eps} that is nearest to z in L2, one of them where several are.

    Of the point of the box that is nearest to z, those values are kept that bring it nearest; the others are x's.

    Args:
        z: (N, D), anywhere.
        x: (N, D) centres in [0, 1].
        eps: Radius; its whole part counts.
    """
    count = min(int(eps), x.shape[1])
    boxed = z.clamp(0.0, 1.0)
    if count < 1 or len(x) == 0:
        return x.clone()
    gain = (z - x).square() - (z - boxed).square()
    kept = gain.topk(count, dim=1, sorted=False).indices
    return x.scatter(1, kept, boxed.gather(1, kept))


def steepest_l1(gradient: Tensor) -> Tensor:
    """(N, D) steepest ascent of length 1 in L1: along the value with the largest slope, the first of equals."""
    best = gradient.abs().argmax(dim=1, keepdim=True)
    return torch.zeros_like(gradient).scatter_(1, best, gradient.gather(1, best).sign())


def uniform_l1(numbers: Tensor, eps: float) -> Tensor:
    """(N, D) displacements uniform in the volume of the L1 ball: gaps of sorted uniforms, each with a random sign.

    Args:
        numbers: (N, 2 D + 1) uniform in (0, 1).
        eps: Radius.
    """
    size = numbers.shape[1] // 2
    shares = -numbers[:, : size + 1].log()  # exponentials over their sum are uniform in the simplex
    shares = shares[:, :size] / shares.sum(dim=1, keepdim=True)
    return eps * shares * (numbers[:, size + 1 :] - 0.5).sign()


def uniform_l0(x: Tensor, numbers: Tensor, eps: float) -> Tensor:
    """(N, D) points at which as many values as the radius allows, all choices alike, are uniform in [0, 1].

    Args:
        x: (N, D) centres.
        numbers: (N, 2 D) uniform in (0, 1).
        eps: Radius; its whole part counts.
    """
    size = x.shape[1]
    count = min(int(eps), size)
    if count < 1 or len(x) == 0:
        return x.clone()
    chosen = numbers[:, :size].topk(count, dim=1).indices
    return x.scatter(1, chosen, numbers[:, size:].gather(1, chosen))
