"""Noise that looks a little like images: the out-distribution of Hein, Andriushchenko and Bitterwolf (2019)."""

import torch
from torch import Tensor

REACH = 7
"""Pixels on each side of the Gaussian filter's centre, as in the authors' code."""


def filtered_noise(x: Tensor, generator: torch.Generator, *, permuted: float, sigmas: tuple[float, float]) -> Tensor:
    """As many images of noise as there are images: some are images whose pixels changed places, others are uniform.

    Section 4 of the paper: every one is blurred by a Gaussian filter with a standard deviation of its own, drawn
    uniformly from `sigmas`, and its grey levels are stretched to all of [0, 1], since a blur lowers the contrast.

    Deviation: the standard deviation is drawn for every image, where the authors' code draws one a batch.

    Args:
        x: (N, C, H, W) images in [0, 1], of whose first ones the pixels are permuted.
        generator: The only source of randomness.
        permuted: Share of the permuted images; channels of a pixel stay together.
        sigmas: Least and largest standard deviation, in pixels.

    Returns:
        (N, C, H, W), each from 0 to 1.
    """
    count = round(permuted * len(x))
    shuffled = torch.stack([_permuted(image, generator) for image in x[:count]]) if count else x[:0]
    uniform = torch.rand((len(x) - count, *x.shape[1:]), generator=generator).to(x)
    low, high = sigmas
    spread = low + (high - low) * torch.rand(len(x), generator=generator).to(x)
    return stretched(low_passed(torch.cat([shuffled, uniform]), spread))


def low_passed(x: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian filter of every image by a standard deviation of its own; edges are reflected with the edge itself.

    Args:
        x: (N, C, H, W).
        sigmas: (N,) in pixels, above 0.
    """
    rows, columns = (_filters(side, sigmas)[:, None] for side in x.shape[-2:])
    return rows @ x @ columns.transpose(-1, -2)


def stretched(x: Tensor) -> Tensor:
    """Grey levels of every image brought to [0, 1] by one shift and one factor; an even image becomes black."""
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    return (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)


def _permuted(image: Tensor, generator: torch.Generator) -> Tensor:
    pixels = image.flatten(1)
    return pixels[:, torch.randperm(pixels.shape[1], generator=generator).to(pixels.device)].view_as(image)


def _filters(side: int, sigmas: Tensor) -> Tensor:
    """(N, side, side): row i holds the weights with which pixels enter pixel i."""
    offsets = torch.arange(-REACH, REACH + 1, device=sigmas.device)
    weights = torch.exp(-0.5 * (offsets / sigmas[:, None]).square())
    weights = weights / weights.sum(dim=1, keepdim=True)
    places = (torch.arange(side, device=sigmas.device)[:, None] + offsets) % (2 * side)
    places = torch.where(places < side, places, 2 * side - 1 - places)  # 2 1 0 | 0 1 2 | 2 1 0
    matrix = torch.zeros(len(sigmas), side, side, device=sigmas.device, dtype=weights.dtype)
    count = (len(sigmas), side, len(offsets))
    return matrix.scatter_add_(2, places.expand(count), weights[:, None].expand(count))
