"""Where the Square Attack starts, and which squares it changes: pure functions of images and uniform numbers."""

import math

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

    def step(self, center: Tensor, here: Tensor, numbers: Tensor, *, side: int) -> Tensor:
        """(B, C, H, W) the next point to try from `here`.

        Args:
            center: (B, C, H, W) clean images.
            here: (B, C, H, W) where the search stands.
            numbers: (B, `numbers(start=False)`) uniform in (0, 1).
            side: Of the squares, in pixels.
        """
        step = self._linf_step if self.norm is Norm.LINF else self._l2_step
        return step(center, here, numbers, side)

    def _linf_step(self, center: Tensor, here: Tensor, numbers: Tensor, side: int) -> Tensor:
        """Algorithm 2: every channel of the square goes to one wall of the ball."""
        window = self._window(*self._corner(numbers[:, :2], side), side)
        far = 2.0 * self.eps * _signs(numbers[:, 2:]).view(-1, self.channels, 1, 1) * window
        moved = geometry.project(here + far, center, self.norm, self.eps)
        idle = (moved == here).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return torch.where(idle, geometry.project(here - far, center, self.norm, self.eps), moved)

    def _l2_step(self, center: Tensor, here: Tensor, numbers: Tensor, side: int) -> Tensor:
        """Algorithm 3: a bump is added in one square; it gets the norm of that one, of a second one, and what is left.

        The second square is set to zero.
        """
        delta = here - center
        top, left = self._corner(numbers[:, :2], side)
        first = self._window(top, left, side)
        second = self._window(*self._corner(numbers[:, 2:4], side), side)
        unused = (self.eps**2 - _norm(delta, (1, 2, 3)).square()).clamp(min=0.0)
        available = (_norm(delta * (first | second), (2, 3)).square() + unused / self.channels).sqrt()
        span = torch.arange(side, device=delta.device)
        rows, columns = (top[:, None] + span)[:, None, :, None], (left[:, None] + span)[:, None, None, :]
        samples = torch.arange(len(delta), device=delta.device).view(-1, 1, 1, 1)
        channels = torch.arange(self.channels, device=delta.device).view(1, -1, 1, 1)
        old = delta[samples, channels, rows, columns]
        shape = bump(side, delta.device)
        turned = numbers[:, 4].view(-1, 1, 1, 1) > 0.5
        fresh = _signs(numbers[:, 5:]).view(-1, self.channels, 1, 1) * torch.where(turned, shape.T, shape)
        fresh = fresh + old / _norm(old, (2, 3))
        delta = torch.where(second, 0.0, delta)
        delta[samples, channels, rows, columns] = fresh / _norm(fresh, (2, 3)) * available
        return geometry.project(center + delta, center, self.norm, self.eps)

    def _tile(self) -> int:
        return max(1, min(self.height, self.width) // 5)

    def _tiles(self) -> tuple[int, int]:
        return self.height // self._tile(), self.width // self._tile()

    def _corner(self, numbers: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """(B,) twice: the first row and column of squares that lie inside the image, all equally likely."""
        room = torch.tensor([self.height - side, self.width - side], device=numbers.device)
        corner = torch.minimum((numbers * (room + 1)).long(), room)
        return corner[:, 0], corner[:, 1]

    def _window(self, top: Tensor, left: Tensor, side: int) -> Tensor:
        """(B, 1, H, W) whether a pixel lies in the square."""
        rows = torch.arange(self.height, device=top.device).view(1, 1, -1, 1) - top.view(-1, 1, 1, 1)
        columns = torch.arange(self.width, device=top.device).view(1, 1, 1, -1) - left.view(-1, 1, 1, 1)
        return (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)


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
