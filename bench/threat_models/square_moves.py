"""Where the Square Attack starts, and which squares it changes: pure functions of images and uniform numbers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.cards.threat import Norm
from bench.threat_models import geometry


class Moves:
    """Starts and steps in one ball (Andriushchenko et al. 2020, sections 3.2 to 3.4), each sample by itself.

    Deviations: an L-infinity square whose signs would change no pixel is turned round, where the authors' code draws
    again. On images that are not square the shorter side limits the squares.

    Args:
        norm: L2 or L-infinity.
        eps: Radius in pixel units.
        shape: (C, H, W) of an image.
    """

    def __init__(self, norm: Norm, eps: float, shape: tuple[int, ...]) -> None:
        self.norm = norm
        self.eps = eps
        self.channels, self.height, self.width = shape
        self._squares: dict[tuple[int, torch.device], Tensor] = {}  # made once a side and device
        self._bumps: dict[tuple[int, torch.device], Tensor] = {}

    def side(self, share: float) -> int:
        """The side in pixels of a square that covers this share of the image; in L2 it is odd and at least 3."""
        side = round(math.sqrt(share * self.height * self.width))
        side = max(side, 1) if self.norm is Norm.LINF else max(side, 3) | 1
        return min(side, self.height, self.width)

    def numbers(self, *, start: bool) -> int:
        """How many uniform numbers a sample needs for its start, or for a step."""
        if self.norm is Norm.LINF:
            return self.channels * self.width if start else 2 + self.channels
        tiles = math.prod(self._tiles())
        return (self.channels + 1) * tiles if start else 5 + self.channels

    def start(self, center: Tensor, numbers: Tensor) -> Tensor:
        """(B, C, H, W) vertical stripes of +-eps (L-infinity), or tiles of bumps of random sign and turn (L2).

        Args:
            center: (B, C, H, W) clean images.
            numbers: (B, `numbers(start=True)`) uniform in (0, 1).
        """
        if self.norm is Norm.LINF:
            stripes = _signs(numbers).view(-1, self.channels, 1, self.width).expand_as(center)
            return geometry.project(center + self.eps * stripes, center, self.norm, self.eps)
        down, across = self._tiles()
        side = self._tile()
        split = self.channels * down * across
        signs = _signs(numbers[:, :split]).view(-1, self.channels, down, across, 1, 1)
        turned = numbers[:, split:].view(-1, 1, down, across, 1, 1) > 0.5
        shape = bump(side, center.device)
        tiles = (signs * torch.where(turned, shape.T, shape)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        top, left = (self.height - down * side) // 2, (self.width - across * side) // 2
        bottom, right = self.height - down * side - top, self.width - across * side - left
        whole = functional.pad(tiles, (left, right, top, bottom))
        return geometry.project(center + self.eps * whole / _norm(whole, (1, 2, 3)), center, self.norm, self.eps)

    def move(self, center: Tensor, here: Tensor, numbers: Tensor, *, side: int) -> "Undo":
        """Write the next points to try over `here`; what comes back undoes that, row by row.

        Args:
            center: (B, C, H, W) clean images.
            here: (B, C, H, W) where the search stands, contiguous.
            numbers: (B, `numbers(start=False)`) uniform in (0, 1).
            side: Of the squares, in pixels.
        """
        move = self._linf_move if self.norm is Norm.LINF else self._l2_move
        return move(center.view(len(center), -1), here.view(len(here), -1), numbers, side)

    def _linf_move(self, center: Tensor, here: Tensor, numbers: Tensor, side: int) -> "Undo":
        """Algorithm 2: every channel of the square goes to one wall of the ball."""
        pixels = self._pixels(*self._corner(numbers[:, :2], side), side)
        old = here.gather(1, pixels)
        low, high = geometry.ball_bounds(center.gather(1, pixels), self.norm, self.eps)
        up = (numbers[:, 2:, None] > 0.5).expand(-1, -1, side * side).reshape(old.shape)
        idle = (torch.where(up, high, low) == old).all(dim=1, keepdim=True)
        here.scatter_(1, pixels, torch.where(up ^ idle, high, low))
        return Undo(here, ((pixels, old),))

    def _l2_move(self, center: Tensor, here: Tensor, numbers: Tensor, side: int) -> "Undo":
        """Algorithm 3: a bump is added in one square; it gets the norm of that one, of a second one, and what is left.

        The second square is set to zero.
        """
        whole, by_channel = (len(here), self.channels, side, side), (2, 3)
        corners = self._corner(numbers[:, :2], side), self._corner(numbers[:, 2:4], side)
        first, second = (self._pixels(*corner, side) for corner in corners)
        clean, old, old_second = center.gather(1, first), here.gather(1, first), here.gather(1, second)
        clean_second = center.gather(1, second)
        delta, delta_second = (old - clean).view(whole), (old_second - clean_second).view(whole)
        room = geometry.inner(self.eps, here.shape[1]) ** 2
        unused = (room - torch.linalg.vector_norm(here - center, dim=1).square_()).clamp_(min=0.0)
        alone = delta * ~_overlap(*corners, side)[:, None]
        available = (
            _norm(alone, by_channel).square_()
            + _norm(delta_second, by_channel).square_()
            + (unused / self.channels).view(-1, 1, 1, 1)
        ).sqrt_()
        shape = self._bump(side, here.device)
        turned = numbers[:, 4].view(-1, 1, 1, 1) > 0.5
        fresh = _signs(numbers[:, 5:]).view(-1, self.channels, 1, 1) * torch.where(turned, shape.T, shape)
        fresh = fresh + delta / _norm(delta, by_channel)
        fresh = fresh / _norm(fresh, by_channel) * available
        here.scatter_(1, second, clean_second)
        here.scatter_(1, first, (clean + fresh.reshape(clean.shape)).clamp_(0.0, 1.0))
        return Undo(here, ((second, old_second), (first, old)))

    def _tile(self) -> int:
        return max(1, min(self.height, self.width) // 5)

    def _tiles(self) -> tuple[int, int]:
        return self.height // self._tile(), self.width // self._tile()

    def _corner(self, numbers: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """(B,) twice: the first row and column of squares that lie inside the image, all equally likely."""
        down, across = self.height - side, self.width - side
        top, left = (numbers[:, 0] * (down + 1)).long(), (numbers[:, 1] * (across + 1)).long()
        return top.clamp_(max=down), left.clamp_(max=across)

    def _pixels(self, top: Tensor, left: Tensor, side: int) -> Tensor:
        """(B, C * side * side) positions in the flat image of the pixels of one square, channel by channel."""
        if (side, top.device) not in self._squares:
            channel = torch.arange(self.channels).view(-1, 1, 1) * self.height * self.width
            span = torch.arange(side)
            square = channel + span.view(1, -1, 1) * self.width + span.view(1, 1, -1)
            self._squares[side, top.device] = square.flatten().to(top.device)
        return (top * self.width + left)[:, None] + self._squares[side, top.device]

    def _bump(self, side: int, device: torch.device) -> Tensor:
        if (side, device) not in self._bumps:
            self._bumps[side, device] = bump(side, device)
        return self._bumps[side, device]


@dataclass(frozen=True)
class Undo:
    """How points were before a move.

    Attributes:
        here: (B, C * H * W) the points, flat; a view of those that moved.
        before: (B, K) positions and (B, K) values that they had.
    """

    here: Tensor
    before: tuple[tuple[Tensor, Tensor], ...]

    def where(self, which: Tensor) -> None:
        """Put the points of some rows, (B,) bool, back to where they were."""
        moved = [self.here.gather(1, pixels) for pixels, _ in self.before]
        for (pixels, old), new in zip(self.before, moved, strict=True):
            self.here.scatter_(1, pixels, torch.where(which[:, None], old, new))


def _overlap(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], side: int) -> Tensor:
    """(B, side, side) which pixels of one square lie in the other one, by their (B,) first rows and columns."""
    span = torch.arange(side, device=one[0].device)
    rows, columns = (a[:, None] + span - b[:, None] for a, b in zip(one, other, strict=True))
    inside = [(place >= 0) & (place < side) for place in (rows, columns)]
    return inside[0][:, :, None] & inside[1][:, None, :]


def bump(side: int, device: torch.device | None = None) -> Tensor:
    """(side, side) of unit norm: two peaks of opposite signs next to each other, that fall with distance (equation 2).

    Args:
        side: In pixels, at least 1.
        device: Where to make it.
    """
    half = side // 2
    whole = torch.cat([_peak(side, half), -_peak(side, side - half)], dim=1)
    unit: Tensor = whole / torch.linalg.vector_norm(whole)
    return unit.to(device)


def _peak(height: int, width: int) -> Tensor:
    """(height, width), height >= width: at a distance d from the centre the sum of 1 / (c + 1)^2 for c = d to n."""
    steepness = height // 2
    tails = (1.0 / torch.arange(1, steepness + 2).square()).flip(0).cumsum(0).flip(0)
    down = (torch.arange(height) - height // 2).abs()[:, None]
    across = (torch.arange(width) - width // 2).abs()[None, :]
    return tails[torch.maximum(down, across)]


def _signs(numbers: Tensor) -> Tensor:
    """+1 or -1, equally likely, from uniform numbers."""
    return torch.where(numbers > 0.5, 1.0, -1.0)


def _norm(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """L2 norms over some dimensions, which stay; never zero, so that nothing divides by it."""
    lengths: Tensor = torch.linalg.vector_norm(values, dim=dims, keepdim=True)
    return lengths.clamp(min=1e-12)
