"""The projection onto ball and box by its definition, in float64: what the fast one is compared with."""

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.testing.threats import Setting


def nearest(z: Tensor, x: Tensor, setting: Setting) -> Tensor:
    """(N, D) the point nearest to z, by bisection of the share of the way to z that stays within the ball."""
    if setting.norm is Norm.LINF:
        return z.clamp(x - setting.eps, x + setting.eps).clamp(0, 1)
    low, high = z.new_zeros(len(z), 1), z.new_ones(len(z), 1)
    for _ in range(50):
        middle = (low + high) / 2
        inside = ((x + middle * (z - x)).clamp(0, 1) - x).norm(dim=1, keepdim=True) <= setting.eps
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    whole = (z.clamp(0, 1) - x).norm(dim=1, keepdim=True) <= setting.eps
    return torch.where(whole, z.clamp(0, 1), (x + low * (z - x)).clamp(0, 1))
