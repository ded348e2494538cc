"""Generative adversarial training for detection."""

from typing import ClassVar

from torch import Tensor

from bench.detectors.base import DetectorInfo
from bench.detectors.logit import LogitDetector


class GAT(LogitDetector):
    """One binary network D whose logit is the score.

    "Analyzing and improving generative adversarial training for generative modeling and out-of-distribution
    detection" (anonymous, 2020), Algorithm 3 (unconstrained): D is trained to tell in-distribution images from outliers
    that were moved by K normalised steps of steepest ascent on D, with K growing from 0. Appendix G takes the logit
    as the score, and so does this. How D is trained is the recipe's; the network has one logit and no classes.

    The paper's baseline, K = 0, is this detector trained without ascent (`gat.k0`). It is called a form of Outlier
    Exposure there, but has neither the loss nor the score of `OE`, which is a classifier.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(classifier=False, outliers=True, components=("discriminator",))

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, 1) -> (N,) logit, in the reals."""
        return logits[:, 0]
