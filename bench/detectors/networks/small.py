"""A small convolutional network for 32x32 images, sized so that a gradient costs well under 0.1 ms on two cores."""

from collections.abc import Sequence

from torch import Tensor, nn

from bench.detectors.networks.base import Network
from bench.errors import InputError


class SmallConvNet(Network):
    """Strided convolutions (5x5, then 3x3), one hidden layer, SiLU, no normalisation and no dropout.

    SiLU rather than ReLU, because a smooth score gives an attacker honest gradients; no batch statistics, so that a
    score depends on its own image alone.

    Args:
        channels: Output channels of each convolution; every one halves the side.
        hidden: Width of the penultimate layer.
        outputs: Number of logits.
        in_channels: 1 for grey images, 3 for colour.
        size: Side of the images; divisible by 2 to the number of convolutions.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 128,
        outputs: int = 10,
        in_channels: int = 1,
        size: int = 32,
    ) -> None:
        super().__init__()
        if size % 2 ** len(channels):
            raise InputError(
                f"size {size} cannot be halved {len(channels)} times; choose a multiple or fewer channels."
            )
        convolutions, width = [], in_channels
        for i, out in enumerate(channels):
            kernel = 5 if i == 0 else 3
            convolutions.append(nn.Conv2d(width, out, kernel, stride=2, padding=kernel // 2))
            width = out
        self.convolutions = nn.ModuleList(convolutions)
        self.hidden = nn.Linear(width * (size // 2 ** len(channels)) ** 2, hidden)
        self.output = nn.Linear(hidden, outputs)
        self.layers = (*(f"conv{i + 1}" for i in range(len(channels))), "penultimate", "logits")

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Maps after each convolution, the penultimate layer (N, hidden) and the logits (N, outputs)."""
        found: dict[str, Tensor] = {}
        for name, convolution in zip(self.layers, self.convolutions, strict=False):
            x = nn.functional.silu(convolution(x))
            found[name] = x
        found["penultimate"] = nn.functional.silu(self.hidden(x.flatten(1)))
        found["logits"] = self.output(found["penultimate"])
        return found
