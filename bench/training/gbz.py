"""Training of the generative classifier GBZ (Li, Bradshaw and Sharma 2019)."""

import torch
from torch import Tensor

from bench.detectors import gbz
from bench.training.base import batches
from bench.training.classifier import Classifier, ClassifierArgs

EVALUATED = 500
"""Calibration images that are classified: every class is decoded several times for each."""


class GBZArgs(ClassifierArgs):
    """Arguments of `GBZ`."""

    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.0
    beta: float = 1.0  # of log p(z) - log q(z | x, y)


class GBZ(Classifier):
    """Encoder, decoder and class likelihoods by the variational bound of log p(x, y), with one sample of z an image.

    E_q[log p(x | z) + log p(y | z) + beta (log p(z) - log q(z | x, y))], as in the authors' code, where beta is 1.

    Deviations: AdamW with warm-up and cosine decay in place of Adam at 1e-4; affine augmentation where the authors have
    none (0 amounts switch it off); far fewer than 100 epochs.
    """

    Args = GBZArgs
    trains = gbz.GBZ
    args: GBZArgs
    detector: gbz.GBZ

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) log p(x, y)."""
        return self.detector.logits(x)

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on the bound."""
        x, y = self.labelled(generator)
        draws = torch.randn((len(x), 1, self.detector.params.latent), generator=generator).to(x)
        parts = self.detector.log_parts(x, self.detector.encoded(x), y, draws)
        bound = parts.pixels + parts.label + self.args.beta * parts.prior_ratio
        loss = -bound.mean()
        self.update(loss, self.lr_at(number))
        told = {"loss": loss, "error": -parts.pixels.mean(), "classification": -parts.label.mean()}
        return {name: float(value.detach()) for name, value in told.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Accuracy on some calibration images."""
        images = self.data.calibration.limited(EVALUATED)
        right = [self.logits(x).argmax(dim=1) == y for x, y in batches(images, 100, self.device)]
        return {"ID accuracy": float(torch.cat(right).double().mean())}
