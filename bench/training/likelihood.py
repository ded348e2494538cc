"""What recipes that train a likelihood share: equation 6 of the paper on conditional generative models."""

import math
from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from bench.detectors.base import Progress, silent
from bench.training.augment import flip
from bench.training.base import GradientRecipe, RecipeArgs, batches, pick

MEANWHILE, AT_THE_END = 40, 1000
"""At most this many calibration images give the figures that are told while training runs, and after it."""


class LikelihoodArgs(RecipeArgs):
    """Arguments of a `Likelihood`; the loss is in nats per dimension of the image."""

    steps: int = Field(default=1000, ge=1)
    batch_size: int = 32
    lr: float = 3e-3
    clip: float = 1.0  # largest norm of the loss's gradient
    classification: float = Field(default=0.0, ge=0)  # weight of -log p(y | x)
    shift: int = Field(default=2, ge=0)  # largest shift in pixels, the edge's pixels repeated
    mirror: bool = False


class Likelihood(GradientRecipe):
    """Minimises -log p(x | y) / D - weight * log p(y | x) over shifted images, with clipped gradients."""

    args: LikelihoodArgs
    needs_labels = True

    @property
    def total_steps(self) -> int:
        """Optimiser steps."""
        return self.args.steps

    def prepare(self) -> None:
        """Build the optimiser."""
        self.use_adam(self.args.lr)
        self.evaluated = self.data.calibration.limited(MEANWHILE)

    @abstractmethod
    def losses_of(self, x: Tensor, labels: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """-log p(x | y) / D in nats per dimension, and -log p(y | x) in nats, averaged over the batch of a step."""

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on the objective."""
        x, labels = pick(self.data.train, self.args.batch_size, generator, self.device)
        x = shifted(x, self.args.shift, generator)
        x = flip(x, generator) if self.args.mirror else x
        density, classification = self.losses_of(x, labels, number, generator)
        self.update(density + self.args.classification * classification, self.lr_at(number))
        return {"bits/dim": density.item() / math.log(2)}

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
        bits, right, count, classifies = 0.0, 0, 0, False
        for x, labels in batches(self.evaluated, 100, self.device):
            density, logits = self.detector.bits_per_dim(x), self.detector.logits(x)
            assert density is not None
            bits += float(density.sum())
            classifies = logits is not None
            right += 0 if logits is None else int((logits.argmax(1) == labels).sum())
            count += len(x)
        figures = {"held-out bits/dim": bits / count}
        return {**figures, "ID accuracy": right / count} if classifies else figures


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
