"""Simplified Hopfield energy."""

from collections.abc import Mapping

from torch import Tensor

from bench.detectors.scores.base import ClassScore
from bench.detectors.scores.class_means import ClassSums
from bench.detectors.scores.training_features import TrainingFeatures


class SHE(ClassScore):
    """h . S_y, y the predicted class and S_k the mean features of class k's training images that are predicted right.

    Zhang, Fu, Chen, Du, Li, Wang, Liu, Han and Zhang (2023), "Out-of-distribution detection based on in-distribution
    data patterns memorization with modern Hopfield energy", equation 9 (the inner product, which the paper found best).
    Deviation: a class of which no training image is classified right is refused.
    """

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The patterns S (K, D)."""
        return {"patterns": (self.classes, width)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find the patterns.

        Raises:
            NotFittableError: Of some class no image is classified right.
        """
        sums = ClassSums(self.classes, self.width)
        for batch in training:
            right = batch.logits.argmax(dim=1) == batch.labels
            sums.add(batch.features[right], batch.labels[right])
        self.put(patterns=sums.means("the network rightly predicts", "training"))

    def of_classes(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N, K) the inner product with each class's pattern."""
        return features @ self.fitted["patterns"].T
