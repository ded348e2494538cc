"""Adversarial Confidence Enhanced Training (Hein, Andriushchenko and Bitterwolf 2019)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.cards.threat import Norm
from bench.threat_models.geometry import project
from bench.training.base import as_attackers_meet_it
from bench.training.classifier import Classifier, ClassifierArgs
from bench.training.noise import filtered_noise


class ACETArgs(ClassifierArgs):
    """Arguments of `ACET`; eps and step_size in [0, 1] pixel units (L-infinity), standard deviations in pixels."""

    weight: float = Field(default=1.0, ge=0)  # lambda
    eps: float = Field(default=0.3, ge=0)
    ascents: int = Field(default=40, ge=0)  # 0: noise as it is, which the paper calls CEDA
    step_size: float = Field(default=0.0075, ge=0)  # eps over the number of steps
    permuted: float = Field(default=0.5, ge=0, le=1)  # share of the noise that is images with permuted pixels
    least_blur: float = Field(default=1.0, gt=0)
    most_blur: float = Field(default=2.5, gt=0)


class ACET(Classifier):
    """Cross-entropy on ID images, plus lambda times the largest confidence around images of noise.

    E[-log p(y|x)] + lambda E[max over ||u - z|| <= eps of max_k log p(k|u)] (section 4), with z filtered noise
    (`bench.training.noise`) of as many images as the batch. The inner maximum is sought by signed-gradient steps in
    evaluation mode from a random point of the ball; the surest of all points that were met is taken, z among them.
    Without steps z itself is taken: the paper's CEDA. Outliers are not seen.

    Deviations: AdamW with warm-up and cosine decay in place of SGD with momentum; rotations, shifts and zooms where
    the paper crops. How the search starts and which of its points is taken is as in the authors' code.
    """

    Args = ACETArgs
    args: ACETArgs

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on as many images of noise as ID images."""
        args = self.args
        x, y = self.labelled(generator)
        noise = filtered_noise(x, generator, permuted=args.permuted, sigmas=(args.least_blur, args.most_blur))
        logits = self.logits(torch.cat([x, self.surest(noise, generator)]))
        classification, confidence = cross_entropy(logits[: len(x)], y), log_confidence(logits[len(x) :]).mean()
        self.update(classification + args.weight * confidence, self.lr_at(number))
        return {"classification": float(classification.detach()), "log confidence": float(confidence.detach())}

    def surest(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) of the ball around each image, the point of largest confidence that the search meets."""
        if self.args.ascents == 0:
            return x
        eps = self.args.eps
        lengths = torch.rand((len(x), 1, 1, 1), generator=generator).to(x)
        z = project(x + eps * lengths * (2 * torch.rand(x.shape, generator=generator).to(x) - 1), x, Norm.LINF, eps)
        with as_attackers_meet_it(self.detector):
            best, most = x, self._confidence(x)
            for _ in range(self.args.ascents):
                leaf = z.detach().requires_grad_(True)
                confidence = log_confidence(self.logits(leaf))
                (rise,) = torch.autograd.grad(confidence.sum(), leaf)
                best, most = _surer(best, most, z, confidence.detach())
                z = project(z + self.args.step_size * rise.sign(), x, Norm.LINF, eps)
            return _surer(best, most, z, self._confidence(z))[0]

    @torch.no_grad()
    def _confidence(self, x: Tensor) -> Tensor:
        return log_confidence(self.logits(x))


def log_confidence(logits: Tensor) -> Tensor:
    """(N, K) -> (N,) log of the largest softmax probability."""
    return torch.log_softmax(logits, dim=1).amax(dim=1)


def _surer(best: Tensor, most: Tensor, z: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Of two points for each image the one of larger confidence, and that confidence."""
    better = confidence > most
    return torch.where(better[:, None, None, None], z, best), torch.where(better, confidence, most)
