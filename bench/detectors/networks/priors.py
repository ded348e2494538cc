"""Densities of a flow's latent numbers: Gaussians that depend on a neighbour, on the class, or on both."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from bench.detectors.networks.flow_layers import bounded, total, zero_convolution
from bench.errors import InputError

LARGEST_LOG_DEVIATION = 4.0
"""Predicted standard deviations lie between e^-4 and e^4, so that an odd image has a finite density."""

SUBSPACE_DEVIATION = 0.2
"""Standard deviation of the class subspace around its unit vectors: two classes are 7 deviations apart."""


def gaussian(z: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Elementwise log N(z; mean, exp(log_deviation)^2), in nats."""
    return -0.5 * ((z - mean) * torch.exp(-log_deviation)) ** 2 - log_deviation - 0.5 * math.log(2 * math.pi)


def drawn(mean: Tensor, log_deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of these normal distributions, one each."""
    return mean + log_deviation.exp() * torch.randn(mean.shape, generator=generator).to(mean)


class NeighbourPrior(nn.Module):
    """The half of the channels that leaves a flow early, as a Gaussian given the half that stays.

    Kingma and Dhariwal (2018), the learned prior of the authors' multi-scale architecture; a standard normal at the
    start.

    Args:
        channels: Channels of each half.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = zero_convolution(channels, 2 * channels)

    def forward(self, leaving: Tensor, staying: Tensor) -> Tensor:
        """(N,) log-densities of `leaving`, in nats."""
        mean, log_deviation = self.convolution(staying).chunk(2, dim=1)
        return total(gaussian(leaving, mean, bounded(log_deviation, LARGEST_LOG_DEVIATION)))

    def draw(self, staying: Tensor, generator: torch.Generator) -> Tensor:
        """A `leaving` of this density for each `staying`, of the same shape."""
        mean, log_deviation = self.convolution(staying).chunk(2, dim=1)
        return drawn(mean, bounded(log_deviation, LARGEST_LOG_DEVIATION), generator)


class TopPrior(nn.Module):
    """What the latent numbers at the end of a flow look like in each class."""

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """(N, D) -> (N, K) log p(z | y), float64, in nats."""

    def class_logits(self, z: Tensor) -> Tensor:
        """(N, D) -> (N, K) logits that a training loss may classify by; those of Bayes' rule unless overridden."""
        logits: Tensor = self(z)
        return logits

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, D) latent numbers, of classes that are all as likely."""


class ClassGaussians(TopPrior):
    """One Gaussian with a diagonal covariance for each class; a single class makes an unconditional prior.

    Args:
        classes: K.
        dimensions: D.
    """

    def __init__(self, classes: int, dimensions: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(classes, dimensions))
        self.log_deviation = nn.Parameter(torch.zeros(classes, dimensions))

    def reset_parameters(self) -> None:
        """Standard normals."""
        nn.init.zeros_(self.mean)
        nn.init.zeros_(self.log_deviation)

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) -> (N, K) log p(z | y), float64, in nats."""
        return gaussian(z[:, None], self.mean, self.log_deviation).sum(dim=2, dtype=torch.float64)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, D) latent numbers, of classes that are all as likely."""
        y = torch.randint(len(self.mean), (count,), generator=generator).to(self.mean.device)
        return drawn(self.mean[y], self.log_deviation[y], generator)


class SubspaceGaussians(TopPrior):
    """z = (z_s, z_n): z_s, one number a class, is Gaussian around the class's unit vector, and z_n Gaussian given both.

    The split prior of "Conditional generative models are not robust" (2020), appendix A.4. The covariance of z_s is
    the constant 0.04 (the paper names none); mean and deviation of z_n come from one hidden layer over z_s and y, its
    last layer zero at the start.

    Args:
        classes: K.
        dimensions: D > K.
        hidden: Width of the hidden layer.

    Raises:
        InputError: D is too small.
    """

    def __init__(self, classes: int, dimensions: int, hidden: int = 32) -> None:
        super().__init__()
        if dimensions <= classes:
            raise InputError(
                f"the top of the flow has {dimensions} numbers for {classes} classes and needs more; use fewer levels."
            )
        self.classes = classes
        self.of_subspace = nn.Linear(classes, hidden)
        self.of_class = nn.Parameter(torch.empty(classes, hidden))
        self.output = nn.Parameter(torch.empty(hidden + 1, 2 * (dimensions - classes)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Standard normals for z_n; the raw parameters alone, since modules inside have their own."""
        nn.init.normal_(self.of_class)
        nn.init.zeros_(self.output)

    def class_logits(self, z: Tensor) -> Tensor:
        """(N, D) -> (N, K) log p(z_s | y), float64."""
        subspace = z[:, None, : self.classes]
        means = torch.eye(self.classes, dtype=z.dtype, device=z.device)
        deviation = torch.full_like(means, math.log(SUBSPACE_DEVIATION))
        return gaussian(subspace, means, deviation).sum(dim=2, dtype=torch.float64)

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) -> (N, K) log p(z | y), float64, in nats."""
        subspace, rest = z[:, : self.classes], z[:, None, self.classes :]
        hidden = silu(self.of_subspace(subspace)[:, None] + self.of_class)  # (N, K, hidden)
        mean, log_deviation = (hidden @ self.output[:-1] + self.output[-1]).chunk(2, dim=2)
        density = gaussian(rest, mean, bounded(log_deviation, LARGEST_LOG_DEVIATION))
        return self.class_logits(z) + density.sum(dim=2, dtype=torch.float64)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, D) latent numbers, of classes that are all as likely."""
        y = torch.randint(self.classes, (count,), generator=generator).to(self.of_class.device)
        means = torch.eye(self.classes, dtype=self.output.dtype, device=self.output.device)[y]
        subspace = drawn(means, torch.full_like(means, math.log(SUBSPACE_DEVIATION)), generator)
        hidden = silu(self.of_subspace(subspace) + self.of_class[y])
        mean, log_deviation = (hidden @ self.output[:-1] + self.output[-1]).chunk(2, dim=1)
        rest = drawn(mean, bounded(log_deviation, LARGEST_LOG_DEVIATION), generator)
        return torch.cat([subspace, rest], dim=1)
