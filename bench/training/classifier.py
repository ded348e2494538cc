"""Cross-entropy training of the classifier behind post-hoc detectors."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.training.augment import AugmentArgs, augmented
from bench.training.base import GradientRecipe, batches, pick


class ClassifierArgs(AugmentArgs):
    """Arguments of `Classifier`."""

    steps: int = 3000
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-4


class Classifier(GradientRecipe):
    """AdamW with warm-up and cosine decay on augmented, labelled ID images."""

    Args = ClassifierArgs
    args: ClassifierArgs
    needs_labels = True

    @property
    def total_steps(self) -> int:
        """Optimiser steps."""
        return self.args.steps

    def prepare(self) -> None:
        """Build the optimiser."""
        self.use_adam(self.args.lr, self.args.weight_decay)

    def labelled(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """An augmented batch and its labels."""
        x, y = pick(self.data.train, self.args.batch_size, generator, self.device)
        return augmented(x, self.args, generator), y

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) of the network in training."""
        assert self.detector.network is not None
        logits: Tensor = self.detector.network(x)
        return logits

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step of cross-entropy."""
        x, y = self.labelled(generator)
        loss = cross_entropy(self.logits(x), y)
        self.update(loss, self.lr_at(number))
        return {"loss": float(loss.detach())}

    def lr_at(self, number: int) -> float:
        """Linear warm-up over the first twentieth, then cosine decay to zero."""
        done = number / self.args.steps
        return self.args.lr * (done / 0.05 if done < 0.05 else 0.5 * (1 + math.cos(math.pi * (done - 0.05) / 0.95)))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Accuracy on the calibration images."""
        right = sum(
            int((self.logits(x).argmax(1) == y).sum()) for x, y in batches(self.data.calibration, 256, self.device)
        )
        return {"ID accuracy": right / len(self.data.calibration)}
