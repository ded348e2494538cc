"""Guaranteed out-of-distribution detection: a confidence that is bounded in whole balls."""

from typing import ClassVar

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import DetectorInfo
from bench.detectors.intervals import can_be_bounded, certified_log_odds
from bench.detectors.msp import MSP, MSPParams


class GOOD(MSP):
    """The confidence of a classifier that was trained to have a small bound on it around outliers.

    Bitterwolf, Meinke and Hein (2020), "Certifiably adversarially robust detection of out-of-distribution data",
    section 3: the score is max_k p(k|x), here as log-odds (see `MSP`), and

        log p_k / (1 - p_k) <= -log sum over l != k of exp(-u_kl),

    with u_kl the upper bound of z_k - z_l over the ball that interval bound propagation gives
    (`bench.detectors.intervals`). `bound` is the largest of these over k, computed in float64. How the network is
    trained is the recipe's (`bench.training.good`). Any network of the same layers has such a bound; without that
    training it says nothing.

    Deviations: the network has SiLU in place of ReLU, whose interval is as exact; the ball is cut by the box; balls of
    other norms than L-infinity have a bound too, by the L2 length of the first layer's weights.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(outliers=True, components=("classifier",), matched="logits")

    @torch.no_grad()
    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor | None:
        """(N,) the largest score in the ball of radius `eps`, in [0, 1] pixel units, or something above it.

        None with shaping, or on a network whose layers are not known.
        """
        assert isinstance(self.params, MSPParams)
        if self.shaping is not None or not can_be_bounded(self.network):
            return None
        assert self.network is not None
        log_odds = certified_log_odds(self.network, x, norm, eps)
        return log_odds if self.params.score == "log-odds" else torch.sigmoid(log_odds)
