"""The distance to the k-th nearest training image."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.detectors.scores.banks import BankParams, check_bank, unit
from bench.detectors.scores.base import FeatureScore
from bench.detectors.scores.training_features import TrainingFeatures


class KNN(FeatureScore):
    """-|u - u_(k)|, u = h / |h| and u_(k) the k-th nearest of the training images'.

    Sun, Ming, Zhu and Li (2022), "Out-of-distribution detection with deep nearest neighbors", equation 2. k = 50 is
    theirs for CIFAR-10 with the whole training set as the bank (200 for CIFAR-100, 1,000 for ImageNet), chosen on
    Gaussian noise.

    Deviations: the bank holds at most `bank` training images, which the card can raise. Which image is the k-th
    nearest is found by products in float32; the distance to it is then taken as a norm, which does not cancel.

    The gradient is exact wherever the k-th neighbour does not change, and the score is continuous there too.
    """

    sees_logits = False
    directions_only = True
    params: BankParams

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The bank, whose rows after the first `size` are unused."""
        return {"size": (), "bank": (self.params.bank, width)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Fill the bank."""
        check_bank(training, self.params.k, self.params.bank)
        rows = torch.cat([unit(batch.features) for batch in training])[: self.params.bank]
        bank = torch.zeros_like(self.fitted["bank"])
        bank[: len(rows)] = rows
        self.put(bank=bank, size=torch.tensor(float(len(rows))))

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) -> (N,) in [-2, 0]."""
        found, bank = unit(features), self.fitted["bank"][: int(self.fitted["size"])]
        with torch.no_grad():
            nearest = (found @ bank.T).topk(self.params.k, dim=1).indices[:, -1]
        distance: Tensor = torch.linalg.vector_norm(found - bank[nearest], dim=1)
        return -distance
