"""Class-conditional Gaussians with one covariance, estimated in float64 and scored in float32 without loss."""

import torch
from torch import Tensor, nn

from bench.errors import NotFittableError, UsageError

RELATIVE_CUTOFF = 1e-6
"""Directions whose variance is below this share of the largest variance are dropped."""


class RunningMoments:
    """Class sums and the scatter matrix of features that arrive in batches, in float64.

    Args:
        dims: D, the width of a feature vector.
        classes: C, the number of classes.
    """

    def __init__(self, dims: int, classes: int) -> None:
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.sums = torch.zeros(classes, dims, dtype=torch.float64)
        self.second = torch.zeros(dims, dims, dtype=torch.float64)
        self.origin: Tensor | None = None

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in a batch.

        Args:
            features: (N, D).
            labels: (N,) int64 in [0, C).

        Raises:
            NotFittableError: There are no labels.
            UsageError: A label is outside.
        """
        if bool((labels < 0).all()):
            raise NotFittableError(
                "the training set has no labels, and class statistics need them: give it labels (a folder of class "
                "folders has them), or take a detector that needs none."
            )
        if bool(((labels < 0) | (labels >= len(self.counts))).any()):
            low, high = int(labels.min()), int(labels.max())
            raise UsageError(
                f"training labels range from {low} to {high}; allowed are 0 to {len(self.counts) - 1}: "
                "correct the track's training set or its number of classes."
            )
        features = features.detach().to("cpu", torch.float64)
        if self.origin is None:
            # Sums are taken relative to the first batch's mean, so that a large common offset cancels nothing.
            self.origin = features.mean(dim=0)
        features, labels = features - self.origin, labels.cpu()
        self.counts.index_add_(0, labels, torch.ones(len(labels), dtype=torch.float64))
        self.sums.index_add_(0, labels, features)
        self.second += features.T @ features

    def estimate(self) -> tuple[Tensor, Tensor]:
        """(C, D) class means and (D, D) tied covariance, both maximum-likelihood, in float64.

        Raises:
            NotFittableError: A class has no sample, or all have but one.
        """
        if self.origin is None or bool((self.counts == 0).any()):
            missing = torch.nonzero(self.counts == 0).flatten().tolist()
            raise NotFittableError(f"no training image has label {missing}; every class needs at least one image.")
        if int(self.counts.sum()) == len(self.counts):
            raise NotFittableError(
                "no class has more than one training image, so nothing varies within classes; give the track more "
                "training images, or take a detector without class statistics."
            )
        means = self.sums / self.counts[:, None]
        between = (self.sums * self.counts.rsqrt()[:, None]).T @ (self.sums * self.counts.rsqrt()[:, None])
        return means + self.origin, (self.second - between) / self.counts.sum()


class TiedGaussians(nn.Module):
    """Scores features by their squared Mahalanobis distance to the nearest class mean.

    Features are centred on the global mean *before* they are whitened: the other way round loses every digit of
    float32 where a mean is large against the variance. Directions below `RELATIVE_CUTOFF` of the largest variance are
    dropped, since float32 features do not resolve them; their columns of the whitening matrix are zero, so that the
    buffers' shapes follow from the network alone.

    Buffers: `centre` (D,), `whitening` (D, D), `means` (C, D) whitened and relative to the centre; NaN before `set`.
    """

    def __init__(self, dims: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.full((dims,), torch.nan))
        self.register_buffer("whitening", torch.full((dims, dims), torch.nan))
        self.register_buffer("means", torch.full((classes, dims), torch.nan))
        self.centre: Tensor
        self.whitening: Tensor
        self.means: Tensor

    def set(self, means: Tensor, covariance: Tensor) -> None:
        """Take over float64 class means (C, D) and their tied covariance (D, D)."""
        # The centre is rounded to float32 first and the means are taken relative to the rounded one: no error is left.
        centre = means.mean(dim=0).to(torch.float32)
        variances, directions = torch.linalg.eigh(covariance)
        kept = variances > RELATIVE_CUTOFF * variances[-1].clamp_min(0.0)
        whitening = torch.where(kept, directions * variances.clamp_min(1e-300).rsqrt(), 0.0)
        self.centre.copy_(centre)
        self.whitening.copy_(whitening)
        self.means.copy_((means - centre.to(torch.float64)) @ whitening)

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) -> (N,) minus the squared distance to the nearest mean, at most 0.

        The nearest class is found by one matrix product; the distance to it alone is then taken as a sum of squares,
        which neither cancels as |a|^2 - 2ab + |b|^2 does nor needs an (N, C, D) tensor.
        """
        whitened = (features - self.centre) @ self.whitening
        with torch.no_grad():
            nearest = (self.means.square().sum(dim=1) - 2.0 * whitened @ self.means.T).argmin(dim=1)
        return -(whitened - self.means[nearest]).square().sum(dim=1)

    def by_class(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, C) minus the squared distance to every mean, each as a sum of squares."""
        whitened = (features - self.centre) @ self.whitening
        return torch.stack([-(whitened - mean).square().sum(dim=1) for mean in self.means], dim=1)
