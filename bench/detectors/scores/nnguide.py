"""Nearest-neighbour guidance."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.scores.banks import BankParams, check_bank, unit
from bench.detectors.scores.base import FeatureScore
from bench.detectors.scores.training_features import TrainingFeatures


class NNGuideParams(BankParams):
    """Parameters of NNGuide, with the paper's `k`."""

    k: int = Field(default=10, ge=1)


class NNGuide(FeatureScore):
    """E(z) times the mean over the k nearest training images i of E(z_i) u_i . u, E = logsumexp and u = h / |h|.

    Park, Jung and Teoh (2023), "Nearest neighbor guidance for out-of-distribution detection", equations 4 to 6;
    "nearest" is by E(z_i) u_i . u. k = 10 with a bank of 1 % of ImageNet is the paper's, chosen on its OOD sets.

    Deviation: the bank holds at most `bank` training images. As in the paper the product has no meaning where both
    factors are negative, which energies of trained classifiers hardly are. Exact wherever the neighbours stay the same.
    """

    params: NNGuideParams

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """The bank of E(z_i) u_i, whose rows after the first `size` are unused."""
        return {"size": (), "bank": (self.params.bank, width)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Fill the bank."""
        check_bank(training, self.params.k, self.params.bank)
        energies = [torch.logsumexp(batch.logits, dim=1, keepdim=True) * unit(batch.features) for batch in training]
        rows = torch.cat(energies)[: self.params.bank]
        bank = torch.zeros_like(self.fitted["bank"])
        bank[: len(rows)] = rows
        self.put(bank=bank, size=torch.tensor(float(len(rows))))

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N,)."""
        similarities = unit(features) @ self.fitted["bank"][: int(self.fitted["size"])].T
        return similarities.topk(self.params.k, dim=1).values.mean(dim=1) * torch.logsumexp(logits, dim=1)
