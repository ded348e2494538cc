"""Interval bound propagation: between which numbers every unit of a network stays while its image moves in a ball.

Gowal et al. (2018), "On the effectiveness of interval bound propagation for training verifiably robust models",
section 3. A linear map W takes an interval of middle m and half width r to one of middle W m and half width |W| r, and
a SiLU to the least and the largest value that it has between the ends. All of it is differentiable in the weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.cards.threat import Norm
from bench.detectors.balls import l2_radius
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.small import SmallConvNet

SILU_LOWEST = -1.2784645427610738
"""Where x * sigmoid(x) is least: it falls before and rises after."""

_WIDER = 1e-12
"""Of a bound's size, which float64 sums of a few thousand numbers do not round away."""


@dataclass(frozen=True)
class Ball:
    """What is known of a ball around images: how far each pixel moves, and all of them together.

    Attributes:
        centre: (N, C, H, W) the images, in [0, 1].
        low: Least pixels.
        high: Largest pixels.
        radius: L2 radius; None where pixels move independently.
    """

    centre: Tensor
    low: Tensor
    high: Tensor
    radius: float | None = None


def ball(x: Tensor, norm: Norm, eps: float) -> Ball:
    """The part of a ball that lies in [0, 1], or something larger that is easier to describe."""
    reach = eps if norm is not Norm.L0 else float(eps >= 1)
    low, high = (x - reach).clamp(0.0, 1.0), (x + reach).clamp(0.0, 1.0)
    return Ball(x, low, high, None if norm is Norm.LINF else l2_radius(norm, eps, x[0].numel()))


def can_be_bounded(network: FromPixels | None) -> bool:
    """Whether `pairwise_bounds` knows every layer of a network."""
    if network is None or network.crop is not None or network.resize is not None:
        return False
    return isinstance(network.network, SmallConvNet)


def pairwise_bounds(network: FromPixels, around: Ball) -> Tensor:
    """(N, K, K) upper bounds of the differences z_k - z_l of logits over a ball.

    The last layer is bounded for each difference, (W_k - W_l) h + b_k - b_l, which is tighter than the difference of
    two bounds. Where the ball has an L2 radius, a unit of the first layer moves from its value at the centre by at most
    the radius times the length of its weights, by the Cauchy-Schwarz inequality.

    Args:
        network: One that `can_be_bounded`; computed in the type of the ball's pixels.
        around: Of the images.
    """
    inner = network.network
    assert isinstance(inner, SmallConvNet)
    kind = around.centre.dtype
    std, mean = network.std.to(kind), network.mean.to(kind)
    low, high = (around.low - mean) / std, (around.high - mean) / std
    for number, layer in enumerate(inner.convolutions):
        low, high = _linear(layer, low, high)
        if number == 0 and around.radius is not None:
            at, reach = _around(layer, (around.centre - mean) / std, std, around.radius)
            low, high = torch.maximum(low, at - reach), torch.minimum(high, at + reach)
        low, high = _silu(low, high)
    low, high = _silu(*_linear(inner.hidden, low.flatten(1), high.flatten(1)))
    weight, bias = inner.output.weight.to(kind), inner.output.bias.to(kind)
    differences, offsets = weight[:, None] - weight[None], bias[:, None] - bias[None]
    middle = torch.einsum("nd,kld->nkl", (high + low) / 2, differences)
    return middle + torch.einsum("nd,kld->nkl", (high - low) / 2, differences.abs()) + offsets


def log_odds_bound(differences: Tensor) -> Tensor:
    """(N, K, K) upper bounds of z_k - z_l -> (N,) an upper bound of the top class's log-odds.

    log p_k / (1 - p_k) = -logsumexp over l != k of (z_l - z_k), at most -logsumexp of -u_kl; the largest over k.
    """
    own = torch.eye(differences.shape[1], dtype=torch.bool, device=differences.device)
    return -torch.logsumexp((-differences).masked_fill(own, -torch.inf), dim=2).amin(dim=1)


@torch.no_grad()
def certified_log_odds(network: FromPixels, x: Tensor, norm: Norm, eps: float) -> Tensor:
    """(N,) of the type of x: what the log-odds exceed on no image of the ball; computed in float64 and rounded up."""
    bound = log_odds_bound(pairwise_bounds(network, ball(x.double(), norm, eps)))
    return (bound + _WIDER * bound.abs()).to(x.dtype)


def _linear(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest outputs of a convolution or a linear layer."""
    middle, width = (high + low) / 2, (high - low) / 2
    weight, bias = _weights(layer, low.dtype)
    if isinstance(layer, nn.Conv2d):
        middle, width = _convolved(layer, middle, weight, bias), _convolved(layer, width, weight.abs())
    else:
        middle, width = functional.linear(middle, weight, bias), functional.linear(width, weight.abs())
    return middle - width, middle + width


def _around(layer: nn.Module, centre: Tensor, std: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Outputs at the centre, and how far they move in an L2 ball of pixels; at the edges some weights meet none."""
    assert isinstance(layer, nn.Conv2d)
    weight, bias = _weights(layer, centre.dtype)
    squared = _convolved(layer, torch.ones_like(centre[:1]), (weight / std).square())
    return _convolved(layer, centre, weight, bias), radius * squared.sqrt()


def _weights(layer: nn.Module, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    assert layer.bias is not None
    return layer.weight.to(kind), layer.bias.to(kind)


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer with other weights."""
    found: Tensor = layer._conv_forward(x, weight, bias)
    return found


def _silu(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest SiLU of an interval."""
    turning = torch.full_like(low, SILU_LOWEST).clamp(low.detach(), high.detach())
    at_low, at_high = functional.silu(low), functional.silu(high)
    least = torch.minimum(torch.minimum(at_low, at_high), functional.silu(turning))
    return least, torch.maximum(at_low, at_high)
