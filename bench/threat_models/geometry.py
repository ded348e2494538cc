"""The norm balls: exact projection onto ball and box, distances, directions of ascent, and uniform points.

Every function is batched over the first dimension and treats each sample by itself. Images and perturbations are in
[0, 1] pixel units; an L0 radius counts values. Bit-equal results for one sample ask for a fixed batch size, since
reductions may depend on it.
"""

import math

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.errors import UsageError
from bench.threat_models import sparse_balls
from bench.threat_models.base import Context

_INSIDE = 1.0 - 1e-6
"""Projections aim at this share of eps, so that float32 rounding leaves the norm below eps * (1 + 1e-5)."""

_HALF_ULP = 2.0**-25
"""The most that rounding to float32 moves a pixel in [0, 1]: an L-infinity ball has no direction to average it out."""

_CLOSE = 4e-6
"""The search on the ray ends once the squared norm is within this share of its aim: a few roundings of float32."""

_MOST_SECANTS = 60
"""Far more than the search needs (3 to 5); it is feasible after each of them, so the cap costs optimality alone."""

_STEP_SECANTS = 5
"""How many a step of an attack takes, since asking whether more are needed makes a device wait. On digits and mnist the
squared norm then misses its aim by less than 1e-7 of it on average, at eps 4 too, where most pixels clip."""


ORDERS = {Norm.L0: 0.0, Norm.L1: 1.0, Norm.L2: 2.0, Norm.LINF: math.inf}
"""Of `torch.linalg.vector_norm`."""


def project(z: Tensor, x: Tensor, norm: Norm, eps: float) -> Tensor:
    """The point of {y in [0, 1]: ||y - x|| <= eps} that is nearest to z in L2 (for L-infinity: in every coordinate).

    The L2 projection is `clip(x + t (z - x), 0, 1)` for the largest t in (0, 1] whose norm is within eps: the KKT
    conditions of the projection scale the displacement of every coordinate that does not touch the box by the same t.

    Args:
        z: (N, ...) float32, anywhere.
        x: (N, ...) float32 centres in [0, 1].
        norm: Any; of L1 and L0 see `bench.threat_models.sparse_balls`.
        eps: Radius in pixel units.

    Returns:
        (N, ...) inside box and ball, the norm at most eps * (1 + 1e-5).
    """
    if norm is Norm.L1:
        return _project_l1(z.flatten(1), x.flatten(1), eps).view_as(z)
    if norm is Norm.L0:
        return sparse_balls.project_l0(z.flatten(1), x.flatten(1), eps).view_as(z)
    if norm is Norm.LINF:
        reach = max(eps - _HALF_ULP, 0.0)
        return torch.clamp(z, (x - reach).clamp_(min=0.0), (x + reach).clamp_(max=1.0))
    return _project_l2(z.flatten(1), x.flatten(1), eps).view_as(z)


def ball_bounds(x: Tensor, norm: Norm, eps: float) -> tuple[Tensor, ...]:
    """What `project_step` asks about the centres of balls, each (N, ...): made once for all steps of an attack.

    Args:
        x: (N, ...) float32 centres in [0, 1].
        norm: Any.
        eps: Radius in pixel units.
    """
    if norm is not Norm.LINF:
        return (x,)
    reach = max(eps - _HALF_ULP, 0.0)
    return (x - reach).clamp_(min=0.0), (x + reach).clamp_(max=1.0)


def project_step(
    z: Tensor, ball_bounds: tuple[Tensor, ...], norm: Norm, eps: float, *, secants: int = _STEP_SECANTS
) -> Tensor:
    """`project` in a fixed number of operations, that no step of an attack waits for a device.

    Always inside box and ball.

    Args:
        z: (N, ...) float32, anywhere; overwritten.
        ball_bounds: Of the centres.
        norm: Any.
        eps: Radius in pixel units.
        secants: After so many the search for the nearest point in L2 ends, at most that far inside the ball.
    """
    if norm is Norm.LINF:
        return torch.clamp(z, *ball_bounds, out=z)
    (x,) = ball_bounds
    if norm in (Norm.L1, Norm.L0):
        return project(z, x, norm, eps)
    shape = (-1, *(1,) * (z.ndim - 1))
    d = z.sub_(x)
    aim = inner(eps, d[0].numel() if len(d) else 1) ** 2
    u = (aim / _squared(d)).clamp_(max=1.0)  # the infinite ratio at d = 0 becomes 1
    one, before = torch.ones_like(u), (torch.zeros_like(u), torch.zeros_like(u))
    y, moved = torch.addcmul(x, d, u.sqrt().view(shape)).clamp_(0.0, 1.0), torch.empty_like(d)
    for _ in range(secants):
        s = _squared(torch.sub(y, x, out=moved))
        if _all_near(s, u, aim):
            break
        ahead = torch.addcdiv(u, (aim - s).mul_(u - before[0]), s - before[1])
        before = u, s
        # Where the whole of d fits, u stays 1 and 0 / 0 is no number, which fmin passes over.
        u = torch.where(s < aim * (1.0 - _CLOSE), torch.fmin(ahead, one), u)
        torch.addcmul(x, d, u.sqrt().view(shape), out=y).clamp_(0.0, 1.0)
    return y


def asking_is_free(device: torch.device) -> bool:
    """Whether Python may look at a tensor's values without a wait for those before them."""
    return device.type == "cpu"


def _all_near(s: Tensor, u: Tensor, aim: float) -> bool:
    """Whether no secant moves any sample any more; False where nobody may ask."""
    if not asking_is_free(s.device):
        return False
    return not bool(((s.numpy() < aim * (1.0 - _CLOSE)) & (u.numpy() < 1.0)).any())


def inner(eps: float, pixels: int) -> float:
    """The radius that a point's perturbation may have, so that rounding to float32 leaves the point in the ball."""
    return max(min(eps * _INSIDE, eps * (1.0 + 5e-6) - _HALF_ULP * math.sqrt(pixels)), 1e-18)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Steepest ascent of unit length: g / ||g|| for L2, sign(g) for L-infinity, the steepest value alone for L1.

    Args:
        gradient: (N, ...); a sample whose gradient is zero or not finite everywhere gets zeros.
        norm: Any but L0.

    Raises:
        UsageError: The norm is L0, of whose length no direction says anything.
    """
    length = magnitude(gradient)
    usable = (length > 0) & (length < math.inf)
    return unit(gradient, torch.where(usable, length, math.inf), norm)


def unit(gradient: Tensor, length: Tensor, norm: Norm) -> Tensor:
    """The same where the lengths are known; a sample of length 0 or infinity gets zeros, whatever its gradient holds.

    Args:
        gradient: (N, ...).
        length: (N,) at least 0.
        norm: Any but L0.

    Raises:
        UsageError: The norm is L0.
    """
    if norm is Norm.L0:
        raise UsageError("the L0 norm has no direction of steepest ascent; choose a threat made for it: sigma-zero.")
    shape = (-1, *(1,) * (gradient.ndim - 1))
    if norm is Norm.LINF:
        return gradient.sign().mul_((length < math.inf).to(gradient.dtype).view(shape))  # the sign of NaN is 0
    if norm is Norm.L1:
        steepest = sparse_balls.steepest_l1(gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)).view_as(gradient)
        return steepest.mul_((length < math.inf).to(gradient.dtype).view(shape))
    return (gradient / length.to(gradient.dtype).view(shape)).nan_to_num_(0.0, 0.0, 0.0)


def magnitude(gradient: Tensor) -> Tensor:
    """(N,) float64 lengths: 0 where a sample's gradient is zero, not finite where any of its entries is not.

    Summed in float64, since the squares of a saturated score's gradient can leave float32's range while the gradient
    itself does not.
    """
    length: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
    return length


def dual_norm(gradient: Tensor, norm: Norm) -> Tensor:
    """(N,) how fast an objective of this gradient rises along `direction`: its norm in the dual one.

    That is L2 for L2, L1 for L-infinity, and L-infinity for L1; for L0 it is L2, which tells only whether there is a
    gradient. It is 0 where the gradient is zero, and not finite where any of its entries is not.
    """
    if norm in (Norm.L2, Norm.L0):
        return magnitude(gradient)
    order = 1.0 if norm is Norm.LINF else math.inf
    total: Tensor = torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1)
    return total


def choose(which: Tensor, one: Tensor, other: Tensor, *, out: Tensor) -> Tensor:
    """Whole samples from `one` where `which` is true, else from `other`; exactly, where both are finite.

    It does what `torch.where` does in a quarter of the time: that looks at its mask once a pixel.

    Args:
        which: (N,) bool.
        one: (N, ...).
        other: (N, ...).
        out: (N, ...) where to write it; may be one of them.
    """
    weight = which.to(out.dtype).view(-1, *(1,) * (out.ndim - 1))
    return torch.lerp(other, one, weight, out=out)


def distance(y: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """(N,) float32 distances between images in the norm, summed in float64; in L0 how many values differ."""
    lengths: Tensor = torch.linalg.vector_norm((y.double() - x.double()).flatten(1), ord=ORDERS[norm], dim=1)
    return lengths.float()


def reach(x: Tensor, norm: Norm, eps: float) -> float:
    """The radius, at most that of the box: steps that keep growing with a ball that holds the whole box never settle.

    Args:
        x: (N, C, H, W) images.
        norm: Any.
        eps: Radius.
    """
    values = math.prod(x.shape[1:])
    return min(eps, {Norm.LINF: 1.0, Norm.L2: math.sqrt(values)}.get(norm, float(values)))


def uniform_in_ball(x: Tensor, norm: Norm, eps: float, *, ids: Tensor, draw: int, context: Context) -> Tensor:
    """One point a sample, uniform in the volume of the ball around x, then clipped to the box.

    The L2 ball is drawn as a normal direction times a radius of density r^(d-1): eps * u^(1/d). The L0 ball has no
    volume: as many values as it allows are drawn, each uniform in [0, 1].

    Args:
        x: (N, ...) centres in [0, 1].
        norm: Any.
        eps: Radius.
        ids: (N,) int64 sample ids.
        draw: Which of the independent points of these samples.
        context: Where the random numbers come from.
    """
    shape = tuple(x.shape[1:])
    if norm is Norm.LINF:
        offset = (context.uniform(ids, 2 * draw, shape) * 2.0 - 1.0) * eps
        return project(x + offset, x, norm, eps)
    if norm is Norm.L1:
        numbers = context.uniform(ids, 2 * draw, (2 * math.prod(shape) + 1,))
        return project(x + sparse_balls.uniform_l1(numbers, eps * _INSIDE).view_as(x), x, norm, eps)
    if norm is Norm.L0:
        numbers = context.uniform(ids, 2 * draw, (2 * math.prod(shape),))
        return sparse_balls.uniform_l0(x.flatten(1), numbers, eps).view_as(x)
    normal = context.noise(ids, 2 * draw, shape)
    radius = context.uniform(ids, 2 * draw + 1, (1,)) ** (1.0 / math.prod(shape)) * (eps * _INSIDE)
    length = torch.linalg.vector_norm(normal.flatten(1), dim=1, keepdim=True)
    scale = (radius / length).view(-1, *(1,) * len(shape))
    return torch.addcmul(x, normal, scale).clamp_(0.0, 1.0)


def _project_l1(z: Tensor, x: Tensor, eps: float) -> Tensor:
    """The projection; where the roundings of many values add up, a little farther in."""
    y = sparse_balls.project_l1(z, x, eps * _INSIDE)
    over = torch.linalg.vector_norm(y.double() - x, ord=1, dim=1, keepdim=True) > eps * (1.0 + 5e-6)
    if asking_is_free(x.device) and not bool(over.any()):
        return y
    share = max(eps * (1.0 + 5e-6) - _HALF_ULP * x.shape[1], 0.0) / eps
    return torch.where(over, torch.lerp(x, y, share), y)


def _squared(d: Tensor) -> Tensor:
    """(N,) squared L2 norms."""
    length: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1)
    return length.square_()


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
