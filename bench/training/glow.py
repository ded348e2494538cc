"""Maximum-likelihood training of a Glow, with a weight on classification."""

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from bench.detectors.base import Progress, silent
from bench.detectors.glow import Glow as GlowDetector
from bench.errors import CardError
from bench.training.augment import flip
from bench.training.base import GradientRecipe, RecipeArgs, batches, pick

MEANWHILE, AT_THE_END = 40, 1000
"""At most this many calibration images give the figures that are told while training runs, and after it."""


class GlowArgs(RecipeArgs):
    """Arguments of `Glow`; the loss is in nats per dimension of the image."""

    steps: int = Field(default=1000, ge=1)
    batch_size: int = 32
    lr: float = 3e-3
    clip: float = 1.0  # largest norm of the loss's gradient
    classification: float = Field(default=0.0, ge=0)  # weight of -log p(y | x): 0 is `base`, 1 `reweight` and `split`
    shift: int = Field(default=2, ge=0)  # largest shift in pixels, the edge's pixels repeated
    mirror: bool = False


class Glow(GradientRecipe):
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
    needs_labels = True

    @property
    def total_steps(self) -> int:
        """Optimiser steps."""
        return self.args.steps

    def prepare(self) -> None:
        """Build the optimiser.

        Raises:
            CardError: The detector is no Glow, or it has no classes and is to classify.
        """
        if not isinstance(self.detector, GlowDetector):
            raise CardError(f"recipe Glow trains a Glow, and the method makes a {type(self.detector).__name__}.")
        if self.args.classification and not self.detector.conditional:
            raise CardError("`classification` is above 0 and the Glow has `prior: none`; set it to 0.")
        self.use_adam(self.args.lr)
        self.evaluated = self.data.calibration.limited(MEANWHILE)

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step of equation 6; the first batch sets the actnorms before."""
        x, labels = pick(self.data.train, self.args.batch_size, generator, self.device)
        x = shifted(x, self.args.shift, generator)
        x = flip(x, generator) if self.args.mirror else x
        draws = self.draws(len(x), generator)
        if number == 0:
            self.detector.flow.initialise(self.detector.flow_input(x, draws))
        density, classification = self.losses(x, labels, draws)
        self.update(density + self.args.classification * classification, self.lr_at(number))
        return {"bits/dim": density.item() / math.log(2)}

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

    def update(self, loss: Tensor, lr: float) -> None:
        """One optimiser step with the gradient clipped."""
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), self.args.clip)
        self.optimizer.step()

    def lr_at(self, number: int) -> float:
        """Warm-up over the first fiftieth, then cosine decay to zero."""
        warm = max(1.0, self.args.steps / 50)
        return self.args.lr * min((number + 1) / warm, 0.5 * (1 + math.cos(math.pi * number / self.args.steps)))

    def finish(self, progress: Progress = silent) -> None:
        """Nothing is estimated; from here on figures are taken from more images."""
        self.evaluated = self.data.calibration.limited(AT_THE_END)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Bits per dimension, and accuracy where there are classes, on calibration images."""
        bits, right, count = 0.0, 0, 0
        for x, labels in batches(self.evaluated, 100, self.device):
            bits += float(self.detector.bits_per_dim(x).sum())
            logits = self.detector.logits(x)
            right += 0 if logits is None else int((logits.argmax(1) == labels).sum())
            count += len(x)
        figures = {"held-out bits/dim": bits / count}
        return {**figures, "ID accuracy": right / count} if self.detector.conditional else figures


def shifted(x: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Every image moved by its own whole number of pixels, at most `largest` in each direction.

    Grey levels stay what they are, as a density of 8-bit images needs; the edge's pixels are repeated.

    Args:
        x: (N, C, H, W).
        largest: In pixels; 0 moves nothing.
        generator: The only source of randomness.
    """
    height, width = x.shape[-2:]
    offsets = torch.randint(2 * largest + 1, (2, len(x)), generator=generator).to(x.device)
    rows = (offsets[0][:, None] + torch.arange(height, device=x.device))[:, :, None]
    columns = (offsets[1][:, None] + torch.arange(width, device=x.device))[:, None, :]
    padded = pad(x, (largest,) * 4, mode="replicate").movedim(1, -1)
    return padded[torch.arange(len(x), device=x.device)[:, None, None], rows, columns].movedim(-1, 1).contiguous()
