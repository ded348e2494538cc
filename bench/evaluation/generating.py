"""New images from a detector: samples of its own, Langevin chains on its density, or ascent on its score."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.detectors.jem import JEM
from bench.detectors.preprocessing import input_gradient
from bench.errors import UsageError
from bench.threat_models.geometry import direction, project
from bench.training.sgld import langevin

LANGEVIN_NOISE = 0.005
"""Standard deviation of a chain's noise, in pixel units: that of training (0.01 for images in [-1, 1])."""


@runtime_checkable
class Sampler(Protocol):
    """A detector whose model of images can be sampled from."""

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) images in [0, 1]."""


def ascended(detector: Detector, x: Tensor, *, steps: int, step_size: float, radius: float | None = None) -> Tensor:
    """Images after steepest ascent on a detector's score, in steps of one L2 length, kept in [0, 1].

    With a discriminator of generative adversarial training, which has no maxima elsewhere, this makes images of the
    in-distribution out of any others ("Analyzing and improving generative adversarial training", 2020, section 3.3).

    Args:
        detector: Its `objective` is ascended, which has the order of the score.
        x: (N, C, H, W) images in [0, 1] to begin with.
        steps: How many.
        step_size: Length of a step, in pixel units.
        radius: How far an image may go; None for anywhere.
    """
    within = radius if radius is not None else x[0].numel() ** 0.5
    z = x
    for _ in range(steps):
        z = project(z + step_size * direction(input_gradient(detector.objective, z), Norm.L2), x, Norm.L2, within)
    return z


def sampled(detector: Detector, count: int, generator: torch.Generator) -> Tensor:
    """(count, C, H, W) samples of a detector's own model of images.

    Raises:
        UsageError: It has none.
    """
    if not isinstance(detector, Sampler):
        raise UsageError(f"{detector.title} has no samples of its own; use --how ascent, or --how langevin with jem.")
    return detector.sample(count, generator)


def chained(detector: Detector, count: int, generator: torch.Generator, *, steps: int, step_size: float) -> Tensor:
    """(count, C, H, W) ends of Langevin chains on a JEM's log p(x), from uniform noise.

    Args:
        detector: A JEM; its training moved by 0.25 a step.
        count: How many.
        generator: The only source of randomness.
        steps: Of each chain.
        step_size: In squared pixel units.

    Raises:
        UsageError: It is no JEM.
    """
    if not isinstance(detector, JEM):
        raise UsageError(f"{detector.title} is no energy-based model; --how langevin is for jem, use --how ascent.")
    start = torch.rand((count, *detector.shape), generator=generator).to(next(detector.parameters()))
    return langevin(detector.log_density, start, generator, steps=steps, step_size=step_size, noise=LANGEVIN_NOISE)
