"""Relative Mahalanobis distance."""

import torch
from torch import Tensor, nn

from bench.detectors.gaussian import RunningMoments, TiedGaussians
from bench.detectors.scores.base import FeatureScore
from bench.detectors.scores.training_features import TrainingFeatures


class RMDS(FeatureScore):
    """max_k -(MD_k - MD_0): squared Mahalanobis distances of h to the class means, and to the mean of all classes.

    Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan (2021), "A simple fix to Mahalanobis distance for improving near-OOD
    detection", equation 2: MD_k under the covariance within classes, MD_0 under that of all training images. On the
    penultimate features, as there.

    Deviation: directions of near-zero variance are dropped in each of the two (see `TiedGaussians`).
    """

    sees_logits = False

    def make_statistics(self) -> nn.Module:
        """The classes' Gaussians, and the one of all images."""
        width = self.width
        return nn.ModuleDict({"classes": TiedGaussians(width, self.classes), "whole": TiedGaussians(width, 1)})

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find means and covariances.

        Raises:
            NotFittableError: A class without images, or images without labels.
        """
        within, whole = RunningMoments(self.width, self.classes), RunningMoments(self.width, 1)
        for batch in training:
            within.add(batch.features, batch.labels)
            whole.add(batch.features, torch.zeros_like(batch.labels))
        self._gaussians("classes").set(*within.estimate())
        self._gaussians("whole").set(*whole.estimate())

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        relative: Tensor = self._gaussians("classes")(features) - self._gaussians("whole")(features)
        return relative

    def _gaussians(self, name: str) -> TiedGaussians:
        found = self.statistics["score"]
        assert isinstance(found, nn.ModuleDict)
        gaussians = found[name]
        assert isinstance(gaussians, TiedGaussians)
        return gaussians
