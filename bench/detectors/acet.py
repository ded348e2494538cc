"""Adversarial Confidence Enhanced Training."""

from typing import ClassVar

from bench.detectors.base import DetectorInfo
from bench.detectors.msp import MSP


class ACET(MSP):
    """The confidence of a classifier that was trained to have none around images of noise.

    Hein, Andriushchenko and Bitterwolf (2019), "Why ReLU networks yield high-confidence predictions far away from the
    training data and how to mitigate the problem", section 4: the score is max_k p(k|x), here as log-odds (see `MSP`).
    What is new lies in training, and is the recipe's (`bench.training.acet`): confidence is lowered at the surest point
    of a ball around every image of noise. Training sees no outliers.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("classifier",), matched="logits")
