"""The thresholds of one cell: from which clean ID images, and for which predicted class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench import metrics
from bench.cards.detector import ThresholdSpec
from bench.errors import CellError
from bench.metrics.scores import Scores

TPR = 0.95
"""The share of ID images that is accepted where FPR95 is taken, whatever recall a card names."""


@dataclass(frozen=True)
class Thresholds:
    """An image whose score lies below its threshold is detected as OOD.

    Attributes:
        name: Of the overall threshold among the figures of a cell: source and recall in percent, such as
            "calibration_tpr95".
        overall: The threshold of all ID images.
        by_class: Predicted class -> its own threshold; empty where classes are not told apart.
    """

    name: str
    overall: float
    by_class: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: ThresholdSpec, scores: Scores, predicted: NDArray[np.int64], *, label: str) -> "Thresholds":
        """From clean ID images.

        Args:
            spec: Where the images come from, the share of them to accept, and whether the thresholds go by class.
            scores: (N,) of the images.
            predicted: (N,) classes that the detector predicts for them.
            label: The cell, for errors.
        """
        share = spec.recall
        overall = metrics.threshold_at_tpr(scores, share, name=label)
        classes = metrics.thresholds_by_class(scores, predicted, tpr=share, name=label) if spec.per_class else {}
        return cls(_name(spec), overall, classes)

    @classmethod
    def read(cls, spec: ThresholdSpec, stored: Mapping[str, float]) -> "Thresholds":
        """From what a clean cell holds.

        Raises:
            CellError: It holds other thresholds.
        """
        name = _name(spec)
        if name not in stored:
            raise CellError(f"the clean cell holds no threshold '{name}'; run it again.")
        classes = {int(key.partition("/")[2]): value for key, value in stored.items() if key.startswith(f"{name}/")}
        return cls(name, stored[name], classes)

    def named(self) -> dict[str, float]:
        """Every threshold in use by name; that of class 3 is "calibration_tpr95/3"."""
        return {self.name: self.overall, **{f"{self.name}/{c}": value for c, value in self.by_class.items()}}

    def detection_rate(self, scores: ArrayLike, predicted: NDArray[np.int64], *, label: str) -> float:
        """Share of OOD images strictly below the threshold in force for them.

        Early stop leaves it what it is, with thresholds by class too: the stop target lies beyond every threshold in
        use, so an image that stopped there is accepted whatever class it would have been given further on, and one
        that did not stop is the same image, of the same class, in both modes.

        Args:
            scores: (N,) attacked scores, clipped at the stop targets.
            predicted: (N,) classes that the detector predicts for the attacked images. One that no ID image was
                predicted to be has the overall threshold.
            label: The cell, for errors.
        """
        if not self.by_class:
            return metrics.detection_rate(scores, self.overall, name=label)
        return metrics.detection_rate_by_class(scores, predicted, self.by_class, otherwise=self.overall, name=label)


def _name(spec: ThresholdSpec) -> str:
    percent = (100 * Decimal(repr(spec.recall))).normalize()  # as it is written: 0.786 is 78.6, in binary it is not
    return f"{spec.source}_tpr{percent:f}"
