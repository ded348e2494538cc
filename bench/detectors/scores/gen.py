"""Generalised entropy."""

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.msp import log_odds_of_each, top_and_others
from bench.detectors.scores.base import LogitScore, ScoreParams


class GENParams(ScoreParams):
    """Parameters of GEN: the exponent `gamma`, and how many of the largest probabilities count (`top`, M)."""

    gamma: float = Field(default=0.1, gt=0, le=10, allow_inf_nan=False)
    top: int = Field(default=100, ge=2)


class GEN(LogitScore):
    """-log G, G = sum over the M largest p_k of (p_k (1 - p_k))^gamma.

    Liu, Lochman and Zach (2023), "GEN: Pushing the limits of softmax-based out-of-distribution detection", equations
    4 and 5; gamma = 0.1 and M = 100 are the paper's for ImageNet, and with fewer classes all count. At gamma = 1 and
    all classes it is the Gini index.

    Deviation: -log G in place of -G, with the same ranks and without saturation at larger gamma; log(1 - p) of the top
    class is that of the others' sum, which does not cancel.
    """

    params: GENParams

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the log-odds of each class, one of which is high where the score is."""
        return log_odds_of_each(self.scored_logits(x))

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K >= 2) -> (N,)."""
        log_p = torch.log_softmax(logits, dim=1)
        log_rest = torch.log1p(-log_p.exp().clamp_max(0.5))  # only the top class can have more than a half
        _, others = top_and_others(logits)
        log_rest_of_top = torch.logsumexp(others, dim=1) - torch.logsumexp(logits, dim=1)
        index = logits.argmax(dim=1, keepdim=True)
        log_rest = log_rest.scatter(1, index, log_rest_of_top[:, None])
        largest = log_p.topk(min(self.params.top, logits.shape[1]), dim=1).indices
        return -torch.logsumexp(self.params.gamma * (log_p + log_rest).gather(1, largest), dim=1)
