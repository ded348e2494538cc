"""Guaranteed out-of-distribution detection (Bitterwolf, Meinke and Hein 2020)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.cards.threat import Norm
from bench.detectors.intervals import ball, can_be_bounded, pairwise_bounds
from bench.detectors.logit import needed_network
from bench.errors import CardError
from bench.training.augment import OutlierAugmentArgs, augmented_outliers
from bench.training.base import pick, required_outliers
from bench.training.classifier import Classifier, ClassifierArgs


class GOODArgs(OutlierAugmentArgs, ClassifierArgs):
    """Arguments of `GOOD`; eps in [0, 1] pixel units (L-infinity)."""

    weight: float = Field(default=0.3, ge=0)  # kappa; 1 in the paper on colour images
    eps: float = Field(default=8 / 255, ge=0)
    quantile: float = Field(default=1.0, ge=0, le=1)  # q: share of the outliers, those with the lowest bounds, in balls
    weight_ramp: float = Field(default=0.25, ge=0, le=1)  # share of the steps over which kappa grows from 0
    eps_ramp: float = Field(default=0.3, ge=0, le=1)  # the same of eps


class GOOD(Classifier):
    """Cross-entropy on ID images, plus kappa times a bound on the confidence in balls around outliers.

    The bound is of L = log(1 + u^2 / 2), where u is the largest of the upper bounds of z_k - z_l over the L-infinity
    ball, from interval bound propagation with the last layer bounded for each difference (section 3).
    Of a batch the share `quantile` with the lowest u is taken in the ball, and of the others, whose guarantee would
    cost too much, the largest difference at the outlier itself: the paper's quantile GOOD. Kappa and eps grow from 0.

    Deviations: AdamW with warm-up and cosine decay in place of SGD or Adam with steps; ID images and outliers augmented
    alike; kappa and eps grow over a quarter and three tenths of the training, as on MNIST in the authors' code (100 and
    130 of 420 epochs, after 2 and 10); the ball is cut by the box.
    """

    Args = GOODArgs
    args: GOODArgs

    def prepare(self) -> None:
        """Build the optimiser and find the outliers.

        Raises:
            CardError: The network has layers that cannot be bounded.
        """
        super().prepare()
        if not can_be_bounded(self.detector.network):
            raise CardError(
                "the recipe GOOD bounds networks of bench.detectors.networks.small:SmallConvNet without crop or "
                "resize; give the card such a `network`."
            )
        self.outliers = required_outliers(self.data, "GOOD")

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on as many outliers as ID images."""
        x, y = self.labelled(generator)
        outliers, _ = pick(self.outliers, self.args.batch_size, generator, self.device)
        outliers = augmented_outliers(outliers, self.args, generator)
        classification = cross_entropy(self.logits(x), y)
        eps = self.args.eps * self.grown(number, self.args.eps_ramp)
        differences = self.largest_differences(outliers, eps)
        exposure = (0.5 * differences.square()).log1p().mean()
        weight = self.args.weight * self.grown(number, self.args.weight_ramp)
        self.update(classification + weight * exposure, self.lr_at(number))
        return {"classification": float(classification.detach()), "bound": float(differences.detach().mean())}

    def largest_differences(self, outliers: Tensor, eps: float) -> Tensor:
        """(N,) by outlier, the largest difference of two logits: in the ball for some, at the outlier for others."""
        in_ball = pairwise_bounds(needed_network(self.detector), ball(outliers, Norm.LINF, eps)).amax(dim=(1, 2))
        guaranteed = int(self.args.quantile * len(outliers))
        if guaranteed == len(outliers):
            return in_ball
        logits = self.logits(outliers)
        order = in_ball.detach().argsort()
        taken = torch.zeros(len(outliers), dtype=torch.bool, device=order.device)
        taken[order[:guaranteed]] = True
        return torch.where(taken, in_ball, logits.amax(dim=1) - logits.amin(dim=1))

    def grown(self, number: int, ramp: float) -> float:
        """How much of its size kappa or eps has at an optimiser step, if it grows over this share of the steps."""
        return min(1.0, number / (ramp * self.args.steps)) if ramp else 1.0
