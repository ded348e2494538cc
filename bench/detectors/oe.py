"""Outlier Exposure."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.detectors.base import DetectorInfo, DetectorParams
from bench.detectors.logit import LogitDetector
from bench.detectors.msp import log_odds


class OEParams(DetectorParams):
    """Parameters of Outlier Exposure: the `score` of the original code, or MSP's."""

    score: Literal["oe", "msp"] = "oe"


class OE(LogitDetector):
    """The score of a classifier that was trained to be unsure of outliers.

    Hendrycks, Mazeika and Dietterich (2019), "Deep anomaly detection with outlier exposure", section 4.3: training
    adds 0.5 * (cross-entropy from the uniform distribution to the softmax) on outliers. `score: oe` is that same
    cross-entropy, logsumexp(z) - mean(z), which the original code offers as its score; `score: msp` is the one of the
    paper's tables, here as log-odds (see `MSP`). Neither saturates, so that each is its own objective.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(outliers=True, components=("classifier",), matched="logits")
    Params = OEParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,): at least log K for `oe`, any real number for `msp`."""
        assert isinstance(self.params, OEParams)
        if self.params.score == "msp":
            return log_odds(logits)
        return torch.logsumexp(logits, dim=1) - logits.mean(dim=1)
