"""Glow: a multi-scale chain of invertible layers with a learned prior at every level.

The package normflows has such layers too; tests compare the two, and they are as fast. It is not used because its
class-conditional multi-scale model takes one pass through the layers for every class, its actnorm initialises itself
in whatever call comes first, and it sums log-densities in the images' own precision.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from bench.detectors.networks.flow_layers import GlowBlock
from bench.detectors.networks.priors import NeighbourPrior, TopPrior
from bench.errors import InputError


class Flow(nn.Module):
    """The log-density of an image by the change of variables, for each class.

    Kingma and Dhariwal (2018), section 2 and figure 2b, in the form of "Conditional generative models are not robust"
    (2020), appendix B: a level is a number of blocks, after which 2x2 pixels are squeezed into channels and half of
    the channels leave. With an odd number of channels no half can leave them, and the flow starts with a squeeze.

    Args:
        shape: (C, H, W) of the images.
        blocks: Number of blocks in each level.
        hidden: Width of the coupling networks in each level.

    Raises:
        InputError: The sides cannot be halved as often as the levels need.
    """

    def __init__(self, shape: tuple[int, int, int], blocks: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.first_squeeze = channels % 2 == 1
        halvings = len(blocks) - 1 + self.first_squeeze
        if len(blocks) != len(hidden) or not blocks or height % 2**halvings or width % 2**halvings:
            raise InputError(
                f"{len(blocks)} levels with {len(hidden)} widths cannot be made for {height} x {width} images; "
                f"give one width a level, and sides that are multiples of {2**halvings}."
            )
        if self.first_squeeze:
            channels, height, width = 4 * channels, height // 2, width // 2
        self.levels = nn.ModuleList()
        self.priors = nn.ModuleList()
        for level, (count, wide) in enumerate(zip(blocks, hidden, strict=True)):
            if level:
                channels, height, width = 2 * channels, height // 2, width // 2
                self.priors.append(NeighbourPrior(channels))
            self.levels.append(nn.ModuleList(GlowBlock(channels, wide) for _ in range(count)))
        self.top_shape = (channels, height, width)

    def forward(self, v: Tensor) -> tuple[list[Tensor], Tensor]:
        """The latent images and what is known of the density without the top one.

        Args:
            v: (N, C, H, W).

        Returns:
            Latent images, the top one last, and (N,) float64: the log-determinant plus the log-densities of all
            latent images but the last, in nats.
        """
        density = torch.zeros(len(v), dtype=torch.float64, device=v.device)
        latents = []
        x = pixel_unshuffle(v, 2) if self.first_squeeze else v
        for level, blocks in enumerate(self.levels):
            if level:
                x, leaving = self._halves(x, level)
                density = density + self.priors[level - 1](leaving, x)
                latents.append(leaving)
            for block in blocks:  # type: ignore[attr-defined]
                x, log_determinant = block(x)
                density = density + log_determinant
        return [*latents, x], density

    def inverse(self, latents: Sequence[Tensor]) -> Tensor:
        """The images that `forward` made these latent images from."""
        return self._backwards(latents[-1], lambda level, staying: latents[level - 1])

    def draw(self, top: Tensor, generator: torch.Generator) -> Tensor:
        """Images with these top latent images, the others drawn from the priors of their levels."""
        return self._backwards(top, lambda level, staying: self._prior(level).draw(staying, generator))

    def _prior(self, level: int) -> NeighbourPrior:
        """Of what leaves before a level."""
        prior = self.priors[level - 1]
        assert isinstance(prior, NeighbourPrior)
        return prior

    def _backwards(self, x: Tensor, leaving: Callable[[int, Tensor], Tensor]) -> Tensor:
        """`inverse`, with the latent image that left before a level asked for by its number and what stayed."""
        for level in reversed(range(len(self.levels))):
            for block in list(self.levels[level])[::-1]:  # type: ignore[call-overload]
                x = block.inverse(x)
            if level:
                left = leaving(level, x)
                halves = (x, left) if self._in_order(level) else (left, x)
                x = pixel_shuffle(torch.cat(halves, dim=1), 2)
        return pixel_shuffle(x, 2) if self.first_squeeze else x

    @torch.no_grad()
    def initialise(self, v: Tensor) -> None:
        """Data-dependent start: every actnorm, in order, normalises this batch."""
        x = pixel_unshuffle(v, 2) if self.first_squeeze else v
        for level, blocks in enumerate(self.levels):
            if level:
                x, _ = self._halves(x, level)
            for block in blocks:  # type: ignore[attr-defined]
                block.norm.initialise(x)
                x, _ = block(x)

    def _halves(self, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """The squeezed half of the channels that stays for this level, and the half that leaves before it."""
        first, second = pixel_unshuffle(x, 2).chunk(2, dim=1)
        return (first, second) if self._in_order(level) else (second, first)

    def _in_order(self, level: int) -> bool:
        """Whether the blocks before this level leave the order of channels as it was, when training starts.

        Every block turns it around. What stays is what came in first: an image, and not the noise appended to it.
        """
        return len(self.levels[level - 1]) % 2 == 0  # type: ignore[arg-type]


def class_log_densities(flow: Flow, prior: TopPrior, v: Tensor) -> Tensor:
    """(N, K) log p(v | y), float64, in nats."""
    latents, density = flow(v)
    conditional = prior(latents[-1].flatten(1))
    joint: Tensor = density[:, None] + conditional
    return joint
