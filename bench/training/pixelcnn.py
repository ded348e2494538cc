"""Maximum-likelihood training of a class-conditional PixelCNN++, with a weight on classification."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.detectors import pixelcnn
from bench.training.likelihood import Likelihood, LikelihoodArgs


class PixelCNNArgs(LikelihoodArgs):
    """Arguments of `PixelCNN`; `classification` is alpha of appendix E, 0 or 1,000 there."""

    steps: int = Field(default=2000, ge=1)
    batch_size: int = 16
    lr: float = 2e-3


class PixelCNN(Likelihood):
    """Minimises -log p(x | y) / D - alpha * log p(y | x).

    "Conditional generative models are not robust" (2020), appendix E.

    Deviations: far fewer steps; AdamW with warm-up and cosine decay, clipped gradients, and shifts of up to two pixels,
    where the paper names nothing.
    """

    Args = PixelCNNArgs
    trains = pixelcnn.PixelCNN
    args: PixelCNNArgs
    detector: pixelcnn.PixelCNN

    def losses_of(self, x: Tensor, labels: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Both losses of a batch; nothing is drawn."""
        conditional = self.detector.class_log_likelihoods(x)
        density = -conditional.gather(1, labels[:, None]).mean() / self.detector.dimensions
        return density, cross_entropy(conditional, labels)
