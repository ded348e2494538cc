"""Likelihoods of a Glow: unconditional, or with one prior a class, bare or corrected for an image's complexity."""

import io
import math
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.flow import Flow, class_log_densities
from bench.detectors.networks.priors import ClassGaussians, SubspaceGaussians, TopPrior
from bench.errors import InputError

LEVELS = 256
"""Grey levels of an 8-bit image."""

NOISE_RANGE = 2 / LEVELS
"""Width of the noise channels, in the flow's units."""

BOUND_DRAWS = 4
"""Draws of dequantisation noise that bits per dimension are averaged over."""


class GlowParams(DetectorParams):
    """Parameters of the flow and of its score.

    Attributes:
        score: `likelihood` is log p(x); `complexity` adds the length of the image's PNG file to it.
        prior: `classes` has one Gaussian a class, `split` a subspace for the classes, `none` knows no classes.
        noise_channels: As many channels of uniform noise as the image has are appended to it.
        blocks: Blocks in each level of the flow.
        hidden: Width of the coupling networks in each level.
    """

    score: Literal["likelihood", "complexity"] = "likelihood"
    prior: Literal["classes", "split", "none"] = "classes"
    noise_channels: bool = True
    blocks: tuple[int, ...] = Field(default=(2, 3, 4, 4), min_length=1)
    hidden: tuple[int, ...] = Field(default=(16, 24, 40, 64), min_length=1)


class Glow(Detector):
    """log2 p(x) per pixel and channel under a conditional Glow, p(x) = sum_y p(x | y) / K.

    Kingma and Dhariwal (2018), "Glow: generative flow with invertible 1x1 convolutions", with the class-conditional
    priors and noise channels of "Conditional generative models are not robust" (2020), section 4.1 and appendix A.
    Which objective it is trained by (`base`, `reweight`, `split`) is the recipe's.

    Classes are told by Bayes' rule from p(x | y), and with a split prior by the subspace alone: appendix A.4 makes z_s
    "the logits" and treats it as those of a discriminative model, so p(z_n | z_s, y) enters the likelihood and not the
    decision. The score is log p(x) under all of it.

    A pixel x in [0, 1] enters the flow at (255 x + u) / 256 - 0.5: the 8-bit level's bin is [0, 1) in u, training
    draws u from it, and the score takes its centre, u = 0.5. Noise channels hold w / 128 with w uniform in [-0.5, 0.5]
    in training and w = 0 in the score. So the score is deterministic and a function of x alone, but it is a density
    times a bin's volume: where the density is peaked within a bin it is above the probability. `bits_per_dim`
    averages over u and w and is the figure that papers report.

    `score: complexity` is log2 p(x) / D + L(x), with L the bits per dimension of a PNG file (Pillow, lossless,
    optimised, whole file) of the image rounded to 8 bits: Serra et al. (2020), "Input complexity and
    out-of-distribution detection with likelihood-based generative models", their score S with the sign turned. L is
    constant between roundings, so that the gradient says nothing of it: attacks need queries as well.

    That OOD images can have the higher likelihood is a property of such models, not of this code (Nalisnick et al.,
    2019).

    Deviations: the number of levels and widths is the card's, sized for two cores (4 levels of 2 to 4 blocks and 16 to
    64 channels, where the paper has 12 blocks of 128 on MNIST and 16 of 256 on CIFAR-10); D counts the image's own
    pixels; the subspace's covariance is 0.04, since the paper names none.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        classifier=False,
        components=("likelihood",),
        roundings="the likelihood sums the squares of all latent numbers, each behind every layer of the flow",
    )
    params: GlowParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, GlowParams)
        channels, height, width = shape
        self.conditional = params.prior != "none"
        self.with_complexity = params.score == "complexity"
        self.noise_channels = channels if params.noise_channels else 0
        self.flow = Flow((channels + self.noise_channels, height, width), params.blocks, params.hidden)
        self.prior = self._make_prior(params, math.prod(self.flow.top_shape))
        self.dimensions = math.prod(shape)
        self.log_volume = self.dimensions * (-math.log(LEVELS) + self.noise_channels / channels * math.log(NOISE_RANGE))
        self.info = _info_of(self.conditional, self.with_complexity)  # type: ignore[misc]

    def _make_prior(self, params: GlowParams, dimensions: int) -> TopPrior:
        if params.prior == "split":
            return SubspaceGaussians(self.classes, dimensions)
        return ClassGaussians(self.classes if self.conditional else 1, dimensions)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) bits per dimension, mostly negative; nothing is random."""
        bits = self.log_likelihood(x) / (self.dimensions * math.log(2))
        if self.with_complexity:
            bits = bits + png_bits(x) / self.dimensions
        return bits.to(x.dtype)

    def logits(self, x: Tensor) -> Tensor | None:
        """(N, K) what a class is told by, in nats, at bin centres; None without classes.

        log p(x | y), by Bayes' rule; with a split prior log p(z_s | y), whose largest entry is that of z_s itself.
        """
        if not self.conditional:
            return None
        if not isinstance(self.prior, SubspaceGaussians):
            return self.class_log_likelihoods(x).to(x.dtype)
        latents, _ = self.flow(self.flow_input(x))
        return self.prior.class_logits(latents[-1].flatten(1)).to(x.dtype)

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) of the latent numbers: "penultimate" the top ones, "all" those of every level.

        Raises:
            InputError: There are no such features.
        """
        if at == "score":
            return self.score(x)[:, None]
        if at == "logits" and (logits := self.logits(x)) is not None:
            return logits
        if at not in ("penultimate", "all"):
            raise InputError(f"{type(self).__name__} has no features at '{at}'; choose score, penultimate or all.")
        latents, _ = self.flow(self.flow_input(x))
        return torch.cat([z.flatten(1) for z in (latents if at == "all" else latents[-1:])], dim=1)

    def bits_per_dim(self, x: Tensor) -> Tensor:
        """(N,) bound on the bits per pixel and channel that an ideal code needs for the 8-bit image.

        The mean of -log2 p over fixed draws of dequantisation noise, the same for every image; in expectation it is
        not below the exact figure (Theis, van den Oord and Bethge, 2016, equation 8).
        """
        generator = torch.Generator().manual_seed(0)
        channels, height, width = self.shape
        mean = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for _ in range(BOUND_DRAWS):
            draw = torch.rand(1, channels + self.noise_channels, height, width, generator=generator).to(x)
            mean = mean + self.log_likelihood(x, draw.expand(len(x), -1, -1, -1)) / BOUND_DRAWS
        return (-mean / (self.dimensions * math.log(2))).to(x.dtype)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) images of p(x), of classes that are all as likely, in grey levels of 8 bits over 255."""
        top = self.prior.draw(count, generator).view(count, *self.flow.top_shape)
        pixels = self.flow.draw(top, generator)[:, : self.shape[0]]
        return ((pixels + 0.5) * LEVELS).floor().clamp(0, LEVELS - 1) / (LEVELS - 1)

    def log_likelihood(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """(N,) float64 log p(x) in nats, with equally likely classes."""
        conditional = self.class_log_likelihoods(x, draws)
        return conditional.logsumexp(dim=1) - math.log(conditional.shape[1])

    def class_log_likelihoods(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """(N, K) float64 log p(x | y) in nats; `draws` as in `flow_input`."""
        return class_log_densities(self.flow, self.prior, self.flow_input(x, draws)) + self.log_volume

    def flow_input(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """(N, C + noise channels, H, W) what the flow sees.

        Args:
            x: (N, C, H, W) in [0, 1].
            draws: The same shape as the result, in [0, 1): places in each pixel's bin, then the noise channels; None
                takes the centre of both.
        """
        channels = x.shape[1]
        if draws is None:
            draws = torch.full_like(x[:, :1], 0.5).expand(-1, channels + self.noise_channels, -1, -1)
        pixels = ((LEVELS - 1) * x + draws[:, :channels]) / LEVELS - 0.5
        return torch.cat([pixels, NOISE_RANGE * (draws[:, channels:] - 0.5)], dim=1)


def png_bits(x: Tensor) -> Tensor:
    """(N,) float64 lengths in bits of the PNG files of (N, 1 or 3, H, W) images in [0, 1], rounded to 8 bits."""
    levels = (x.detach() * (LEVELS - 1)).round().clamp(0, LEVELS - 1).to("cpu", torch.uint8)
    pixels = levels.permute(0, 2, 3, 1).numpy()
    return torch.tensor([8 * _png_length(image) for image in pixels], dtype=torch.float64, device=x.device)


def _png_length(image: np.ndarray) -> int:
    """Bytes of the PNG file of an (H, W, 1 or 3) image of bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "PNG", optimize=True)
    return buffer.tell()


def _info_of(conditional: bool, with_complexity: bool) -> DetectorInfo:
    """What the harness must know of a Glow with these parameters."""
    info = replace(Glow.info, classifier=conditional)
    if not with_complexity:
        return info
    return replace(
        info,
        approximate_gradient="the PNG length is constant between roundings to 8 bits: its part of the gradient is 0",
        jumps="the PNG length jumps where a pixel's rounding to 8 bits changes",
        components=(*info.components, "complexity"),
    )
