"""Training of the autoencoder whose reconstruction error is the score."""

import torch

from bench.training.base import batches
from bench.training.classifier import Classifier


class Autoencoder(Classifier):
    """AdamW on the mean squared error of augmented ID images; the classifier's schedule, and no labels."""

    needs_labels = False

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on the mean squared error."""
        x, _ = self.labelled(generator)
        loss = -self.detector.score(x).mean()
        self.update(loss, self.lr_at(number))
        return {"MSE": float(loss.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean squared error of the calibration images."""
        total = sum(float(-self.detector.score(x).sum()) for x, _ in batches(self.data.calibration, 256, self.device))
        return {"calibration MSE": total / len(self.data.calibration)}
