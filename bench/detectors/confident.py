"""A classifier trained together with a generator of images that it is to be unsure of."""

from typing import ClassVar

from bench.detectors.base import DetectorInfo
from bench.detectors.msp import MSP


class ConfidentClassifier(MSP):
    """The confidence of a classifier that was trained to have none where a generator's images lie.

    Lee, Lee, Lee and Shin (2018), "Training confidence-calibrated classifiers for detecting out-of-distribution
    samples", section 2: the score is max_y p(y|x), here as log-odds (see `MSP`). What is new lies in training, and is
    the recipe's (`bench.training.confident`), which sees no outliers: a GAN makes images near the in-distribution.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("classifier",), matched="logits")
