"""What a detector may ask of the network inside it."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Recall = Callable[[str, Tensor, Callable[[Tensor], tuple[Tensor, ...]]], tuple[Tensor, ...]]
"""Called with (name of a function, batch, the function): what it gave for the batch before, or else gives now."""


class Network(nn.Module):
    """A classifier, or a network with one output, whose inner activations can be had in one pass.

    Attributes:
        layers: Names of the activations of `activations`, from input to output; the last two are
            "penultimate" (N, D) and "logits" (N, K).
        trusted: Nothing in it writes into the images that it is given.
    """

    trusted: bool = True
    layers: tuple[str, ...] = ("penultimate", "logits")

    @abstractmethod
    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, H, W) images in the network's own input scale."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K) logits."""
        return self.activations(x)["logits"]


class FromPixels(Network):
    """A network behind the fixed steps from [0, 1] pixels to its own input: centre crop, resize, normalisation.

    Every step has a gradient, so that an attack goes through it and its budget is one of the track's own pixels.

    Args:
        network: The network.
        crop: Side of the centre crop, the exact inverse of a track's zero padding; None keeps the image.
        resize: Side that images are brought to after the crop, bilinearly with antialiasing; None keeps their size.
        mean: One number a channel, subtracted after the crop; None subtracts nothing.
        std: One number a channel, divided by; None divides by nothing.

    Attributes:
        recall: Knows what the network gave before; None asks it always. See `bench.detectors.networks.passes`.
    """

    recall: Recall | None = None

    def __init__(
        self,
        network: Network,
        *,
        crop: int | None = None,
        resize: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.layers = network.layers
        self.trusted = network.trusted and type(network).__module__.startswith("bench.")
        self.crop = crop
        self.resize = resize
        self.normalises = mean is not None or std is not None
        channels = len(mean or std or (0.0,))
        self.register_buffer("mean", torch.tensor(mean or (0.0,) * channels).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std or (1.0,) * channels).view(-1, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, H, W) images in [0, 1]."""
        return self.network.activations(self._given(x))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, K) logits."""
        if type(self.network).forward is Network.forward:
            return self.ends(x)[1]  # the same pass, which may be known
        return self._recalled("logits", x, self._logits)[0]

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) penultimate features and (N, K) logits for (N, C, H, W) images in [0, 1], from one pass."""
        features, logits = self._recalled("ends", x, self._ends)
        return features, logits

    def _recalled(self, name: str, x: Tensor, function: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return function(x) if self.recall is None or torch.is_grad_enabled() else self.recall(name, x, function)

    def _ends(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self.activations(x)
        return found["penultimate"].flatten(1), found["logits"]

    def _logits(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.network(self._given(x)),)

    def _given(self, x: Tensor) -> Tensor:
        """Networks of others may write into their input, which a score may need once more."""
        own = self.own_input(x)
        return own if self.trusted else own.clone()

    def own_input(self, x: Tensor) -> Tensor:
        """The cropped, resized and normalised image that the network itself sees."""
        if self.crop is not None:
            top, left = (x.shape[-2] - self.crop) // 2, (x.shape[-1] - self.crop) // 2
            x = x[..., top : top + self.crop, left : left + self.crop]
        if self.resize is not None and x.shape[-2:] != (self.resize, self.resize):
            size = (self.resize, self.resize)
            x = functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        return (x - self.mean) / self.std if self.normalises else x
