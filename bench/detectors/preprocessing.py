"""The gradient that a detector takes of its own score before it scores."""

from collections.abc import Callable

import torch
from torch import Tensor


def input_gradient(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(N, C, H, W) gradient of a per-image score at x, detached; also under `no_grad` and `inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(leaf).sum(), leaf)
    return gradient
