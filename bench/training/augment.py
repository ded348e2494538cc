"""Augmentations that draw only from a given generator."""

import math

import torch
from torch import Tensor


def affine(x: Tensor, generator: torch.Generator, *, degrees: float, shift: float, scale: float) -> Tensor:
    """Rotate, shift and scale every image by its own random amounts (bilinear, zeros outside).

    Args:
        x: (N, C, H, W).
        generator: The only source of randomness.
        degrees: Largest rotation, in degrees.
        shift: Largest shift, in pixels.
        scale: Largest relative change of size, e.g. 0.1.
    """
    draws = torch.rand(len(x), 4, generator=generator).to(x.device) * 2 - 1
    angle = draws[:, 0] * math.radians(degrees)
    zoom = 1 + draws[:, 1] * scale
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    offset = draws[:, 2:] * shift * 2 / x.shape[-1]
    matrix = torch.stack(
        [torch.stack([cos, -sin, offset[:, 0]], 1), torch.stack([sin, cos, offset[:, 1]], 1)], 1
    )  # fmt: skip
    grid = torch.nn.functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, align_corners=False)


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def dihedral(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn every image by one of the eight symmetries of the square.

    For outliers: whatever they show, turned or mirrored it is still not in-distribution.
    """
    x = flip(x, generator)
    upside = torch.rand(len(x), generator=generator).to(x.device) < 0.5
    x = torch.where(upside[:, None, None, None], x.flip(-2), x)
    turned = torch.rand(len(x), generator=generator).to(x.device) < 0.5
    return torch.where(turned[:, None, None, None], x.transpose(-1, -2), x)
