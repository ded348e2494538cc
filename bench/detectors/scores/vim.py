"""Virtual-logit matching."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.detectors.scores import residuals
from bench.detectors.scores.base import FeatureScore
from bench.detectors.scores.residuals import ResidualParams
from bench.detectors.scores.training_features import TrainingFeatures
from bench.errors import NotFittableError


class ViM(FeatureScore):
    """logsumexp(z) - alpha |R^T (h - o)|: the logits against a virtual one, made of the residual.

    Wang, Li, Feng and Zhang (2022), "ViM: Out-of-distribution with virtual-logit matching", equations 4 to 8; alpha is
    the mean largest logit over the mean residual of training images, o and R as in `Residual`. The paper's softmax
    probability of the virtual logit has the ranks of this difference, which does not saturate.

    Deviation: moments and alpha over the whole training set, there 200,000 images. A shaping changes the features, and
    the logits with them; o stays that of the network's own last layer.
    """

    params: ResidualParams
    needs_head = True

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """Origin, residual space and alpha."""
        return {**residuals.shapes(self.params.dimensions, width), "alpha": ()}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find origin, residual space and alpha.

        Raises:
            NotFittableError: All training images lie in the principal subspace.
        """
        origin, residual = residuals.estimate(training, self.weight, self.bias, self.params.dimensions)
        self.put(origin=origin, residual=residual)
        largest = lengths = torch.zeros((), dtype=torch.float64)
        for batch in training:
            largest = largest + batch.logits.amax(dim=1).double().sum().cpu()
            lengths = lengths + self._length(batch.features).double().sum().cpu()
        if float(lengths) == 0.0:
            raise NotFittableError(
                "no training image has anything outside ViM's principal subspace, so there is no residual to compare "
                "with; choose fewer `dimensions`, or another score."
            )
        self.put(alpha=largest / lengths)

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N,) in the logits' unit."""
        return torch.logsumexp(logits, dim=1) - self.fitted["alpha"] * self._length(features)

    def _length(self, features: Tensor) -> Tensor:
        return residuals.residual_norm(features, self.fitted["origin"], self.fitted["residual"])
