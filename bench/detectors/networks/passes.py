"""What a network gave for batches of images, kept for a while: scores on one network then ask it once for all."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.detectors.networks.base import FromPixels

MOST_BYTES = 64 << 20
"""Features and logits that are kept at most; batches beyond it are computed by every score anew."""


class Passes:
    """Features and logits by network and batch, as long as this object lives.

    A batch is known by its pixels and its shape, so that what comes back is what the network would give, bit for bit.

    Args:
        most_bytes: What is kept at most.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room = most_bytes
        self._kept: dict[tuple[str, str, str], tuple[Tensor, ...]] = {}

    @contextmanager
    def shared(self, network: FromPixels | None, settings: Mapping[str, Any] | None) -> Iterator[None]:
        """While it is entered, the network is asked for no batch that it, or an equal one, was asked for before.

        Args:
            network: In evaluation mode; None shares nothing.
            settings: From which it was built; with its weights they are the whole of it. None shares nothing.
        """
        if network is None or settings is None:
            yield
            return
        token = identity(network, settings)
        network.recall = partial(self._recall, token)
        try:
            yield
        finally:
            network.recall = None

    def _recall(
        self, token: str, name: str, x: Tensor, function: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        place = token, name, _digest(x)
        found = self._kept.get(place)
        if found is None:
            found = function(x)
            size = sum(values.nbytes for values in found)
            if size <= self._room:
                self._room -= size
                self._kept[place] = found
        return tuple(values.clone() for values in found)  # a score may write into what it gets


@contextmanager
def asked_anew(detector: nn.Module) -> Iterator[None]:
    """While it is entered, the networks inside are asked for every batch, also for those whose answers are kept."""
    networks = [module for module in detector.modules() if isinstance(module, FromPixels)]
    kept = [network.recall for network in networks]
    for network in networks:
        network.recall = None
    try:
        yield
    finally:
        for network, recall in zip(networks, kept, strict=True):
            network.recall = recall


def identity(network: FromPixels, settings: Mapping[str, Any]) -> str:
    """What tells a network from others: how it is built, its weights, and where they lie."""
    found = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, value in network.state_dict().items():
        found.update(f"{name} {value.device} {value.dtype} {tuple(value.shape)}".encode())
        found.update(_bytes(value))
    return found.hexdigest()


def _digest(x: Tensor) -> str:
    found = hashlib.sha256(f"{x.dtype} {tuple(x.shape)} {x.stride()}".encode())
    found.update(_bytes(x))
    return found.hexdigest()


def _bytes(values: Tensor) -> Any:
    return values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data if values.numel() else b""
