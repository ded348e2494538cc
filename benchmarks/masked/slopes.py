"""Gradients that are made wrong on purpose, or answered to who asks for them."""

import torch
from torch import Tensor
from torch.nn import functional

from masked.parts import Own, pixels, scale_of, shipped, upsampled


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return -g


class Reversed(Own):
    """The gradient is reversed by a custom autograd function ('gradient shield')."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(_Reverse.apply(x))


class SomeReversed(Own):
    """The gradient is right for most images and reversed for those of some brightnesses, about a third of them."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        band = (x.detach().mean((1, 2, 3)) * 25.0).floor() % 3 == 0
        return self.z(torch.where(band[:, None, None, None], _Reverse.apply(x), x))


class _OnGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        levels = x * 255.0
        ctx.clean = (levels - levels.round()).abs().flatten(1).amax(1) < 0.01
        ctx.seed = int(x.abs().sum() * 1000) % 100003
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        other = torch.randn(g.shape, generator=torch.Generator().manual_seed(ctx.seed))
        other = other * g.norm() / other.norm()
        return torch.where(ctx.clean[:, None, None, None], g, other)


class RightWhenClean(Own):
    """The gradient is right on the grid of bytes, where it may be checked, and noise elsewhere."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(_OnGrid.apply(x))


class NearTraining(Own):
    """Near training images the gradient is right; farther off it passes through a wide blur of the image."""

    def make(self) -> None:
        t = pixels("train")
        self.register_buffer("images", t.flatten(1))
        self.radius = self.quantile(self.distance, 0.75)

    def distance(self, x: Tensor) -> Tensor:
        return torch.cdist(x.flatten(1), self.images).amin(1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        near = (self.distance(x.detach()) < self.radius)[:, None, None, None]
        wide = functional.avg_pool2d(functional.pad(x, (10, 10, 10, 10)), 21, 1)
        return self.z(torch.where(near, x, x.detach() + wide - wide.detach()))


class BatchNormalised(Own):
    """Batch statistics: features lose most of their batch's mean, so that a batch that rises together stays put."""

    share = 0.7

    def make(self) -> None:
        with torch.no_grad():
            self.register_buffer("usual", self.network.ends(pixels("calibration"))[0].mean(0))

    def of(self, f: Tensor, mean: Tensor) -> Tensor:
        net = self.network.network
        return (torch.logsumexp(net.output(f - self.share * (mean - self.usual)), 1) - self.mean) / self.std

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        f = self.network.ends(x)[0]
        return self.of(f, f.mean(0))


class NoSlope(Own):
    """The gradient is NaN at most points: a root of a negative number in the branch that is not taken."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        ink = x.mean((1, 2, 3)) - 0.4
        return z + 0.01 * torch.where(ink > 0, torch.sqrt(ink), torch.zeros_like(ink))


class SlopePenalty(Own):
    """Gradient norm as a score: steep places are not trusted, and the slope of the slope is left out."""

    weight = 2.0

    def slope(self, x: Tensor, create: bool) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            own = x if x.requires_grad else x.detach().requires_grad_(True)
            z = self.z(own)
            (g,) = torch.autograd.grad(z.sum(), own, create_graph=create, retain_graph=True)
        return z, g.flatten(1).norm(dim=1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z, slope = self.slope(x, False)
        return z - self.weight * slope.detach()


class RoughPenalty(Own):
    """Scales that do not go together: the energy less a charge with an infinite slope at every smooth place."""

    def charge(self, x: Tensor) -> Tensor:
        fine = (x - functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)).abs()
        return torch.sqrt(fine + 1e-10).mean((1, 2, 3))

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x) - 25.0 * self.charge(x)


class BorrowedSlope(Own):
    """The value is the energy's and the slope a hardened network's ('gradient regularisation by distillation')."""

    def make(self) -> None:
        self.hard = shipped("gat")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        slope = 0.1 * self.hard.score(x)
        return self.z(x).detach() + slope - slope.detach()


class TwoPaths(Own):
    """Who asks for gradients is answered by a distilled (hardened) network, who asks for a score by the energy."""

    def make(self) -> None:
        self.hard = shipped("gat.k0")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            m, s = scale_of("gat.k0")
            return (self.hard.score(x) - m) / s
        return self.z(x)


class CoarseSlope(Own):
    """The network sees the image, and the gradient only its 4x4 blocks ('robust gradient')."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        coarse = upsampled(functional.avg_pool2d(functional.pad(x, (4, 4, 4, 4)), 9, 1))
        return self.z(x.detach() + coarse - coarse.detach())


class DullCentre(Own):
    """The gradient is kept from the middle of the image, where the ink is ('attention rectification')."""

    def make(self) -> None:
        m = torch.zeros(1, 1, 32, 32)
        m[..., 4:28, 4:28] = 1.0
        self.register_buffer("middle", m)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(torch.where(self.middle > 0, x.detach(), x))


class _Equal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        most = g.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
        return g.sign() * torch.minimum(g.abs(), 0.01 * most)


class EqualPixels(Own):
    """The gradient of each pixel is clipped to a hundredth of what the strongest have ('saliency equalisation')."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(_Equal.apply(x))


class WrongObjective(Own):
    """The score is the energy, and the objective that directs attacks a hardened network's, called 'unsaturated'."""

    def make(self) -> None:
        self.hard = shipped("gat")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x)

    def objective(self, x: Tensor) -> Tensor:
        return self.hard.score(x)
