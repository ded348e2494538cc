"""A deep generative classifier: labels and images from one latent code."""

import math
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from bench.detectors.autoencoder import strided_decoder, strided_encoder
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.networks.base import FromPixels


class GBZParams(DetectorParams):
    """Parameters of GBZ.

    Attributes:
        channels: Output channels of each convolution of the encoder; every one halves the side.
        hidden: Width of the hidden layers; 500 in the paper.
        latent: Dimensions of z; 64 in the paper.
        samples: K, importance samples for every class.
    """

    channels: tuple[int, ...] = Field(default=(8, 16, 16), min_length=1)
    hidden: int = Field(default=128, ge=1)
    latent: int = Field(default=32, ge=1)
    samples: int = Field(default=10, ge=1)


class LogParts(NamedTuple):
    """Logarithms at samples of z, each (N, S): of p(x | z) up to a constant, of p(y | z), and of p(z) / q(z | x, y)."""

    pixels: Tensor
    label: Tensor
    prior_ratio: Tensor


class GBZ(Detector):
    """log p(x) of a generative classifier p(x, y, z) = p(z) p(y | z) p(x | z).

    Li, Bradshaw and Sharma (2019), "Are generative classifiers more robust to adversarial attacks?", model GBZ: a
    variational autoencoder whose code also gives the label, so that the code is a bottleneck between both. With
    q(z | x, y) from the encoder,

        log p(x, y) ~ log 1/K sum over k of p(x | z_k) p(y | z_k) p(z_k) / q(z_k | x, y), z_k ~ q(z | x, y),

    which are the `logits`, and p(x) = sum over y of p(x, y), which the paper's marginal detection rejects by. The
    likelihood of pixels is log p(x | z) = -||x - decoded(z)||^2 up to a constant (the authors' `l2`), so that the score
    is in nats up to one.

    Deviations: the samples' standard normal numbers are drawn once, from a fixed seed, and serve every image and
    class, where the paper draws anew; the score is then one function of x, which an attack can follow exactly. Small
    strided convolutions with SiLU. There is no network in the card: all parts are the detector's own. `features` gives
    the encoder's features as "penultimate".
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        classifier=False, components=("encoder", "decoder", "class likelihoods"), matched="logits"
    )
    params: GBZParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, GBZParams)
        self.info = replace(self.info, classifier=True)  # type: ignore[misc]  # without a network in the card
        hidden, latent = params.hidden, params.latent
        self.encoder = strided_encoder(shape, params.channels, hidden)
        self.inference = nn.Sequential(nn.Linear(hidden + classes, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = strided_decoder(shape, params.channels, latent)
        self.classifier = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, classes))
        draws = torch.randn(params.samples, latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("draws", draws, persistent=False)  # they follow from the parameters
        self.draws: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) log p(x) in nats, up to a constant."""
        return torch.logsumexp(self.logits(x), dim=1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) log p(x, y) in nats, up to a constant, of every class."""
        features, draws = self.encoded(x), self.draws.expand(len(x), -1, -1)
        by_class = [
            self.log_weights(x, features, torch.full((len(x),), label, device=x.device), draws)
            for label in range(self.classes)
        ]
        return torch.logsumexp(torch.stack(by_class, dim=1), dim=2) - math.log(len(self.draws))

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) log p(x, y): how much each class has a part in the score."""
        return self.logits(x)

    def encoded(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, hidden) what `log_weights` asks of the images."""
        features: Tensor = functional.silu(self.encoder(x))
        return features

    def log_weights(self, x: Tensor, features: Tensor, y: Tensor, draws: Tensor) -> Tensor:
        """(N, S) log of p(x | z) p(y | z) p(z) / q(z | x, y), the sum of `log_parts`."""
        parts = self.log_parts(x, features, y, draws)
        return parts.pixels + parts.label + parts.prior_ratio

    def log_parts(self, x: Tensor, features: Tensor, y: Tensor, draws: Tensor) -> LogParts:
        """The logarithms of which an importance weight is made, at samples of q(z | x, y).

        Args:
            x: (N, C, H, W) images.
            features: (N, hidden), of the same images.
            y: (N,) classes.
            draws: (N, S, latent) standard normal numbers, of which z is made.
        """
        one_hot = functional.one_hot(y, self.classes).to(features)
        mean, log_std = self.inference(torch.cat([features, one_hot], dim=1)).chunk(2, dim=1)
        z = mean[:, None] + log_std.exp()[:, None] * draws
        # Both densities of z are normal, and their constants cancel.
        prior_ratio = 0.5 * (draws.square() - z.square()).sum(dim=2) + log_std.sum(dim=1)[:, None]
        flat = z.flatten(0, 1)
        error = self.decode(flat).view(*z.shape[:2], -1) - x.flatten(1)[:, None]
        labels = torch.log_softmax(self.classifier(flat), dim=1).view(*z.shape[:2], -1)
        of_label = labels.gather(2, y[:, None, None].expand(-1, z.shape[1], 1))[:, :, 0]
        return LogParts(-error.square().sum(dim=2), of_label, prior_ratio)

    def decode(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, C, H, W) mean images, in (0, 1)."""
        return torch.sigmoid(self.decoder(z))

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) means of p(x | z) for z of its prior, in (0, 1)."""
        z = torch.randn((count, self.params.latent), generator=generator).to(self.draws)
        return self.decode(z)

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D): the encoder's features at "penultimate", log p(x, y) at "logits", both together at "all".

        Raises:
            InputError: This detector has no such features.
        """
        known = {"penultimate": (self.encoded,), "logits": (self.logits,), "all": (self.encoded, self.logits)}
        if at not in known:
            return super().features(x, at)
        return torch.cat([function(x) for function in known[at]], dim=1)
