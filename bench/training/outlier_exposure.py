"""Outlier Exposure (Hendrycks, Mazeika and Dietterich 2019)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.training.augment import OutlierAugmentArgs, augmented_outliers
from bench.training.base import pick, required_outliers
from bench.training.classifier import Classifier, ClassifierArgs


class OutlierExposureArgs(OutlierAugmentArgs, ClassifierArgs):
    """Arguments of `OutlierExposure`."""

    weight: float = 0.5  # lambda of the paper


class OutlierExposure(Classifier):
    """Cross-entropy on ID images plus lambda times the cross-entropy of outliers to the uniform distribution.

    The second term is computed as logsumexp(z) - mean(z), as in the authors' code.

    Deviations: AdamW in place of SGD; outliers augmented as ID images are, and turned and mirrored besides, so that a
    few thousand serve for millions.
    """

    Args = OutlierExposureArgs
    args: OutlierExposureArgs

    def prepare(self) -> None:
        """Build the optimiser and find the outliers."""
        super().prepare()
        self.outliers = required_outliers(self.data, "Outlier Exposure")

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on as many outliers as ID images."""
        x, y = self.labelled(generator)
        outliers, _ = pick(self.outliers, self.args.batch_size, generator, self.device)
        outliers = augmented_outliers(outliers, self.args, generator)
        logits = self.logits(torch.cat([x, self.moved(outliers, generator)]))
        inside, outside = logits[: len(x)], logits[len(x) :]
        classification = cross_entropy(inside, y)
        loss = classification + self.args.weight * self.exposure(inside, outside)
        self.update(loss, self.lr_at(number))
        return {"loss": float(loss.detach()), "classification": float(classification.detach())}

    def moved(self, outliers: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) what the network sees of the outliers; themselves unless overridden."""
        return outliers

    def exposure(self, inside: Tensor, outside: Tensor) -> Tensor:
        """What lambda weighs, of the (N, K) logits of ID images and of outliers."""
        return (outside.logsumexp(1) - outside.mean(1)).mean()
