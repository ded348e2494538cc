"""Adversarial Outlier Exposure."""

from typing import ClassVar

from bench.detectors.base import DetectorInfo
from bench.detectors.energy import Energy


class AOE(Energy):
    """The energy score of a classifier whose training outliers were moved towards low energy.

    Botschen, Kirchheim and Ortmeier (2025), "Out-of-distribution detection with adversarial outlier exposure":
    scoring is that of `Energy`, E(x) = -logsumexp of the logits with the sign turned; what is new lies in training,
    and is the recipe's. What the step adds shows beside the same training without it (`aoe.eps0`).
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(outliers=True, components=("classifier",))
