"""A gradient against central differences of its score: along it, and in random directions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

RANDOM_DIRECTIONS = 4

Score = Callable[[Tensor], Tensor]


def directional_errors(score: Score, x: Tensor, gradient: Tensor, steps: Sequence[float], enough: float) -> Tensor:
    """(1 + `RANDOM_DIRECTIONS`, N) errors of the derivatives along unit directions, each that of the best step.

    An error is |(s(x + h d) - s(x - h d)) / 2h - g . d| over |g| for d along g, and over |g| / sqrt(D) for d at random,
    which is how much of a gradient of D numbers a random direction sees. It is NaN where g is 0 and where differences
    are all rounding.

    Args:
        score: From (N, C, H, W) images to (N,) scores.
        x: The images, inside the box by more than the steps.
        gradient: (N, C, H, W) the gradient g of each score in its image.
        steps: h, in the L2 norm, in the order in which they are tried.
        enough: An error that is as good as none: where all are, no further step is tried.
    """
    lengths = gradient.flatten(1).norm(dim=1)
    generator = torch.Generator().manual_seed(0)
    along = gradient / lengths.clamp_min(1e-300).view(-1, 1, 1, 1)
    found = [_errors(score, x, gradient, along, lengths, steps, enough)]
    for _ in range(RANDOM_DIRECTIONS):
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        direction /= direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        size = lengths * x[0].numel() ** -0.5
        found.append(_errors(score, x, gradient, direction, size, steps, enough))
    return torch.stack(found)


def _errors(
    score: Score, x: Tensor, gradient: Tensor, direction: Tensor, size: Tensor, steps: Sequence[float], enough: float
) -> Tensor:
    """(N,) relative to the size."""
    predicted = (gradient * direction).flatten(1).sum(dim=1)
    error, rounding = torch.full_like(predicted, torch.inf), torch.zeros_like(predicted)
    for step in steps:
        with torch.no_grad():
            above, below = score(x + step * direction), score(x - step * direction)
        error = torch.minimum(error, ((above - below) / (2 * step) - predicted).abs() / size)
        rounding = torch.finfo(above.dtype).eps * above.abs().amax() / step
        if bool((error <= enough).all()):
            break
    return torch.where(size * enough > rounding, error, torch.nan)
