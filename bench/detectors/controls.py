"""Detectors that are wrong, or right, on purpose: what the soundness checks are tried on."""

import math
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.datasets.base import TrainingData
from bench.detectors.balls import l2_radius
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.logit import LogitDetector, needed_network
from bench.detectors.msp import log_odds
from bench.detectors.networks.base import FromPixels
from bench.errors import UsageError
from bench.lazy import lazily

with lazily():
    from sklearn import cluster


class QuantisedParams(DetectorParams):
    """Parameters of the quantised control: `grid` is the distance of neighbouring scores."""

    grid: float = Field(default=0.5, gt=0, allow_inf_nan=False)


class QuantisedControl(LogitDetector):
    """The log-odds of the top class, rounded to a grid: the gradient is zero almost everywhere.

    It claims a gradient, as broken defences do. A sound evaluation notices that the gradient is zero, that random
    points and black-box attacks do better than gradients, and that scores are tied.
    """

    params: QuantisedParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) a multiple of the grid."""
        assert isinstance(self.params, QuantisedParams)
        return torch.round(log_odds(logits) / self.params.grid) * self.params.grid


class SaturatedParams(DetectorParams):
    """Parameters of the saturated control.

    Attributes:
        centre: Log-odds of the top class at which the score is one half.
        sharpness: Slope of the sigmoid's argument; the larger, the fewer images lie between 0 and 1.
    """

    centre: float = Field(default=5.0, allow_inf_nan=False)
    sharpness: float = Field(default=300.0, gt=0, allow_inf_nan=False)


class SaturatedControl(LogitDetector):
    """A sigmoid so sharp that most images score exactly 0 or 1 in float32, where its gradient underflows to zero.

    Unlike `msp`, it hides the log-odds from the attacker: its objective is the score. A sound evaluation notices ties
    and gradients of zero.
    """

    params: SaturatedParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) in [0, 1]."""
        assert isinstance(self.params, SaturatedParams)
        return torch.sigmoid(self.params.sharpness * (log_odds(logits) - self.params.centre))


class NoisyParams(DetectorParams):
    """Parameters of the noisy control.

    Attributes:
        amplitude: Of the ripple, in log-odds.
        frequency: Radians for each unit of L2 distance along the ripple's direction.
    """

    amplitude: float = Field(default=3.0, ge=0, allow_inf_nan=False)
    frequency: float = Field(default=1e4, gt=0, allow_inf_nan=False)


class NoisyControl(Detector):
    """The log-odds of the top class plus a ripple that is too fine to be followed, amplitude * sin(frequency * w.x).

    w is one fixed direction of random signs. Next to the ripple's slope the one of the log-odds is nothing, so that
    the gradient is right, and points along w or against it: useless for any step longer than the ripple. The ripple
    also blows the rounding of w.x, which depends on the batch's shape, up to visible differences. Where `noise` is
    given, it moves the phase of every image's ripple, so that a score found by luck is lost in a fresh draw; without
    it the phase is 0, and nothing is random.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(random=True, components=("classifier",))
    params: NoisyParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        generator = torch.Generator().manual_seed(0)
        signs = 2.0 * torch.randint(2, (math.prod(shape),), generator=generator) - 1.0
        # Not persistent: it follows from the shape, and the weights of any classifier fit without it.
        self.register_buffer("direction", signs / math.sqrt(len(signs)), persistent=False)
        self.direction: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) log-odds and ripple; `noise` is asked for one number an image."""
        assert isinstance(self.params, NoisyParams)
        phase = self.params.frequency * (x.flatten(1) @ self.direction)
        if noise is not None:
            phase = phase + 2.0 * math.pi * noise(()).to(phase)
        score: Tensor = log_odds(needed_network(self)(x)) + self.params.amplitude * torch.sin(phase)
        return score


class CertifiedParams(DetectorParams):
    """Parameters of the certified control: how many `centres` k-means finds."""

    centres: int = Field(default=50, ge=1)


class CertifiedControl(Detector):
    """Minus the L2 distance to the nearest of some centres of training images, whose worst case is known exactly.

    Within an L2 ball the nearest that a centre can come is its distance less the radius; within an L-infinity ball
    every pixel comes nearer by up to the radius. Both are reached without leaving [0, 1], since the centres lie in
    it: `bound` is what a perfect attack attains, and no attack may claim more.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(classifier=False, components=("distance",))
    params: CertifiedParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, CertifiedParams)
        self.register_buffer("centres", torch.full((params.centres, math.prod(shape)), torch.nan))
        self.centres: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), at most 0."""
        flat = x.flatten(1)
        with torch.no_grad():
            nearest = torch.cdist(flat, self.centres).argmin(dim=1)
        distance: Tensor = torch.linalg.vector_norm(flat - self.centres[nearest], dim=1)
        return -distance

    @torch.no_grad()
    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor:
        """(N,) the largest score in the ball of radius `eps`, in [0, 1] pixel units."""
        flat = x.flatten(1).double()
        gaps = ((flat - centre).abs() for centre in self.centres.double())
        if norm is not Norm.LINF:
            radius = l2_radius(norm, eps, x[0].numel())
            least = torch.stack([torch.linalg.vector_norm(gap, dim=1) - radius for gap in gaps])
        else:
            least = torch.stack([torch.linalg.vector_norm((gap - eps).clamp_min(0.0), dim=1) for gap in gaps])
        return -least.amin(dim=0).clamp_min(0.0).to(x.dtype)

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Find the centres by k-means on the training images, from a fixed seed.

        Raises:
            UsageError: There are fewer training images than centres.
        """
        if len(data.train) < len(self.centres):
            raise UsageError(
                f"{len(self.centres)} centres need as many training images, and there are {len(data.train)}; "
                "lower `centres`."
            )
        pixels = data.train.pixels().flatten(1).numpy()
        model = cluster.KMeans(len(self.centres), n_init=1, random_state=0).fit(pixels)
        with torch.no_grad():
            self.centres.copy_(torch.from_numpy(model.cluster_centers_).clamp(0.0, 1.0))
        progress(len(pixels), len(pixels), "centres")
        return self
