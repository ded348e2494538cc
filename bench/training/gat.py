"""Unconstrained Generative Adversarial Training: Algorithm 3 of the GAT paper (anonymous authors, 2020)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from bench.datasets.base import ImageSet
from bench.metrics import auroc
from bench.training.augment import OutlierAugmentArgs, augmented, augmented_outliers
from bench.training.base import GradientRecipe, as_attackers_meet_it, batches, pick, required_outliers


class DiscriminatorArgs(OutlierAugmentArgs):
    """Arguments of `Discriminator`; lengths in [0, 1] pixel units (L2)."""

    step_size: float = 0.3  # gamma (lambda in the text) of an ascent step
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0


class Discriminator(GradientRecipe):
    """What Algorithms 2 and 3 have in common: one binary D, and steps of normalised ascent on it."""

    args: DiscriminatorArgs

    def prepare(self) -> None:
        """Build the optimiser and find the outliers."""
        self.use_adam(self.args.lr, self.args.weight_decay)
        self.outliers = required_outliers(self.data, "GAT")

    def inside(self, generator: torch.Generator) -> Tensor:
        """A batch of augmented ID images."""
        images, _ = pick(self.data.train, self.args.batch_size, generator, self.device)
        return augmented(images, self.args, generator)

    def ascend(self, x: Tensor, k: int) -> Tensor:
        """(N, C, H, W) after k steps of normalised steepest ascent on the logit of D, in evaluation mode."""
        with as_attackers_meet_it(self.detector):
            for _ in range(k):
                x = x.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(self.detector.score(x).sum(), x)
                length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
                x = x.detach() + self.args.step_size * gradient / length
        return x.detach()

    def told_apart(self, inside: Tensor, outside: Tensor, number: int) -> float:
        """One step of D towards log D of some images and log(1 - D) of as many others; its loss before it."""
        logits = self.detector.score(torch.cat([inside, outside]))
        loss = (softplus(-logits[: len(inside)]) + softplus(logits[len(inside) :])).mean()
        self.update(loss, self.lr_at(number))
        return float(loss.detach())

    def lr_at(self, number: int) -> float:
        """Linear warm-up over the first fiftieth, then cosine decay to zero."""
        done = number / self.total_steps
        return self.args.lr * (done / 0.02 if done < 0.02 else 0.5 * (1 + math.cos(math.pi * done)))

    def evaluate(self) -> dict[str, float]:
        """AUROC of calibration images against clean training outliers."""
        return {"AUROC": auroc(self._scores(self.data.calibration), self._scores(self.outliers.limited(500)))}

    @torch.no_grad()
    def _scores(self, images: ImageSet) -> list[float]:
        return [float(s) for x, _ in batches(images, 256, self.device) for s in self.detector.score(x)]


class GATArgs(DiscriminatorArgs):
    """Arguments of `GAT`; lengths in [0, 1] pixel units (L2)."""

    max_k: int = 20  # N of Algorithm 3: the last number of ascent steps
    iterations: int = 100  # optimiser steps for each K
    last_iterations: int = 1000  # further optimiser steps at the last K


class GAT(Discriminator):
    """One binary D told to accept ID images and to reject outliers after K steps of normalised ascent on D.

    K grows from 0; every step has L2 length `step_size`, there is no projection onto a ball or the box. As the
    logit of D rises wherever log(1 - D) falls and the step is normalised, ascent on the logit is line 4 of the
    algorithm without its underflow.

    `max_k: 0` never ascends: the paper's K = 0, which it names as its form of Outlier Exposure.

    Deviations: AdamW with warm-up and cosine decay in place of SGD with momentum 0.9; no pretrained D (K = 0 comes
    first, as in the algorithm); more iterations at the last K, which the paper has none of (on digits 61 % of the
    optimiser steps are at K = 15, on MNIST 73 %); ID images are augmented too, and as outliers are, where the paper
    augments outliers alone: resampled images on one side only could be told by the resampling.
    """

    Args = GATArgs
    args: GATArgs
    k = 0
    """The number of ascent steps of the last optimiser step."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps over all K."""
        return (self.args.max_k + 1) * self.args.iterations + self.args.last_iterations

    def k_at(self, number: int) -> int:
        """The number of ascent steps at optimiser step `number`."""
        return min(number // self.args.iterations, self.args.max_k)

    def traced(self) -> dict[str, float]:
        """AUROC against training outliers as they are, and against some of them after the ascent of the last step."""
        clean = self.evaluate()
        inside = self._scores(self.data.calibration)
        some = torch.cat([x for x, _ in batches(self.outliers.limited(128), 128, self.device)])
        moved = self.ascend(some, self.k)
        with torch.no_grad():
            outside = self.detector.score(moved).tolist()
        return {**clean, "AUROC after ascent": auroc(inside, outside)}

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """Lines 3 to 5."""
        args = self.args
        inside = self.inside(generator)
        outside, _ = pick(self.outliers, args.batch_size, generator, self.device)
        self.k = k = self.k_at(number)
        outside = self.ascend(augmented_outliers(outside, args, generator), k)
        return {"loss": self.told_apart(inside, outside, number), "K": float(k)}
