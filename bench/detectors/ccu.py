"""Certified certain uncertainty: a classifier mixed with the uniform distribution by two densities of pixels."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from bench.cards.threat import Norm
from bench.detectors.balls import l2_radius
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.logit import needed_network
from bench.detectors.msp import top_and_others
from bench.detectors.networks.base import FromPixels

TINY = 1e-30
"""Least sum of 1 - p_k / m that counts: equal logits are as good as chance, and their logarithm stays finite."""


class CCUParams(DetectorParams):
    """Parameters of CCU.

    Attributes:
        components: Gaussians of the density of in-distribution images.
        outlier_components: Gaussians of the density of outliers.
        prior_ratio: lambda = p(outlier) / p(in-distribution).
    """

    components: int = Field(default=100, ge=1)
    outlier_components: int = Field(default=100, ge=1)
    prior_ratio: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class CCU(Detector):
    """The confidence of a classifier, held near chance wherever outliers are more likely than in-distribution images.

    Meinke and Hein (2020), "Towards neural networks that provably know when they don't know", section 2:
    p(y|x) = (p(y|x,in) p(x|in) + lambda p(x|out) / M) / (p(x|in) + lambda p(x|out)) with M classes, and for both
    densities Gaussian mixtures in pixel space, each component with a variance of its own in all directions.

    The paper's score is C = max_y p(y|x) in [1/M, 1]. Here it is log((C - 1/M) / (1 - C)), which ranks images as C
    does but has neither C's ties at 1/M, where nearly all outliers lie in float32, nor those at 1. With
    rho = log p(x|in) - log p(x|out) - log lambda and m the largest softmax of the classifier it equals
    rho + log(m - 1/M) - log(e^rho (1 - m) + 1 - 1/M), and so it is at most rho.

    `bound` is the paper's certificate (corollary 3.1): within distance R of x the confidence is at most
    (1 + M b) / (M + M b), where log b is the largest rho that the triangle inequality leaves: every centre of the
    in-distribution comes nearer by R and every centre of the outliers goes further by R. In the unit of the score the
    certificate is log b itself. For the L-infinity norm it is taken in the L2 ball of radius eps * sqrt(D), which
    holds the cube. The densities are computed in float64, and rounding to the images' type is monotone, so that no
    rounding breaks the certificate.

    Deviation: distances are plain L2 ones, as is the default of the authors' code; the paper's own whitened metric
    has balls that hold next to no L2 ball.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(outliers=True, components=("classifier", "densities"))
    params: CCUParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, CCUParams)
        pixels = math.prod(shape)
        self.inside = IsotropicMixture(params.components, pixels)
        self.outside = IsotropicMixture(params.outlier_components, pixels)
        self.prior_ratio = params.prior_ratio
        self.log_prior_ratio = math.log(params.prior_ratio)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) log((C - 1/M) / (1 - C)), in the reals."""
        flat = x.flatten(1)
        rho = self.inside(flat) - self.outside(flat) - self.log_prior_ratio
        log_above_chance, log_rest = _confidence(needed_network(self)(x).to(rho.dtype))
        log_chance_rest = math.log1p(-1.0 / self.classes)
        score: Tensor = rho + log_above_chance - _log_add(rho + log_rest, log_chance_rest)
        return score.to(x.dtype)

    def log_probabilities(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, M) log p(y|x), and (N,) log p(x) of the mixture of both densities (equations of section 2), float64."""
        flat = x.flatten(1)
        inside, outside = self.inside(flat), self.outside(flat) + self.log_prior_ratio
        rho = (inside - outside)[:, None]
        log_softmax = torch.log_softmax(needed_network(self)(x).to(rho.dtype), dim=1)
        log_posterior = _log_add(rho + log_softmax, -math.log(self.classes)) + logsigmoid(-rho)
        return log_posterior, torch.logaddexp(inside, outside) - math.log1p(self.prior_ratio)

    @torch.no_grad()
    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor:
        """(N,) upper bound of the score in the ball of radius `eps`, in [0, 1] pixel units; corollary 3.1."""
        radius = l2_radius(norm, eps, x[0].numel())
        flat = x.flatten(1)
        rho: Tensor = self.inside(flat, nearer=radius) - self.outside(flat, nearer=-radius) - self.log_prior_ratio
        return rho.to(x.dtype)


class IsotropicMixture(nn.Module):
    """A mixture of K Gaussians in D dimensions, each with one variance for all directions; computed in float64.

    Parameters: `means` (K, D), `log_variances` (K,) and `weight_logits` (K,), whose softmax are the weights.
    """

    def __init__(self, components: int, dims: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.empty(components, dims))
        self.log_variances = nn.Parameter(torch.empty(components))
        self.weight_logits = nn.Parameter(torch.empty(components))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Means drawn from the unit cube, and the variance that images drawn from it have."""
        nn.init.uniform_(self.means)
        nn.init.constant_(self.log_variances, -math.log(12.0))
        nn.init.zeros_(self.weight_logits)

    def forward(self, x: Tensor, *, nearer: float = 0.0) -> Tensor:
        """(N, D) -> (N,) log density in float64, with every centre `nearer` by so much, but not beyond the image."""
        means, log_variances = self.means.double(), self.log_variances.double()
        squared = _squared_distances(x.double(), means)
        if nearer != 0.0:
            squared = (squared.sqrt() - nearer).clamp_min(0.0).square()
        log_normaliser = 0.5 * means.shape[1] * (math.log(2.0 * math.pi) + log_variances)
        log_weights = torch.log_softmax(self.weight_logits.double(), dim=0)
        return torch.logsumexp(log_weights - log_normaliser - 0.5 * squared * torch.exp(-log_variances), dim=1)


def _squared_distances(x: Tensor, means: Tensor) -> Tensor:
    """(N, D), (K, D) -> (N, K) by one matrix product, which float64 can afford: it cancels to 1e-13."""
    products = x @ means.T
    return (x.square().sum(dim=1)[:, None] - 2.0 * products + means.square().sum(dim=1)).clamp_min(0.0)


def _confidence(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(N, M >= 2) -> (N,) log(m - 1/M) and (N,) log(1 - m) of the largest softmax m, without cancellation."""
    top, others = top_and_others(logits)
    log_sum = torch.logsumexp(logits, dim=1)
    # m - 1/M = m/M * (sum over all k of 1 - p_k / m), where the top class adds 0; the floor keeps equal logits finite.
    lag = -torch.expm1(logits - top[:, None]).sum(dim=1)
    log_above_chance = top - log_sum - math.log(logits.shape[1]) + lag.clamp_min(TINY).log()
    return log_above_chance, torch.logsumexp(others, dim=1) - log_sum


def _log_add(values: Tensor, constant: float) -> Tensor:
    """log(e^values + e^constant)."""
    return torch.logaddexp(values, torch.full_like(values, constant))
