"""Augmentations that draw only from a given generator, and what recipes do to ID images and to outliers alike."""

import math

import torch
from torch import Tensor

from bench.training.base import RecipeArgs


class AugmentArgs(RecipeArgs):
    """How images are augmented; shifts in pixels, rotations in degrees."""

    degrees: float = 8.0
    shift: float = 2.0
    scale: float = 0.1
    mirror: bool = False


class OutlierAugmentArgs(AugmentArgs):
    """How ID images and outliers are augmented: alike, and outliers may be turned besides."""

    turn_outliers: bool = True  # by the symmetries of the square; off where a turned outlier may be ID


def augmented(x: Tensor, args: AugmentArgs, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) images after small affine maps, and mirrored half the time where `mirror` says so."""
    x = affine(x, generator, degrees=args.degrees, shift=args.shift, scale=args.scale)
    return flip(x, generator) if args.mirror else x


def augmented_outliers(x: Tensor, args: OutlierAugmentArgs, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) outliers, turned where `turn_outliers` says so, then augmented as ID images are.

    An affine map resamples, which blurs and blackens what comes in from beyond the edge. Were it done to ID images
    alone, a network could tell both sides by that.
    """
    if args.turn_outliers:
        x = dihedral(x, generator)
    return augmented(x, args, generator)


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
    matrix = torch.stack([torch.stack([cos, -sin, offset[:, 0]], 1), torch.stack([sin, cos, offset[:, 1]], 1)], 1)
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
