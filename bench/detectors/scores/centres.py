"""The mean of the training images' features."""

import torch
from torch import Tensor

from bench.detectors.scores.training_features import TrainingFeatures


def mean_features(training: TrainingFeatures) -> Tensor:
    """(D,) float64, over all training images."""
    sums = [batch.features.double().sum(dim=0) for batch in training]
    return torch.stack(sums).sum(dim=0) / len(training)
