"""Softmax confidence at the temperature that calibrates it."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.detectors.msp import log_odds, log_odds_of_each
from bench.detectors.scores.base import LogitScore
from bench.detectors.scores.training_features import TrainingFeatures
from bench.errors import NotFittableError

COLDEST, HOTTEST = 0.01, 100.0
"""The temperature is looked for between them: without an error on the calibration images the likelihood has no best."""


class TemperatureScaling(LogitScore):
    """log(p / (1 - p)), p = max_k softmax(z / T)_k at the T of the largest likelihood of held-out labels.

    Guo, Pleiss, Sun and Weinberger (2017), "On calibration of modern neural networks", section 4.2. T is found on
    the track's calibration images.

    Deviations: the log-odds of the top class in place of its probability, with the same ranks and without ties at 1
    (see `MSP`); T by bisection in the slope of the likelihood, which is monotonous in 1 / T.
    """

    fitted_on: ClassVar[Literal["train", "calibration"]] = "calibration"

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The temperature."""
        return {"temperature": ()}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find the temperature.

        Raises:
            NotFittableError: An image has no label.
        """
        batches = list(training)
        logits = torch.cat([batch.logits for batch in batches]).double()
        labels = torch.cat([batch.labels for batch in batches])
        if bool((labels < 0).any()):
            raise NotFittableError(
                "the calibration set has images without labels, and a temperature needs them: give it labels, or take "
                "a detector that needs none."
            )
        self.put(temperature=torch.tensor(best_temperature(logits, labels)))

    @property
    def remarks(self) -> tuple[str, ...]:  # type: ignore[override]  # as in Score
        """What a fit left out, and a temperature at the limit of the search."""
        temperature = float(self.fitted["temperature"])
        if not (temperature <= COLDEST * 1.01 or temperature >= HOTTEST / 1.01):
            return super().remarks
        told = (
            f"its temperature is {temperature:g}, the limit of the search: the likelihood of the calibration labels "
            "has no best within it"
        )
        return (*super().remarks, told)

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K >= 2) -> (N,) in the reals."""
        return log_odds(logits / self.fitted["temperature"])

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the log-odds of each class, of which an attack may ascend those that are not the largest yet."""
        return log_odds_of_each(self.scored_logits(x) / self.fitted["temperature"])


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """T in [0.01, 100] at which labels (N,) are likeliest under softmax(logits / T), logits (N, K) in float64.

    Of several that are equally likely it is the coldest.
    """
    true = logits.gather(1, labels[:, None]).squeeze(1)
    low, high = 1.0 / HOTTEST, 1.0 / COLDEST
    for _ in range(100):
        inverse = (low * high) ** 0.5
        expected = (torch.softmax(inverse * logits, dim=1) * logits).sum(dim=1)
        low, high = (inverse, high) if bool((true - expected).sum() >= 0) else (low, inverse)
    return 1.0 / low
