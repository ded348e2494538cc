"""The linear layer from the penultimate features of a classifier to its logits."""

import torch
from torch import nn

from bench.detectors.networks.base import FromPixels
from bench.detectors.untouched import untouched
from bench.errors import NotFittableError

SAME = 1e-4
"""The same layer on the same numbers, up to another order of sums in float32."""


def head_name(network: FromPixels, shape: tuple[int, int, int]) -> str:
    """The name, among the network's modules, of the layer that makes its logits of its penultimate features.

    It is found by trying: a linear layer that gives the network's own logits for the features of two random images.

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
            if not isinstance(module, nn.Linear) or module.in_features != features.shape[1]:
                continue
            found = module(features)
            if found.shape == logits.shape and torch.allclose(found, logits, rtol=SAME, atol=SAME):
                return str(name)
    raise NotFittableError(
        "the classifier's logits are no linear layer of its penultimate features, and this detector needs that "
        "layer; choose a detector of logits, or another network."
    )


def linear_head(network: FromPixels, shape: tuple[int, int, int]) -> nn.Linear:
    """The layer itself; see `head_name`.

    Raises:
        NotFittableError: The network has no such layer.
    """
    found = network.get_submodule(head_name(network, shape))
    assert isinstance(found, nn.Linear)
    return found
