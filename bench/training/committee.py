"""Constrained Generative Adversarial Training of one detector a class: Algorithm 1 of the GAT paper (2020)."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from bench.cards.threat import Norm
from bench.datasets.base import ImageSet
from bench.detectors.committee import GATCommittee
from bench.errors import DataError, UsageError
from bench.metrics import auroc
from bench.threat_models.geometry import direction, project
from bench.training.augment import OutlierAugmentArgs, augmented, augmented_outliers
from bench.training.base import GradientRecipe, as_attackers_meet_it, batches, pick, required_outliers


class CommitteeGATArgs(OutlierAugmentArgs):
    """Arguments of `CommitteeGAT`; lengths in [0, 1] pixel units (L2)."""

    steps: int = 1000
    batch_size: int = 32  # m of Algorithm 1, for each member
    eps: float = 2.0  # radius of the ball
    growth: float = 0.5  # share of the steps over which the radius grows from 0 to eps
    ascent_steps: int = 8  # of equation 3
    step_size: float = 0.5  # gamma of equation 3 at the full radius; it grows with the radius
    outliers: float = 0.5  # share of training outliers among the attacked images; the others are of other classes
    lr: float = 2e-3
    weight_decay: float = 0.0


class CommitteeGAT(GradientRecipe):
    """Every D_k is told to accept images of class k and to reject others after an attack on D_k within an L2 ball.

    Equations 2 and 3 and Algorithm 1: m images of class k, and m images of other classes (each class as often as any
    other) that projected gradient ascent moves towards the largest D_k, from the image itself, by normalised steps,
    and back into ball and box after each. As the logit of D_k rises where D_k does and steps are normalised, ascent
    on the logit is equation 3 without its underflow. All members take each step together, on batches of their own.

    Deviations: a share of the attacked images are training outliers, as in the paper's OOD experiments; the radius
    grows from 0 over the first steps, in place of a pretrained D, and the length of a step with it; the last iterate is
    used, without restarts, which the paper names as part of PGD; AdamW with warm-up and cosine decay in place of SGD.
    ID images and outliers are augmented alike.
    """

    Args = CommitteeGATArgs
    args: CommitteeGATArgs
    needs_labels = True

    @property
    def total_steps(self) -> int:
        """Optimiser steps; each is one of every member."""
        return self.args.steps

    def trained(self) -> nn.Module:
        """The members alone: the classifier is another file's."""
        return self._committee().members

    def prepare(self) -> None:
        """Build the optimiser, sort the images by class and find the outliers."""
        self.use_adam(self.args.lr, self.args.weight_decay)
        self.members = list(self._committee().members)
        self.inside = ImagesByClass(self.data.train, len(self.members), self.device)
        self.outliers = required_outliers(self.data, "the committee's training")

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """Lines 1 to 3 of Algorithm 1, for all members."""
        accepted, attacked = self.sample(generator)
        eps = self.eps_at(number)
        attacked = self.ascend(attacked, eps)
        stacked = self._stacked()
        loss = softplus(-self.logits(stacked, accepted)).mean(dim=1) + softplus(self.logits(stacked, attacked)).mean(1)
        self.update(loss.sum(), self._lr_at(number))
        return {"loss": float(loss.detach().mean()), "eps": eps}

    def eps_at(self, number: int) -> float:
        """The radius at an optimiser step."""
        return self.args.eps * min(1.0, number / max(1.0, self.args.growth * self.args.steps))

    def sample(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Line 1: two (K, m, C, H, W), images of each member's class, and images of other classes with outliers."""
        count, size = len(self.members), self.args.batch_size
        own = torch.arange(count)[:, None]
        from_outside = round(self.args.outliers * size) if count > 1 else size
        another = torch.randint(1, max(2, count), (count, size - from_outside), generator=generator)
        classes = torch.cat([own.expand(-1, size), (own + another) % count], dim=1)
        inside = augmented(self.inside.pick(classes.flatten(), generator), self.args, generator)
        inside = inside.view(*classes.shape, *inside.shape[1:])
        outside, _ = pick(self.outliers, count * from_outside, generator, self.device)
        if len(outside):
            outside = augmented_outliers(outside, self.args, generator)
        outside = outside.view(count, from_outside, *outside.shape[1:])
        return inside[:, :size], torch.cat([inside[:, size:], outside], dim=1)

    def ascend(self, x: Tensor, eps: float) -> Tensor:
        """Line 2: (K, m, C, H, W) images after projected ascent on the logits of their members, in evaluation mode."""
        with torch.no_grad():
            stacked = self._stacked()
        start, step_size = x.flatten(0, 1), self.args.step_size * eps / self.args.eps
        moved = start
        with as_attackers_meet_it(self.detector):
            for _ in range(self.args.ascent_steps if eps > 0 else 0):
                leaf = moved.requires_grad_(True)
                (gradient,) = torch.autograd.grad(self.logits(stacked, leaf.view_as(x)).sum(), leaf)
                with torch.no_grad():
                    moved = project(leaf + step_size * direction(gradient, Norm.L2), start, Norm.L2, eps)
        return moved.detach().view_as(x)

    def logits(self, stacked: dict[str, Tensor], x: Tensor) -> Tensor:
        """(K, m, C, H, W) -> (K, m): every member on images of its own, in one pass."""
        first = self.members[0]
        outputs = torch.vmap(lambda weights, images: functional_call(first, weights, (images,)))(stacked, x)
        return cast(Tensor, outputs)[..., 0]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """AUROC of calibration images against clean training outliers."""
        inside, outside = (self._scores(s.limited(500)) for s in (self.data.calibration, self.outliers))
        return {"AUROC": auroc(inside, outside)}

    def _scores(self, images: ImageSet) -> list[float]:
        return [float(s) for x, _ in batches(images, 256, self.device) for s in self.detector.score(x)]

    def _committee(self) -> GATCommittee:
        if not isinstance(self.detector, GATCommittee):
            raise UsageError(
                f"this recipe trains a committee and the detector is a {type(self.detector).__name__}; "
                "use bench.detectors.committee:GATCommittee."
            )
        return self.detector

    def _stacked(self) -> dict[str, Tensor]:
        """Every weight of all members as one tensor, through which gradients reach each of them."""
        names = [name for name, _ in self.members[0].named_parameters()]
        return {name: torch.stack([member.get_parameter(name) for member in self.members]) for name in names}

    def _lr_at(self, number: int) -> float:
        done = number / self.args.steps
        return self.args.lr * (done / 0.05 if done < 0.05 else 0.5 * (1 + math.cos(math.pi * done)))


class ImagesByClass:
    """Draws images of given classes, with replacement.

    Raises:
        DataError: A class has no image.
    """

    def __init__(self, images: ImageSet, classes: int, device: torch.device) -> None:
        self.images = images.images
        self.device = device
        self.order = images.labels.argsort(stable=True)
        self.counts = torch.bincount(images.labels, minlength=classes)
        if bool((self.counts == 0).any()):
            missing = torch.nonzero(self.counts == 0).flatten().tolist()
            raise DataError(f"no training image has label {missing}; every class needs at least one image.")
        self.starts = self.counts.cumsum(0) - self.counts

    def pick(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """(N,) int64 classes -> (N, C, H, W) images in [0, 1]."""
        within = (torch.rand(len(classes), generator=generator, dtype=torch.float64) * self.counts[classes]).long()
        return self.images[self.order[self.starts[classes] + within]].to(self.device).float() / 255.0
