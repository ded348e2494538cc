"""Likelihoods of a PixelCNN++ that has one logistic component a class."""

import math
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.causal import CausalNetwork
from bench.errors import InputError

LEVELS = 256
"""Grey levels of an 8-bit image."""

HALF = 1 / (LEVELS - 1)
"""Half a grey level, where pixels lie in [-1, 1]."""

LEAST_LOG_SCALE = -7.0
"""Of a logistic; below it, a pixel would be certain to within a tenth of a grey level."""


class PixelCNNParams(DetectorParams):
    """Parameters of the network.

    Attributes:
        width: Channels of both streams; 160 in the paper on PixelCNN++.
        blocks: Blocks in each level; 5 in each of 3 levels there.
    """

    width: int = Field(default=16, ge=1)
    blocks: tuple[int, ...] = Field(default=(1, 1, 1), min_length=1)


class PixelCNN(Detector):
    """log2 p(x) per pixel and channel under a PixelCNN++, p(x) = sum over y of p(x | y) / K.

    Salimans, Karpathy, Chen and Kingma (2017), "PixelCNN++", made class-conditional as in appendix E of "Conditional
    generative models are not robust" (2020): "instead of predicting each new pixel using a mixture of 10 components, we
    use one mixture component per class". So one pass gives every class's

        log p(x | y) = sum over pixels i of log P(x_i; mu_y(x_<i), s_y(x_<i)),

    with P the mass that a logistic gives the pixel's grey level, all that lies beyond the ends counted to 0 and 255
    (equation 2 of PixelCNN++). These are the `logits`; classes are told by Bayes' rule, all as likely. In a pixel's own
    channels, the means of green and blue are linear in what comes before them (equation 3). The score is log p(x) / D.

    Deviations: between grey levels the mass of a bin of one level's width around the pixel is taken, so that the score
    is a function of x that has a gradient and is the probability itself at every 8-bit image; what lies beyond an end
    comes in linearly over the last half of a level. No weight norm, no dropout, ELU in place of its concatenated form,
    and a network of 16 channels and one block a level in place of 160 and five: sized for two cores.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        classifier=False,
        components=("likelihood",),
        matched="logits",
        roundings="the likelihood sums over all pixels, each the difference of two numbers close to each other",
    )
    params: PixelCNNParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, PixelCNNParams)
        self.info = replace(self.info, classifier=True)  # type: ignore[misc]  # without a network in the card
        channels = shape[0]
        self.slopes = channels * (channels - 1) // 2
        self.pixels = CausalNetwork(shape, classes * (2 * channels + self.slopes), params.width, params.blocks)
        self.dimensions = math.prod(shape)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) bits per dimension, negative; nothing is random."""
        return (self.log_likelihood(x) / (self.dimensions * math.log(2))).to(x.dtype)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) log p(x | y) in nats."""
        return self.class_log_likelihoods(x).to(x.dtype)

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) log p(x | y): how much each class has a part in the score."""
        return self.logits(x)

    def bits_per_dim(self, x: Tensor) -> Tensor:
        """(N,) bits per pixel and channel that an ideal code needs for the 8-bit image."""
        return -self.score((x * (LEVELS - 1)).round() / (LEVELS - 1))

    def log_likelihood(self, x: Tensor) -> Tensor:
        """(N,) float64 log p(x) in nats, with equally likely classes."""
        return self.class_log_likelihoods(x).logsumexp(dim=1) - math.log(self.classes)

    def class_log_likelihoods(self, x: Tensor) -> Tensor:
        """(N, K) float64 log p(x | y) in nats."""
        v = 2 * x - 1
        means, log_scales = self.components(v, self.pixels(v))
        return log_mass(v[:, None], means, log_scales).flatten(2).sum(dim=2, dtype=torch.float64)

    def components(self, v: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of the scales, each (N, K, C, H, W), where pixels lie in [-1, 1].

        Args:
            v: (N, C, H, W) pixels in [-1, 1].
            outputs: (N, K * (2 C + slopes), H, W) of the network.
        """
        channels = v.shape[1]
        by_class = outputs.view(len(outputs), self.classes, -1, *outputs.shape[2:])
        means, log_scales, slopes = torch.split(by_class, [channels, channels, self.slopes], dim=2)
        if self.slopes:
            means = _with_channels_before(means, torch.tanh(slopes), v)
        return means, log_scales.clamp(min=LEAST_LOG_SCALE)

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D): log p(x | y) at "logits", the mean of the last layer's inputs over the pixels at "penultimate".

        Raises:
            InputError: There are no such features.
        """
        if at == "score":
            return self.score(x)[:, None]
        known = {"penultimate": (self._pooled,), "logits": (self.logits,), "all": (self._pooled, self.logits)}
        if at not in known:
            raise InputError(
                f"{type(self).__name__} has no features at '{at}'; choose score, logits, penultimate or all."
            )
        return torch.cat([function(x) for function in known[at]], dim=1)

    def _pooled(self, x: Tensor) -> Tensor:
        return self.pixels.trunk(2 * x - 1).mean(dim=(2, 3))

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) images of p(x), of classes that are all as likely, in grey levels of 8 bits over 255.

        Pixel after pixel and channel after channel, each with a pass through the network.
        """
        labels = torch.randint(self.classes, (count,), generator=generator)
        images = torch.zeros(count, *self.shape, device=self.pixels.last.weight.device)
        channels, height, width = self.shape
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    means, log_scales = self.components(2 * images - 1, self.pixels(2 * images - 1))
                    u = torch.rand(count, generator=generator).to(images).clamp(1e-6, 1 - 1e-6)
                    own = (torch.arange(count), labels, channel, row, column)
                    drawn = means[own] + log_scales[own].exp() * torch.logit(u)
                    level = ((drawn + 1) / (2 * HALF)).round().clamp(0, LEVELS - 1)
                    images[:, channel, row, column] = level / (LEVELS - 1)
        return images


def _with_channels_before(means: Tensor, slopes: Tensor, v: Tensor) -> Tensor:
    """(N, K, C, H, W) means, each moved by slope times pixel for every channel before its own."""
    moved, used = [means[:, :, 0]], 0
    for channel in range(1, means.shape[2]):
        own = slopes[:, :, used : used + channel]
        moved.append(means[:, :, channel] + (own * v[:, None, :channel]).sum(dim=2))
        used += channel
    return torch.stack(moved, dim=2)


def log_mass(v: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Logarithm of the mass that a logistic gives the grey level of a pixel, in nats.

    sigmoid((v + h - mu) / s) - sigmoid((v - h - mu) / s) with h half a level, plus at the level 0 all that lies below
    and at 255 all that lies above: over the 256 levels it sums to 1. What lies beyond comes in linearly over the
    last half of a level, so that the corner where it begins is no 8-bit image.

    Args:
        v: Pixels in [-1, 1], of a shape that can be broadcast with the other two.
        means: mu.
        log_scales: log s.
    """
    inverse = torch.exp(-log_scales)
    upper, lower = (v + HALF - means) * inverse, (v - HALF - means) * inverse
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which does not cancel
    within = logsigmoid(upper) + logsigmoid(-lower) + torch.log(-torch.expm1(-2 * HALF * inverse))
    below = _share(1 + v) + logsigmoid(lower)
    above = _share(1 - v) + logsigmoid(-upper)
    return torch.logaddexp(torch.logaddexp(within, below), above)


def _share(distance: Tensor) -> Tensor:
    """Logarithm of how much of what lies beyond an end counts: all at 0 from it, none from half a level on."""
    share = 1 - (distance / HALF).clamp(max=1.0)
    some = share > 0
    return torch.where(some, torch.log(torch.where(some, share, 1.0)), -torch.inf)
