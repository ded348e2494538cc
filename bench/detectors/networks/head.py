"""The linear layer from the penultimate features of a classifier to its logits."""

import torch
from torch import Tensor, nn

from bench.detectors.networks.base import FromPixels
from bench.detectors.untouched import untouched
from bench.errors import NotFittableError

SAME = 1e-4
"""The same layer on the same numbers, up to another order of sums in float32."""


def head_name(network: FromPixels, shape: tuple[int, int, int]) -> str:
    """The name, among the network's modules, of the layer that makes its logits of its penultimate features.

    It is found by trying: a linear layer, or a 1x1 convolution, that gives the network's own logits for the features of
    two random images.

    Args:
        network: The classifier; left as it was.
        shape: (C, H, W) of its images.

    Raises:
        NotFittableError: The network has no such layer.
    """
    anchor = next(network.parameters(), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, *shape, generator=generator).to(anchor.device, anchor.dtype)
    with untouched(network), torch.no_grad():
        seen = network.activations(images)
        features, logits = seen["penultimate"].flatten(1), seen["logits"]
        for name, module in network.named_modules():
            parts = linear_parts(module)
            if parts is None or parts[0].shape[1] != features.shape[1]:
                continue
            found = nn.functional.linear(features, *parts)
            if found.shape == logits.shape and torch.allclose(found, logits, rtol=SAME, atol=SAME):
                return str(name)
    raise NotFittableError(
        "the classifier's logits are no linear layer of its penultimate features, and this detector needs that "
        "layer; choose a detector of logits, or another network."
    )


def linear_parts(module: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """(K, D) weights and (K,) biases of a linear layer or a 1x1 convolution, as the layer has them; None of others."""
    if isinstance(module, nn.Linear):
        return module.weight, module.bias
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        return (module.weight.flatten(1), module.bias) if module.padding in (0, (0, 0), "valid") else None
    return None


def linear_head(network: FromPixels, shape: tuple[int, int, int]) -> nn.Linear:
    """The layer itself, a convolution as a linear layer of the same numbers; see `head_name`.

    Raises:
        NotFittableError: The network has no such layer.
    """
    found = network.get_submodule(head_name(network, shape))
    if isinstance(found, nn.Linear):
        return found
    parts = linear_parts(found)
    assert parts is not None
    weight, bias = parts
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return made.eval()
