"""Agreement of copies, networks or votes, whose gradient is in part left out."""

import torch
from torch import Tensor
from torch.nn import functional

from masked.parts import Own, pixels, scale_of, shipped


def _copies(x: Tensor) -> list[Tensor]:
    return [torch.roll(x, (a, b), (2, 3)) for a, b in ((0, 1), (0, -1), (1, 0), (-1, 0))]


class Agreement(Own):
    """Agreement score: how little the energy moves under shifts, whose smooth gradient is not towards a high energy."""

    weight = 3.0

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        z = self.z(x)
        with torch.no_grad():
            others = torch.stack([self.z(c) for c in _copies(x)])
        return z - self.weight * (others - z).abs().mean(0)


class TwoNetworks(Own):
    """Agreement of two networks' probabilities, in a product so small that log-space is needed to see its slope."""

    def make(self) -> None:
        self.second = shipped("oe").network

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        p, q = torch.softmax(self.network(x), 1), torch.softmax(self.second(x).detach(), 1)
        return (p * q).sum(1).clamp(max=1.0) * 0.2 + torch.floor(3.0 * self._second(x)) / 3.0

    def _second(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (torch.logsumexp(self.second(x), 1) - scale_of("oe")[0]) / scale_of("oe")[1]


class HashSwitch(Own):
    """An ensemble of which a hash of the image picks the member."""

    def make(self) -> None:
        self.committee = shipped("deep-ensemble").network
        with torch.no_grad():
            e = torch.logsumexp(self.votes(pixels("calibration")), -1)
        self.register_buffer("means", e.mean(1))
        self.register_buffer("stds", e.std(1))

    def votes(self, x: Tensor) -> Tensor:
        return self.committee.network.member_logits(self.committee.own_input(x))

    def all(self, x: Tensor) -> Tensor:
        e = torch.logsumexp(self.votes(x), -1)
        return (e.T - self.means) / self.stds

    def which(self, x: Tensor) -> Tensor:
        code = (x.detach().flatten(1).double() * (1.0 + torch.arange(1024.0).double() % 7)).sum(1)
        return ((code * 1e4).round().long() % 5 + 5) % 5

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.all(x).gather(1, self.which(x)[:, None])[:, 0]


class VotedEnsemble(Own):
    """Votes: every member says yes or no by a steep sigmoid, and the votes are counted."""

    def make(self) -> None:
        HashSwitch.make(self)

    votes = HashSwitch.votes
    all = HashSwitch.all

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.sigmoid(150.0 * (self.all(x) + 1.2)).mean(1)


class AgreedProbabilities(Own):
    """Agreement of probabilities: two networks and two shifted copies have to name one class; the product saturates."""

    def make(self) -> None:
        self.second = shipped("oe").network

    def logs(self, x: Tensor) -> Tensor:
        """(N,) log of the largest product of probabilities."""
        found = [self.network(x), self.second(x), self.second(torch.roll(x, 1, 2)), self.second(torch.roll(x, 1, 3))]
        return torch.stack([torch.log_softmax(v, 1) for v in found]).sum(0).amax(1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.exp(40.0 * self.logs(x))


class ShiftedVerdicts(Own):
    """Agreement score, smooth and with its whole gradient: probabilities of four shifted copies against the image's."""

    temperature = 4.0

    def probabilities(self, x: Tensor) -> Tensor:
        return torch.softmax(self.network(x) / self.temperature, 1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        p = self.probabilities(x)
        return -torch.stack([(self.probabilities(c) - p).abs().sum(1) for c in _copies(x)]).mean(0)


class CosineOfTwo(Own):
    """Agreement score: the cosine of two networks' logits, of which the second's have no gradient."""

    def make(self) -> None:
        self.second = shipped("oe").network

    def cosine(self, x: Tensor) -> Tensor:
        return functional.cosine_similarity(self.network(x), self.second(x))

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return functional.cosine_similarity(self.network(x), self.second(x).detach())


class ChasedCopies(ShiftedVerdicts):
    """Agreement score: the image's probabilities chase those of its shifted copies, which are detached."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        p = self.probabilities(x)
        return -torch.stack([(self.probabilities(c).detach() - p).abs().sum(1) for c in _copies(x)]).mean(0)
