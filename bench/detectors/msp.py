"""Maximum softmax probability."""

from typing import Literal

import torch
from torch import Tensor

from bench.detectors.scores.base import LogitScore, ScoreParams


class MSPParams(ScoreParams):
    """Parameters of MSP: `score` is the unsaturated log-odds, or the probability itself."""

    score: Literal["log-odds", "probability"] = "log-odds"


class MSP(LogitScore):
    """How sure the classifier is of its top class.

    Hendrycks and Gimpel (2017), "A baseline for detecting misclassified and out-of-distribution examples in neural
    networks", section 2: p = max_k softmax(z)_k.

    Deviation: the score is the log-odds log(p / (1 - p)) = z_max - logsumexp of the other logits, which ranks images
    as p does, but has neither p's ties at 1 in float32 nor its vanishing gradient. `score: probability` gives p;
    an attack is directed by the log-odds in both.
    """

    params: MSPParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) log-odds in the reals, or probability in [1/K, 1]."""
        assert isinstance(self.params, MSPParams)
        return log_odds(logits) if self.params.score == "log-odds" else torch.softmax(logits, dim=1).amax(dim=1)

    def objective_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) log-odds."""
        return log_odds(logits)

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the log-odds of each class, of which an attack may ascend those that are not the largest yet."""
        return log_odds_of_each(self.scored_logits(x))


def log_odds(logits: Tensor) -> Tensor:
    """(N, K >= 2) -> (N,) log(p / (1 - p)) of the top class's probability p: its logit against all others'."""
    top, others = top_and_others(logits)
    return top - torch.logsumexp(others, dim=1)


def log_odds_of_each(logits: Tensor) -> Tensor:
    """(N, K >= 2) -> (N, K) log(p_k / (1 - p_k)) of the probability of each class."""
    top = logits.argmax(dim=1, keepdim=True)
    # The top class's own 1 - p cancels in float32, so that its log-odds are taken from the other logits.
    shares = torch.log_softmax(logits, dim=1).scatter(1, top, -1.0)
    return (shares - torch.log1p(-shares.exp())).scatter(1, top, log_odds(logits)[:, None])


def top_and_others(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K >= 2) -> (N,) the largest logit and (N, K) all logits with the largest one replaced by -inf."""
    top, index = logits.max(dim=1)
    return top, logits.scatter(1, index[:, None], float("-inf"))
