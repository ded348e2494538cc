"""Outlier Exposure."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.detectors.base import DetectorInfo, DetectorParams
from bench.detectors.logit import LogitDetector
from bench.detectors.msp import log_odds, log_odds_of_each


class OEParams(DetectorParams):
    """Parameters of Outlier Exposure: the `score` of the original code, or MSP's."""

    score: Literal["oe", "msp"] = "oe"


class OE(LogitDetector):
    """The score of a classifier that was trained to be unsure of outliers.

    Hendrycks, Mazeika and Dietterich (2019), "Deep anomaly detection with outlier exposure", section 4.3: training
    adds 0.5 * (cross-entropy from the uniform distribution to the softmax) on outliers. `score: oe` is that same
    cross-entropy, logsumexp(z) - mean(z), which the original code offers as its score, less log K: the divergence of
    the softmax from the uniform distribution. `score: msp` is the one of the paper's tables, here as log-odds (see
    `MSP`). Neither saturates, so that each is its own objective.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(outliers=True, components=("classifier",), matched="logits")
    params: OEParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,): at least 0 for `oe`, any real number for `msp`."""
        assert isinstance(self.params, OEParams)
        return log_odds(logits) if self.params.score == "msp" else divergence_from_uniform(logits)

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) each class's logit less the mean of all, or its log-odds; the score is high where one of them is."""
        assert isinstance(self.params, OEParams)
        logits = self.scored_logits(x)
        return log_odds_of_each(logits) if self.params.score == "msp" else logits - logits.mean(dim=1, keepdim=True)


def divergence_from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform || softmax(z)) = logsumexp(z) - mean(z) - log K, exact where the softmax is nearly uniform too.

    Training drives the softmax of outliers there. In float32 the difference of two numbers near log K would give
    most of them one and the same score, which leaves an attack nothing to tell its iterates apart by.

    Args:
        logits: (N, K).

    Returns:
        (N,), 0 or above.
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    centred = centred - centred.mean(dim=1, keepdim=True)  # what rounding has left of the mean
    close = centred.abs().amax(dim=1) < 1
    near = torch.log1p(torch.expm1(torch.where(close[:, None], centred, 0.0)).mean(dim=1))
    far = torch.logsumexp(centred, dim=1) - math.log(logits.shape[1])
    return torch.where(close, near, far)
