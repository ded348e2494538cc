"""Convolutions that see only earlier pixels, and the network of PixelCNN++ that is made of them.

Pixels come row by row from the top, each row from the left. Two streams run side by side: `above` knows the rows above
a pixel, `left` knows those and the pixels to the left in its own row. Every layer is causal for itself, so that no mask
is needed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad

from bench.errors import InputError


class CausalConv(nn.Conv2d):
    """A convolution that is padded so that it sees no lower row, and where it is asked no column to the right.

    Args:
        inputs: Channels.
        outputs: Channels.
        size: (rows, columns) of the kernel: its own row is the last one.
        centred: Columns reach as far to the right as to the left; otherwise its own column is the last one.
        stride: Of rows and columns.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], *, centred: bool, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride=stride)
        rows, columns = size
        right = (columns - 1) // 2 if centred else 0
        self.around = (columns - 1 - right, right, rows - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return super().forward(pad(x, self.around))


def _above(inputs: int, outputs: int, stride: int = 1) -> CausalConv:
    return CausalConv(inputs, outputs, (2, 3), centred=True, stride=stride)


def _left(inputs: int, outputs: int, stride: int = 1) -> CausalConv:
    return CausalConv(inputs, outputs, (2, 2), centred=False, stride=stride)


class GatedBlock(nn.Module):
    """x + a * sigmoid(b), with a and b of two causal convolutions of x and of what comes from aside.

    Args:
        width: Channels.
        centred: Which stream it is of.
        aside: Channels of what comes from aside; 0 for nothing.
    """

    def __init__(self, width: int, *, centred: bool, aside: int = 0) -> None:
        super().__init__()
        make = _above if centred else _left
        self.first, self.second = make(width, width), make(width, 2 * width)
        self.aside = nn.Conv2d(aside, width, 1) if aside else None

    def forward(self, x: Tensor, aside: Tensor | None = None) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        hidden = self.first(elu(x))
        if self.aside is not None and aside is not None:
            hidden = hidden + self.aside(elu(aside))
        value, gate = self.second(elu(hidden)).chunk(2, dim=1)
        moved: Tensor = x + value * torch.sigmoid(gate)
        return moved


class _Pair(nn.Module):
    """A block of each stream; `left` sees what `above` has become, and both what comes from aside."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.above = GatedBlock(width, centred=True, aside=width if shortcut else 0)
        self.left = GatedBlock(width, centred=False, aside=2 * width if shortcut else width)

    def forward(self, above: Tensor, left: Tensor, aside: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        above = self.above(above, None if aside is None else aside[0])
        return above, self.left(left, above if aside is None else torch.cat([above, aside[1]], dim=1))


class _Halves(nn.Module):
    """Both streams at half the side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.above, self.left = _above(width, width, stride=2), _left(width, width, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return self.above(above), self.left(left)


class _Doubles(nn.Module):
    """Both streams at twice the side: what a pixel knew, all four of its pixels know."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.above, self.left = nn.ConvTranspose2d(width, width, 2, 2), nn.ConvTranspose2d(width, width, 2, 2)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return self.above(above), self.left(left)


class CausalNetwork(nn.Module):
    """The network of PixelCNN++: down through levels of half the side each, up again, with shortcuts across.

    Salimans, Karpathy, Chen and Kingma (2017), "PixelCNN++: improving the PixelCNN with discretized logistic mixture
    likelihood and other modifications", sections 2.3 and 2.4 and figure 2.

    Args:
        shape: (C, H, W) of the images.
        outputs: Channels of the result.
        width: Channels of both streams.
        blocks: Blocks in each level on the way down; one more on the way up, in all levels but the last.

    Raises:
        InputError: The sides cannot be halved as often as the levels need.
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        channels, height, width_of_image = shape
        multiple = 2 ** (len(blocks) - 1)
        if height % multiple or width_of_image % multiple:
            raise InputError(
                f"{len(blocks)} levels cannot be made for {height} x {width_of_image} images; give sides that are "
                f"multiples of {multiple}, or fewer levels."
            )
        inputs = channels + 1
        self.rows_above = CausalConv(inputs, width, (2, 3), centred=True)
        self.row_above = CausalConv(inputs, width, (1, 3), centred=True)
        self.column_left = CausalConv(inputs, width, (2, 1), centred=False)
        self.down = nn.ModuleList(_pairs(width, count, shortcut=False) for count in blocks)
        last = len(blocks) - 1
        self.up = nn.ModuleList(
            _pairs(width, count + (level < last), shortcut=True) for level, count in enumerate(blocks)
        )
        self.halves = nn.ModuleList(_Halves(width) for _ in range(last))
        self.doubles = nn.ModuleList(_Doubles(width) for _ in range(last))
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, v: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, outputs, H, W), of which every pixel knows only those before it."""
        outputs: Tensor = self.last(elu(self.trunk(v)))
        return outputs

    def trunk(self, v: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H, W): the stream `left` before the last layer."""
        x = torch.cat([v, torch.ones_like(v[:, :1])], dim=1)  # ones tell the image from its padding
        above = _down(self.rows_above(x))
        left = _down(self.row_above(x)) + pad(self.column_left(x), (1, 0))[..., :-1]
        passed = [(above, left)]
        for level, pairs in enumerate(self.down):
            if level:
                above, left = self.halves[level - 1](above, left)
                passed.append((above, left))
            for pair in pairs:  # type: ignore[attr-defined]
                above, left = pair(above, left, None)
                passed.append((above, left))
        above, left = passed.pop()
        for level in reversed(range(len(self.up))):
            for pair in self.up[level]:  # type: ignore[attr-defined]
                above, left = pair(above, left, passed.pop())
            if level:
                above, left = self.doubles[level - 1](above, left)
        return left


def _pairs(width: int, count: int, *, shortcut: bool) -> nn.ModuleList:
    return nn.ModuleList(_Pair(width, shortcut=shortcut) for _ in range(count))


def _down(x: Tensor) -> Tensor:
    """Every row one lower, so that a pixel knows only rows above its own."""
    return pad(x, (0, 0, 1, 0))[:, :, :-1]
