"""Distance to the decision boundaries."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.detectors.scores.base import ClassScore
from bench.detectors.scores.centres import mean_features
from bench.detectors.scores.training_features import TrainingFeatures

SMALLEST = 1e-8
"""Of distances that are divided by: of a feature from the mean, and between two classes' weights."""


class FDBD(ClassScore):
    """Mean over k != y of (z_y - z_k) / |w_y - w_k|, over |h - m|: y the predicted class, m the training images' mean.

    Liu and Qin (2024), "Fast decision boundary based out-of-distribution detector", equations 7 to 9: each summand is
    the distance of h to the boundary between y and k. No deviation, but that distances below 1e-8 count as that.
    Under `shaping: dice` the logits are those of the sparse weights, the distances |w_y - w_k| the network's own.
    """

    needs_head = True

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The mean m (D,), and the distances between the classes' weights (K, K)."""
        return {"mean": (width,), "between": (self.classes, self.classes)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find mean and distances."""
        weight = self.weight.double()
        between = torch.stack([(weight - row).norm(dim=1) for row in weight])
        self.put(mean=mean_features(training), between=between)

    def of_classes(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N, K): distances past a boundary, of a class not predicted, count as negative."""
        classes = torch.arange(self.classes, device=logits.device)
        return torch.stack([self._of_class(features, logits, y.expand(len(logits))) for y in classes], dim=1)

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N,) at least 0."""
        return self._of_class(features, logits, logits.argmax(dim=1))

    def _of_class(self, features: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        # A class has no boundary with itself: 0 / 1e-8 is 0 too, but its gradient, 1e8 - 1e8, rounds the others away.
        between = self.fitted["between"][y].clamp_min(SMALLEST).scatter(1, y[:, None], torch.inf)
        to_others = (logits.gather(1, y[:, None]) - logits) / between
        from_mean: Tensor = (features - self.fitted["mean"]).norm(dim=1).clamp_min(SMALLEST)
        score: Tensor = to_others.sum(dim=1) / ((self.classes - 1) * from_mean)
        return score
