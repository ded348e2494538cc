"""Adversarial training of a classifier (Madry et al. 2018), with the few steps of Wong, Rice and Kolter (2020)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.cards.threat import Norm
from bench.detectors.preprocessing import input_gradient
from bench.threat_models.geometry import project
from bench.training.base import as_attackers_meet_it
from bench.training.classifier import Classifier, ClassifierArgs


class AdversarialArgs(ClassifierArgs):
    """Arguments of `Adversarial`; eps and step_size in [0, 1] pixel units (L-infinity)."""

    eps: float = Field(default=8 / 255, ge=0)
    ascents: int = Field(default=2, ge=0)  # signed-gradient steps on the loss after a random start
    step_size: float = Field(default=5 / 255, ge=0)
    ramp: float = Field(default=0.2, ge=0, le=1)  # share of the steps over which the radius grows from 0 to eps


class Adversarial(Classifier):
    """Cross-entropy on ID images that have moved within an L-infinity ball to where it is larger.

    min E max over ||d|| <= eps of -log p(y | x + d). The maximum is sought from a uniform point of the ball by
    `ascents` steps of `step_size` along the sign of the gradient, each projected onto ball and box. The network is
    attacked in evaluation mode. Outliers are not seen; any score stands on the network afterwards.

    Madry, Makelov, Schmidt, Tsipras and Vladu (2018), "Towards deep learning models resistant to adversarial attacks",
    equation 2.1; Wong, Rice and Kolter (2020), "Fast is better than free", for few steps from a random start.

    Deviations: AdamW with warm-up and cosine decay in place of SGD; the radius and the steps grow from 0 over the
    first `ramp` of the training, since a small network does not begin to learn at the full radius; 2 steps where Madry
    et al. take 7, and 5/255 where Wong et al. take one of 10/255.
    """

    Args = AdversarialArgs
    args: AdversarialArgs

    def share_at(self, number: int) -> float:
        """The radius at optimiser step `number`, as a share of eps."""
        grown = self.args.ramp * self.args.steps
        return min(1.0, number / grown) if grown else 1.0

    def moved(self, x: Tensor, y: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) images after the ascent in a ball of share * eps, in [0, 1]."""
        eps, step_size = share * self.args.eps, share * self.args.step_size
        noise = torch.rand(x.shape, generator=generator).to(x.device)
        z = project(x + eps * (2 * noise - 1), x, Norm.LINF, eps)
        with as_attackers_meet_it(self.detector):
            for _ in range(self.args.ascents):
                rise = input_gradient(lambda images: cross_entropy(self.logits(images), y, reduction="none"), z)
                z = project(z + step_size * rise.sign(), x, Norm.LINF, eps)
        return z

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step of cross-entropy on moved images."""
        x, y = self.labelled(generator)
        loss = cross_entropy(self.logits(self.moved(x, y, self.share_at(number), generator)), y)
        self.update(loss, self.lr_at(number))
        return {"loss": float(loss.detach())}
