"""Deep ensembles."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.detectors.base import DetectorInfo, DetectorParams
from bench.detectors.logit import LogitDetector, needed_network
from bench.detectors.msp import log_odds_of_each
from bench.detectors.networks.ensemble import Ensemble

_TINY = -30.0
"""Below this logarithm of q, -log(1 - q) is q to more digits than float64 can show after the sum that follows."""


class DeepEnsembleParams(DetectorParams):
    """Parameters of the deep ensemble: `score` is minus the logarithm of the entropy, or minus the entropy itself."""

    score: Literal["log-entropy", "entropy"] = "log-entropy"


class DeepEnsemble(LogitDetector):
    """How certain several networks are on average.

    Lakshminarayanan, Pritzel and Blundell (2017), "Simple and scalable predictive uncertainty estimation using deep
    ensembles", section 2.4 and the OOD experiments of section 3.5: the predictive distribution p is the mean of the
    members' softmax outputs, and its entropy H(p) is large where the members are unsure or disagree.

    The network is an `Ensemble`, whose logits are log p; of any other classifier, p is the softmax.

    Deviation: the score is -log H(p), which ranks images as -H(p) does, but stays apart where p is almost one-hot:
    there -H(p) and its gradient are 0 up to rounding. `score: entropy` gives -H(p); an attack is directed by -log H(p)
    in both.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("members",), matched="logits")
    params: DeepEnsembleParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) -log H(p) with H in nats, at least -log log K; or -H(p) in [-log K, 0]."""
        assert isinstance(self.params, DeepEnsembleParams)
        value = log_entropy(torch.log_softmax(logits, dim=1))
        return -value if self.params.score == "log-entropy" else -value.exp()

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the log-odds of each class, one of which is high where the entropy is low."""
        return log_odds_of_each(self.scored_logits(x))

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) as for every detector; "logits" are those of all members side by side."""
        network = needed_network(self).network
        if at == "logits" and isinstance(network, Ensemble):
            return network.member_logits(needed_network(self).own_input(x)).transpose(0, 1).flatten(1)
        return super().features(x, at)

    def objective_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) -log H(p)."""
        return -log_entropy(torch.log_softmax(logits, dim=1))


def log_entropy(log_p: Tensor) -> Tensor:
    """(N, K >= 2) normalised log-probabilities -> (N,) log H(p), also where H(p) underflows.

    The largest probability is taken as one minus the sum q of the others, since its own logarithm is rounded to 0
    long before the others are; every term p log p is summed in log space.
    """
    others = log_p.sort(dim=1, descending=True).values[:, 1:]
    log_q = others.logsumexp(dim=1)
    tiny = log_q < _TINY
    # The branch that is not taken must have a finite gradient too.
    surprise = -torch.log1p(-torch.where(tiny, _TINY, log_q).exp())
    top = torch.where(tiny, log_q, surprise.log() - surprise)
    return torch.cat([top[:, None], others + (-others).log()], dim=1).logsumexp(dim=1)
