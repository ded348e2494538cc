"""The residual alone, without the logits."""

from collections.abc import Mapping

from torch import Tensor

from bench.detectors.scores import residuals
from bench.detectors.scores.base import FeatureScore
from bench.detectors.scores.residuals import ResidualParams
from bench.detectors.scores.training_features import TrainingFeatures


class Residual(FeatureScore):
    """-|R^T (h - o)|: the length of what lies outside the principal subspace.

    Wang, Li, Feng and Zhang (2022), "ViM: Out-of-distribution with virtual-logit matching", section 4.1, where
    "Residual" is compared with the whole score; o = -W^+ b, and R spans the minor eigenvectors of the training images'
    second moments about o. Deviation: moments in float64 over the whole training set, there 200,000 images.
    """

    params: ResidualParams
    needs_head = True
    sees_logits = False

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """Origin and residual space."""
        return residuals.shapes(self.params.dimensions, width)

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find origin and residual space."""
        origin, residual = residuals.estimate(training, self.weight, self.bias, self.params.dimensions)
        self.put(origin=origin, residual=residual)

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) -> (N,) at most 0, in the features' unit."""
        return -residuals.residual_norm(features, self.fitted["origin"], self.fitted["residual"])
