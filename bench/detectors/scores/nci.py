"""Neural collapse: alignment with the predicted class's weights."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.scores.base import ClassScore, ScoreParams
from bench.detectors.scores.centres import mean_features
from bench.detectors.scores.training_features import TrainingFeatures

SMALLEST = 1e-8
"""Of the distance from the mean that is divided by."""


class NCIParams(ScoreParams):
    """`alpha`, the weight of the features' size."""

    alpha: float = Field(default=1e-4, ge=0, allow_inf_nan=False)


class NCI(ClassScore):
    """(h - m) . w_y / |h - m| + alpha |h|_1: y the predicted class, m the training images' mean.

    Liu and Qin (2025), "Detecting out-of-distribution through the lens of neural collapse", equations 5 to 7.
    alpha = 1e-4 is the authors' default; their tables choose it in 1e-4 to 1e-1 on validation OOD sets, ours on
    nothing. No deviation, but that a distance from the mean below 1e-8 counts as that.
    """

    params: NCIParams
    needs_head = True

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The mean m (D,)."""
        return {"mean": (width,)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find the mean."""
        self.put(mean=mean_features(training))

    def of_classes(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N, K) the same for every class as y."""
        centred = features - self.fitted["mean"]
        alignment: Tensor = centred @ self.weight.T / centred.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
        size: Tensor = torch.linalg.vector_norm(features, ord=1, dim=1, keepdim=True)
        return alignment + self.params.alpha * size
