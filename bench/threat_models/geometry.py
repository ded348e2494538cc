"""The norm balls: exact projection onto ball and box, distances, directions of ascent, and uniform points.

Every function is batched over the first dimension and treats each sample by itself. Images and perturbations are in
[0, 1] pixel units. Bit-equal results for one sample ask for a fixed batch size, since reductions may depend on it.
"""

import math

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models.base import Context

_INSIDE = 1.0 - 1e-6
"""Projections aim at this share of eps, so that float32 rounding leaves the norm below eps * (1 + 1e-5)."""

_HALF_ULP = 2.0**-25
"""The most that rounding to float32 moves a pixel in [0, 1]: an L-infinity ball has no direction to average it out."""

_CLOSE = 4e-6
"""The search on the ray ends once the squared norm is within this share of its aim: a few roundings of float32."""

_MOST_SECANTS = 60
"""Far more than the search needs (3 to 5); it is feasible after each of them, so the cap costs optimality alone."""


def project(z: Tensor, x: Tensor, norm: Norm, eps: float) -> Tensor:
    """The point of {y in [0, 1]: ||y - x|| <= eps} that is nearest to z in L2 (for L-infinity: in every coordinate).

    The L2 projection is `clip(x + t (z - x), 0, 1)` for the largest t in (0, 1] whose norm is within eps: the KKT
    conditions of the projection scale the displacement of every coordinate that does not touch the box by the same t.

    Args:
        z: (N, ...) float32, anywhere.
        x: (N, ...) float32 centres in [0, 1].
        norm: L2 or L-infinity.
        eps: Radius in pixel units.

    Returns:
        (N, ...) inside box and ball, the norm at most eps * (1 + 1e-5).
    """
    if norm is Norm.LINF:
        reach = max(eps - _HALF_ULP, 0.0)
        return torch.clamp(z, (x - reach).clamp_(min=0.0), (x + reach).clamp_(max=1.0))
    return _project_l2(z.flatten(1), x.flatten(1), eps).view_as(z)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Steepest ascent of unit length: g / ||g|| for L2, sign(g) for L-infinity.

    Args:
        gradient: (N, ...); a sample whose gradient is zero or not finite everywhere gets zeros.
        norm: L2 or L-infinity.
    """
    flat = gradient.flatten(1)
    length = torch.linalg.vector_norm(flat, dim=1)
    odd = _odd(length)
    if bool(odd.any()):
        # The squares of a saturated score's gradient can leave float32's range while the gradient itself does not. Only
        # the samples concerned are scaled: the others must not feel them.
        largest = torch.linalg.vector_norm(flat, ord=math.inf, dim=1)
        usable = torch.isfinite(largest) & (largest > 0)
        flat = torch.where((odd & ~usable)[:, None], 0.0, flat / torch.where(odd & usable, largest, 1.0)[:, None])
        length = torch.linalg.vector_norm(flat, dim=1)
    if norm is Norm.LINF:
        return flat.sign().view_as(gradient)
    return (flat / torch.where(length > 0, length, 1.0)[:, None]).view_as(gradient)


def magnitude(gradient: Tensor) -> Tensor:
    """(N,) numbers that are 0 where a sample's gradient is zero, and not finite where any of its entries is not."""
    flat = gradient.flatten(1)
    length: Tensor = torch.linalg.vector_norm(flat, dim=1)
    odd = _odd(length)
    # The largest entry leaves no doubt, but takes many times as long.
    return torch.where(odd, torch.linalg.vector_norm(flat, ord=math.inf, dim=1), length) if bool(odd.any()) else length


def _odd(length: Tensor) -> Tensor:
    """(N,) where a length may have been made 0 or infinite by squaring, or is NaN."""
    return ~((length > 1e-15) & (length < 1e15))


def distance(y: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """(N,) float32 distances between images in the norm, summed in float64."""
    order = 2.0 if norm is Norm.L2 else math.inf
    lengths: Tensor = torch.linalg.vector_norm((y.double() - x.double()).flatten(1), ord=order, dim=1)
    return lengths.float()


def reach(x: Tensor, norm: Norm, eps: float) -> float:
    """The radius, at most that of the box: steps that keep growing with a ball that holds the whole box never settle.

    Args:
        x: (N, C, H, W) images.
        norm: L2 or L-infinity.
        eps: Radius.
    """
    return min(eps, math.sqrt(math.prod(x.shape[1:])) if norm is Norm.L2 else 1.0)


def uniform_in_ball(x: Tensor, norm: Norm, eps: float, *, ids: Tensor, draw: int, context: Context) -> Tensor:
    """One point a sample, uniform in the volume of the ball around x, then clipped to the box.

    The L2 ball is drawn as a normal direction times a radius of density r^(d-1): eps * u^(1/d).

    Args:
        x: (N, ...) centres in [0, 1].
        norm: L2 or L-infinity.
        eps: Radius.
        ids: (N,) int64 sample ids.
        draw: Which of the independent points of these samples.
        context: Where the random numbers come from.
    """
    shape = tuple(x.shape[1:])
    if norm is Norm.LINF:
        offset = (context.uniform(ids, 2 * draw, shape) * 2.0 - 1.0) * eps
        return project(x + offset, x, norm, eps)
    normal = context.noise(ids, 2 * draw, shape)
    radius = context.uniform(ids, 2 * draw + 1, (1,)) ** (1.0 / math.prod(shape)) * (eps * _INSIDE)
    length = torch.linalg.vector_norm(normal.flatten(1), dim=1, keepdim=True)
    scale = (radius / length).view(-1, *(1,) * len(shape))
    return torch.addcmul(x, normal, scale).clamp_(0.0, 1.0)


def _project_l2(z: Tensor, x: Tensor, eps: float) -> Tensor:
    """Find t by the secant method on S(u) = ||clip(x + sqrt(u) (z - x)) - x||^2 = eps^2.

    S rises, is concave and starts at S(0) = 0, so a secant through two points left of the root never passes it: every
    iterate is feasible, and once two of them share a linear piece of S the next one is exact.
    """
    d = z - x
    aim = (eps * _INSIDE) ** 2
    u = (aim / torch.linalg.vector_norm(d, dim=1).square()).clamp_(max=1.0)  # the infinite ratio at d = 0 becomes 1
    before_u, before_s = torch.zeros_like(u), torch.zeros_like(u)
    y, moved = torch.empty_like(x), torch.empty_like(x)
    shrunk = torch.zeros_like(u, dtype=torch.bool)
    for _ in range(_MOST_SECANTS):
        torch.addcmul(x, d, u.sqrt()[:, None], out=y).clamp_(0.0, 1.0)
        s = torch.linalg.vector_norm(torch.sub(y, x, out=moved), dim=1).square()
        long = s > eps**2  # by rounding of x + t d alone, which shows where eps is not far above the spacing of floats
        shrunk |= long
        short = (u < 1.0) & (s < aim * (1.0 - _CLOSE)) & ~shrunk
        if not bool((short | long).any()):
            break
        slope = (s - before_s) / (u - before_u)
        rise = (aim - s) / torch.where(slope > 0, slope, s / u)
        before_u, before_s = torch.where(short, u, before_u), torch.where(short, s, before_s)
        u = torch.where(short, (u + rise).clamp(max=1.0), torch.where(long, u * (aim / s) * _INSIDE, u))
    return y
