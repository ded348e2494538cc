"""The entropy of the softmax."""

import torch
from torch import Tensor

from bench.detectors.msp import log_odds_of_each, top_and_others
from bench.detectors.scores.base import LogitScore

SMALLEST = 1e-30
"""Below it, log(1 + s) / s is 1 in float32."""


class Entropy(LogitScore):
    """-log H(p), p = softmax(z) and H(p) = -sum_k p_k log p_k.

    The entropy as an OOD score, as in Chan, Rottmann and Gottschalk (2021), "Entropy maximization and meta
    classification for out-of-distribution detection in semantic segmentation", equation 6.

    Deviation: -log H in place of -H, with the same ranks: H of a confident image is lost beside 1 in float32, its
    logarithm is not. With d_k = z_k - z_max and s the sum of exp(d_k) over the other classes,
    H = log(1 + s) + sum of exp(d_k) (-d_k) / (1 + s), in which no term cancels another.
    """

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the log-odds of each class, one of which is high where the score is."""
        return log_odds_of_each(self.scored_logits(x))

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K >= 2) -> (N,) at least -log(log K)."""
        top, others = top_and_others(logits)
        below = others - top[:, None]
        total = below.exp().sum(dim=1, keepdim=True).clamp_min(SMALLEST)
        # Of the top class itself, whose -inf gives a term of 0, a finite stand-in keeps the gradient finite.
        finite = torch.where(below.isinf(), 0.0, below)
        return -torch.logsumexp(below + torch.log(torch.log1p(total) / total - finite / (1.0 + total)), dim=1)
