"""The divergence from the nearest class's typical softmax."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.detectors.base import DetectorInfo
from bench.detectors.scores.base import LogitScore
from bench.detectors.scores.class_means import ClassSums
from bench.detectors.scores.training_features import TrainingFeatures


class KLM(LogitScore):
    """max_k -KL(p || d_k), p = softmax(z) and d_k the mean softmax of held-out images that are predicted as class k.

    Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song (2022), "Scaling out-of-distribution
    detection for real-world settings", section 4 (KL matching). The d_k come from the track's calibration images.

    Deviation: a class that is predicted for no calibration image is refused. Sums are taken in float64, since the
    divergence of a confident image is a small difference: float32 would tie what it can still tell apart.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        roundings="confident images of a class differ by little in their divergence from it, so that roundings show",
        components=("classifier",),
        matched="logits",
    )
    fitted_on: ClassVar[Literal["train", "calibration"]] = "calibration"

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The logarithms of the d_k (K, K), one row a class."""
        return {"log_typical": (self.classes, self.classes)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find the typical softmax of every class.

        Raises:
            NotFittableError: Some class is predicted for no image.
        """
        sums = ClassSums(self.classes, self.classes)
        for batch in training:
            sums.add(torch.softmax(batch.logits.double(), dim=1), batch.logits.argmax(dim=1))
        self.put(log_typical=sums.means("the network predicts", "calibration").clamp_min(1e-300).log())

    def class_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N, K) minus the divergence from each class, at most 0."""
        log_p = torch.log_softmax(logits.double(), dim=1)
        p = log_p.exp()
        cross = p @ self.fitted["log_typical"].double().T
        return (cross - (p * log_p).sum(dim=1, keepdim=True)).to(logits.dtype)

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, C, H, W) in [0, 1] -> (N, K)."""
        return self.class_logits(self.scored_logits(x))

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) at most 0."""
        return self.class_logits(logits).amax(dim=1)
