"""Classifiers whose nearest misclassified image is known: linear, quadratic, NaN for some samples, flat."""

import torch
from torch import Tensor, nn

from bench.testing.closed_forms import FlatScore, LinearScore, QuadraticScore, fixed_numbers

CLASSES = 4

_BISECTIONS = 100
"""More than float64 can tell apart."""


class LinearClassifier(LinearScore):
    """Logits W x of four classes, and the score of `LinearScore`; the first pixel has no influence on the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = CLASSES
        rows = torch.stack([fixed_numbers(20 + label) - 0.5 for label in range(CLASSES)])
        rows[:, 0] = 0.0
        self.rows = nn.Parameter(rows)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 4) inner products."""
        return x.flatten(1) @ self.rows.T

    def class_scores(self, x: Tensor) -> Tensor:
        """(N, 4) the score, less what each class lacks of the largest logit."""
        logits = self.logits(x)
        return self.score(x)[:, None] + logits - logits.amax(dim=1, keepdim=True)

    def minimal_norm(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N,) float64 L2 distance to the nearest image in the box that another class wins; infinite if none does.

        For one class it is the projection onto a half-space and the box, clip(x + t (w_k - w_y)) for the smallest t
        that reaches the half-space; the nearest image is the nearest one over the classes.
        """
        flat, rows = x.flatten(1).double(), self.rows.detach().double()
        slopes = rows[None] - rows[labels][:, None]  # (N, K, D)
        missing = -(slopes @ flat[:, :, None])[:, :, 0]
        low, high = torch.zeros_like(missing), torch.full_like(missing, 1e6)

        def moved(share: Tensor) -> Tensor:
            return (flat[:, None] + share[:, :, None] * slopes).clamp(0.0, 1.0) - flat[:, None]

        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            enough = (moved(middle) * slopes).sum(dim=2) >= missing
            high, low = torch.where(enough, middle, high), torch.where(enough, low, middle)
        distances = torch.linalg.vector_norm(moved(high), dim=2)
        reachable = (moved(high) * slopes).sum(dim=2) >= missing
        own = nn.functional.one_hot(labels, CLASSES).bool()
        return torch.where(reachable & ~own, distances, torch.inf).amin(dim=1)


class QuadraticClassifier(QuadraticScore):
    """Class 1 inside the sphere of radius `radius` around a point of the box, class 0 outside of it."""

    def __init__(self, radius: float = 1.0) -> None:
        super().__init__()
        self.radius = radius

    def logits(self, x: Tensor) -> Tensor:
        """(N, 2): zero, and how far the squared distance is below the squared radius."""
        inside = self.radius**2 + self.score(x)
        return torch.stack([torch.zeros_like(inside), inside], dim=1)

    def minimal_norm(self, x: Tensor) -> Tensor:
        """(N,) float64 distance from images of class 0 to the sphere: the way to the centre never meets the box."""
        distances = torch.linalg.vector_norm(x.flatten(1).double() - self.center.double(), dim=1)
        return torch.sub(distances, self.radius)


class PoisonedClassifier(LinearClassifier):
    """NaN for every image whose first pixel is above one half; linear for the others."""

    def logits(self, x: Tensor) -> Tensor:
        """(N, 4) inner products or NaN."""
        return torch.where(x[:, 0, 0, :1] > 0.5, torch.nan, super().logits(x))


class FlatClassifier(FlatScore):
    """The same logits everywhere, without any gradient."""

    def logits(self, x: Tensor) -> Tensor:
        """(N, 4) zeros."""
        return x.new_zeros(len(x), CLASSES)
