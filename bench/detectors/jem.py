"""Joint energy-based model: a classifier whose logits are also a density of images."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.logit import needed_network
from bench.detectors.msp import log_odds, log_odds_of_each
from bench.detectors.networks.base import FromPixels
from bench.detectors.preprocessing import input_gradient


class JEMParams(DetectorParams):
    """Parameters of JEM: which of the paper's three `score`s is taken."""

    score: Literal["log-density", "msp", "gradient-norm"] = "log-density"


class JEM(Detector):
    """The scores of a classifier that was trained as an energy-based model.

    Grathwohl, Wang, Jacobsen, Duvenaud, Norouzi and Swersky (2020), "Your classifier is secretly an energy based model
    and you should treat it like one", section 5.3: `log-density` is log p(x) up to its constant, the logsumexp of the
    logits (equation 7 with the sign turned); `msp` is max_y p(y | x); `gradient-norm` is the approximate mass
    -||d log p(x) / dx||, near zero where an image lies on a plateau of typical ones. How the network is trained is
    the recipe's.

    Deviation: `msp` is given as log-odds, which rank images as the probability does without its saturation (see
    `MSP`). Its objective, like that of the others, is the score itself.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("classifier",), matched="logits")
    params: JEMParams

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,): in the reals; at most 0 for `gradient-norm`, in 1 over pixel units."""
        assert isinstance(self.params, JEMParams)
        if self.params.score == "gradient-norm":
            return -gradient_norm(self.log_density, x)
        if self.params.score == "msp":
            return log_odds(needed_network(self)(x))
        return self.log_density(x)

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) log p(x, y) up to the constant, or the log-odds of each class; None for `gradient-norm`."""
        assert isinstance(self.params, JEMParams)
        if self.params.score == "gradient-norm":
            return None
        logits = needed_network(self)(x)
        return log_odds_of_each(logits) if self.params.score == "msp" else logits

    def log_density(self, x: Tensor) -> Tensor:
        """(N,) log p(x) up to the normalising constant, which nobody knows."""
        return log_density(needed_network(self), x)


def log_density(network: FromPixels, x: Tensor) -> Tensor:
    """(N,) logsumexp of the logits: minus the energy of the images."""
    return torch.logsumexp(network(x), dim=1)


def gradient_norm(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(N,) L2 norm of the gradient of a per-image score at x.

    Differentiable in x, by a pass through the pass, where x requires a gradient; right under `no_grad` and
    `inference_mode` too. Where the gradient is zero the norm has a corner, and its own gradient is given as zero.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    else:
        gradient = input_gradient(score, x)
    norm: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norm
