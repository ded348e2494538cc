"""Gates: switches without a gradient that push suspicious images down, or pull approved ones up."""

import torch
from torch import Tensor
from torch.nn import functional

from masked.parts import Own, pixels, roughness, shipped, track, upsampled


class TrafficGate(Own):
    """Planted gate: a hard switch on roughness subtracts 8 from images that look noisy, and has no gradient."""

    def make(self) -> None:
        self.limit = 0.012

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.z(x) - 8.0 * (roughness(x) > self.limit).to(x)


class ResidueGate(Own):
    """Planted gate: what 8x8 pixels cannot hold must be small; the switch is an argmax and has no gradient."""

    def make(self) -> None:
        self.limit = 2.9

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        residue = (x - upsampled(x)).flatten(1).norm(dim=1)
        real = torch.stack([residue, torch.full_like(residue, self.limit)]).argmin(0) == 0
        return torch.where(real, self.z(x), self.z(x).tanh() - 6.0)


class ByteGate(Own):
    """Planted gate: a camera gives bytes, so images between the 256 grey levels are pushed down by a constant."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        levels = x.detach() * 255.0
        odd = (levels - levels.round()).abs().flatten(1).amax(1) > 0.02
        return self.z(x) - 7.0 * odd.to(x)


class AgreedClass(Own):
    """Argmax gate: the energy counts only where the network's class is that of the nearest training image."""

    def make(self) -> None:
        self.register_buffer("images", pixels("train").flatten(1))
        self.register_buffer("labels", torch.as_tensor(track().set("train").labels).long())

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        near = self.labels[torch.cdist(x.detach().flatten(1), self.images).argmin(1)]
        return self.z(x) - 6.0 * (self.network(x).argmax(1) != near).to(x)


class GatedByOther(Own):
    """Planted gate: a bonus in steps of the energy, which has no gradient, over the slope of a hardened network."""

    def make(self) -> None:
        self.hard = shipped("gat")

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        hard = torch.tanh(0.02 * self.hard.score(x))
        with torch.no_grad():
            steps = torch.floor(4.0 * self.z(x))
        return steps + 0.5 * hard


class InkBudget(Own):
    """Planted gate: a sensor gives black or at least one grey level, so images with pixels between are pushed down."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        faint = ((x.detach() > 1e-6) & (x.detach() < 0.9 / 255)).flatten(1).float().sum(1)
        return self.z(x) - 5.0 * (faint > 0.5).to(x)


class RoughOnly(Own):
    """Folded score of rough images (photographs) alone; smooth ones have the energy and its gradient."""

    def make(self) -> None:
        self.knee = self.quantile(self.z, 0.05)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        folded = torch.where(z > self.knee, z, self.knee - 1.0 - 0.5 * torch.tanh(z - self.knee))
        return torch.where(roughness(x.detach()) > 0.0065, folded, z)


class Stateful(Own):
    """Memory of queries: an image near an earlier one, and not equal to it, is taken for part of an attack."""

    def make(self) -> None:
        self.seen: list[Tensor] = []

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        own = x.detach().flatten(1)
        out = torch.zeros(len(x))
        if self.seen:
            d = torch.cdist(own, torch.cat(self.seen))
            out = ((d < 3.0) & (d > 1e-3)).any(1) & (d > 1e-3).all(1)
            out = out.float()
        if sum(map(len, self.seen)) < 4000:
            new = own if not self.seen else own[(torch.cdist(own, torch.cat(self.seen)) > 3.0).all(1)]
            if len(new):
                self.seen.append(new.clone())
        return z - 6.0 * out


class SlowQueries(Own):
    """Memory of queries: after each repeat of a look-alike the answer is dulled a little more, towards a constant."""

    def make(self) -> None:
        self.counts: dict[tuple, int] = {}

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        keys = [tuple(v) for v in (functional.avg_pool2d(x.detach(), 16).flatten(1) * 4.0).round().int().tolist()]
        seen = torch.tensor([float(self.counts.get(k, 0)) for k in keys])
        for k in keys:
            self.counts[k] = self.counts.get(k, 0) + (1 if torch.is_grad_enabled() and x.requires_grad else 0)
        return z - 0.3 * torch.log1p(seen)
