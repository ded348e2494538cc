"""Maximum-likelihood training of a Glow, with a weight on classification."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.detectors.glow import Glow as GlowDetector
from bench.errors import CardError
from bench.training.likelihood import Likelihood, LikelihoodArgs


class GlowArgs(LikelihoodArgs):
    """Arguments of `Glow`; with a `classification` of 0 it is the paper's `base`, of 1 `reweight` and `split`."""


class Glow(Likelihood):
    """Minimises -log p(x | y) / D - weight * log p(y | x) over uniformly dequantised images.

    "Conditional generative models are not robust" (2020), equation 6 and appendix B; weight 0 is the paper's `base`. A
    `split` prior is classified by its subspace alone (appendix A.4), here as in the detector. Without classes,
    -log p(x) / D.

    Deviations: far fewer steps than 150 epochs, on batches of 32 (the paper names none); AdamW from 3e-3 with warm-up
    and cosine decay in place of Adam from 1e-3, divided by 10 every 60 epochs; clipped gradients; shifts of up to two
    pixels where the paper crops out of a padding of 4 (both repeat the edge).
    """

    Args = GlowArgs
    args: GlowArgs
    detector: GlowDetector

    def prepare(self) -> None:
        """Build the optimiser.

        Raises:
            CardError: The detector is no Glow, or it has no classes and is to classify.
        """
        if not isinstance(self.detector, GlowDetector):
            raise CardError(f"recipe Glow trains a Glow, and the method makes a {type(self.detector).__name__}.")
        if self.args.classification and not self.detector.conditional:
            raise CardError("`classification` is above 0 and the Glow has `prior: none`; set it to 0.")
        super().prepare()

    def losses_of(self, x: Tensor, labels: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Both losses of a dequantised batch; the first batch sets the actnorms before."""
        draws = self.draws(len(x), generator)
        if number == 0:
            self.detector.flow.initialise(self.detector.flow_input(x, draws))
        return self.losses(x, labels, draws)

    def losses(self, x: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x | y) / D in nats per dimension, and -log p(y | x) in nats, averaged over the batch."""
        detector = self.detector
        latents, rest = detector.flow(detector.flow_input(x, draws))
        top = latents[-1].flatten(1)
        conditional = rest[:, None] + detector.prior(top) + detector.log_volume
        if not detector.conditional:
            return -conditional.mean() / detector.dimensions, conditional.new_zeros(())
        density = -conditional.gather(1, labels[:, None]).mean() / detector.dimensions
        return density, cross_entropy(detector.prior.class_logits(top), labels)

    def draws(self, count: int, generator: torch.Generator) -> Tensor:
        """Places in the bins and noise channels for `count` images, uniform in [0, 1)."""
        channels, height, width = self.detector.shape
        shape = (count, channels + self.detector.noise_channels, height, width)
        return torch.rand(shape, generator=generator).to(self.device)
