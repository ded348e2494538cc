"""What of a feature lies outside the principal subspace of the training images' features."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.scores.base import ScoreParams
from bench.detectors.scores.training_features import TrainingFeatures


class ResidualParams(ScoreParams):
    """`dimensions` of the principal subspace; None takes the paper's: 1000 of 2048 features, 512 of 768, else half."""

    dimensions: int | None = Field(default=None, ge=1)


def principal_dimensions(given: int | None, width: int) -> int:
    """How many dimensions the principal subspace has; at least one is left for the residual."""
    default = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    return min(default if given is None else given, width - 1)


def shapes(given: int | None, width: int) -> Mapping[str, tuple[int, ...]]:
    """The origin (D,), and an orthonormal basis of the residual space (D, D - d)."""
    return {"origin": (width,), "residual": (width, width - principal_dimensions(given, width))}


def estimate(training: TrainingFeatures, weight: Tensor, bias: Tensor, given: int | None) -> tuple[Tensor, Tensor]:
    """Origin and basis, in float64.

    The origin is -W^+ b, the point nearest to 0 at which all logits are 0; the principal subspace is spanned by the
    leading eigenvectors of the second moments of h - origin.
    """
    weight, bias = weight.double().cpu(), bias.double().cpu()
    origin = -torch.linalg.pinv(weight) @ bias
    width = weight.shape[1]
    moments = torch.zeros(width, width, dtype=torch.float64)
    for batch in training:
        centred = batch.features.double().cpu() - origin
        moments += centred.T @ centred
    directions = torch.linalg.eigh(moments / len(training)).eigenvectors  # in ascending order of their eigenvalues
    return origin, directions[:, : width - principal_dimensions(given, width)]


def residual_norm(features: Tensor, origin: Tensor, residual: Tensor) -> Tensor:
    """(N, D) -> (N,) length of the part in the residual space; the gradient at 0 is 0."""
    lengths: Tensor = torch.linalg.vector_norm((features - origin) @ residual, dim=1)
    return lengths
