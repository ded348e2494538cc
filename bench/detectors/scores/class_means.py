"""Means by class of what arrives in batches, in float64."""

import torch
from torch import Tensor

from bench.errors import NotFittableError


class ClassSums:
    """Sums and counts by class.

    Args:
        classes: C, the number of classes.
        width: D, of what is averaged.
    """

    def __init__(self, classes: int, width: int) -> None:
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.sums = torch.zeros(classes, width, dtype=torch.float64)

    def add(self, values: Tensor, classes: Tensor) -> None:
        """Take in (N, D) values of (N,) classes in [0, C)."""
        classes = classes.cpu()
        self.counts.index_add_(0, classes, torch.ones(len(classes), dtype=torch.float64))
        self.sums.index_add_(0, classes, values.detach().double().cpu())

    def means(self, how: str, images: str) -> Tensor:
        """(C, D) float64.

        Args:
            how: How an image comes to its class, for the sentence.
            images: What the images are, for the sentence.

        Raises:
            NotFittableError: A class has no image.
        """
        if missing := torch.nonzero(self.counts == 0).flatten().tolist():
            raise NotFittableError(
                f"{how} class {', '.join(map(str, missing))} for no {images} image, and every class needs one; use a "
                "classifier of this track's classes with weights, or a score without class statistics."
            )
        return self.sums / self.counts[:, None]
