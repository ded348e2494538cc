"""Shaping: penultimate features, or the last layer, changed before a score sees them. It composes with any score.

A card gives it as a parameter of the score, e.g. `shaping: {kind: react, percentile: 90}`.

Thresholds come from training images, never from test images. Percentiles are in [0, 100] as in the papers' tables.
ASH and SCALE are written for features that are at least 0 (ReLU); where they are not, their sums are those of the
positive parts, which is the same for ReLU and keeps the ratio of the sums at 1 or above.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.detectors.base import DetectorParams
from bench.detectors.scores.training_features import Batch

QUANTILE_IMAGES = 10_000
"""Thresholds on features are percentiles over at most this many training images."""

LARGEST_EXPONENT = 60.0
"""Of ASH-S and SCALE, whose exponent is at most D / k: far from float32's limit of 88, and met by no real feature."""

SMALLEST_SUM = 1e-20
"""A sum of kept features that is below it counts as none: its ratio is 1."""

Percent = Annotated[float, Field(ge=0, lt=100, allow_inf_nan=False)]


class ReActSettings(DetectorParams):
    """ReAct; 90 is the paper's percentile, chosen on Gaussian noise against ID images."""

    kind: Literal["react"]
    percentile: Percent = 90.0


class VRASettings(DetectorParams):
    """VRA-P; the paper chooses `low` in 50 to 70 and `high` in 80 to 99 on Gaussian noise, these are of that grid."""

    kind: Literal["vra"]
    low: Percent = 60.0
    high: Percent = 95.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; low must be below high")
        return self


class ASHSettings(DetectorParams):
    """ASH-S, -P or -B; 90 is the paper's percentile for ASH-S on ImageNet, of a search on its OOD sets."""

    kind: Literal["ash-s", "ash-p", "ash-b"]
    percentile: Percent = 90.0


class ScaleSettings(DetectorParams):
    """SCALE; 85 is the paper's percentile on ImageNet."""

    kind: Literal["scale"]
    percentile: Percent = 85.0


class DICESettings(DetectorParams):
    """DICE; the paper drops 90 % of the weights on CIFAR and 70 % on ImageNet, chosen on Gaussian noise."""

    kind: Literal["dice"]
    sparsity: Percent = 90.0


Shaping = Annotated[
    ReActSettings | VRASettings | ASHSettings | ScaleSettings | DICESettings, Field(discriminator="kind")
]


class Shaper(nn.Module):
    """A shaping with what it read off the training images, in buffers that are NaN before `fit`.

    Attributes:
        jumps: The sentence that says where the shaped features are discontinuous; empty where nowhere.
        approximate_gradient: The sentence that says where its gradient is an approximation; empty where it is exact.
        weights_only: It changes the last layer alone, so that scores which do not look at that see nothing of it.
    """

    jumps: ClassVar[str] = ""
    approximate_gradient: str = ""
    weights_only: ClassVar[bool] = False

    def fit(self, training: Iterable[Batch], weight: Tensor) -> None:
        """Read what is needed off the training images."""

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) features and (K, D) weights of the last layer -> the same, shaped."""
        raise NotImplementedError


class ReAct(Shaper):
    """h -> min(h, c), c a percentile of all activations of the training images.

    Sun, Guo and Li (2021), "ReAct: Out-of-distribution detection with rectified activations", equation 1.
    """

    def __init__(self, settings: ReActSettings) -> None:
        super().__init__()
        self.percentile = settings.percentile
        self.register_buffer("threshold", torch.tensor(torch.nan))
        self.threshold: Tensor

    def fit(self, training: Iterable[Batch], weight: Tensor) -> None:
        """Find the threshold."""
        self.threshold.copy_(_percentiles(training, [self.percentile])[0])

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Clipped features."""
        return torch.minimum(features, self.threshold), weight


class VRA(Shaper):
    """h -> 0 below a, h between a and b, b above; a and b percentiles of all activations of the training images.

    Xu, Lian, Liu and Tao (2023), "VRA: Variational rectified activation for out-of-distribution detection", equation
    of VRA-P. (pytorch-ood and OpenOOD raise what is below a to a, unit by unit, where the paper sets it to 0.)
    """

    jumps = "where an activation crosses VRA's lower threshold, below which it is set to 0"

    def __init__(self, settings: VRASettings) -> None:
        super().__init__()
        self.percentiles = [settings.low, settings.high]
        self.register_buffer("thresholds", torch.full((2,), torch.nan))
        self.thresholds: Tensor

    def fit(self, training: Iterable[Batch], weight: Tensor) -> None:
        """Find both thresholds."""
        self.thresholds.copy_(_percentiles(training, self.percentiles))

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Features without what is low, and clipped."""
        low, high = self.thresholds
        return torch.where(features < low, 0.0, torch.minimum(features, high)), weight


class ASH(Shaper):
    """The largest features alone: as they are (P), times exp(s1 / s2) (S), or all equal with the sum s1 (B).

    Djurisic, Bozanic, Ashok and Liu (2023), "Extremely simple activation shaping for out-of-distribution detection",
    Algorithms 1 to 3: s1 is the sum of an image's features, s2 that of its kept ones. Which ones are kept is a
    constant under the gradient. Deviations: at least one feature is kept; of equal ones, those of the first units.

    ASH-B jumps where others are kept and moves with the sum alone between the jumps: followed exactly, its gradient
    leaves an attacker far from what there is to find. It is differentiated as if the features were not shaped.
    """

    jumps = "where two activations of an image change ranks at ASH's cut"

    def __init__(self, settings: ASHSettings) -> None:
        super().__init__()
        self.kind, self.percentile = settings.kind, settings.percentile
        if self.kind == "ash-b":
            self.approximate_gradient = "ASH-B is differentiated as if the features were not shaped"

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Pruned features."""
        kept, count = _largest(features, self.percentile)
        if self.kind == "ash-b":
            equal = kept * (features.clamp_min(0.0).sum(dim=1, keepdim=True) / count)
            return equal.detach() + (features - features.detach()), weight
        pruned = features * kept
        return (pruned if self.kind == "ash-p" else pruned * _sharpening(features, kept)), weight


class Scale(Shaper):
    """h -> h exp(s1 / s2), s1 the sum of an image's features and s2 that of its largest ones; nothing is pruned.

    Xu, Chen, Franchi and Yao (2024), "Scaling for training time and post-hoc out-of-distribution detection
    enhancement", equations 5 and 6.
    """

    def __init__(self, settings: ScaleSettings) -> None:
        super().__init__()
        self.percentile = settings.percentile

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled features."""
        kept, _ = _largest(features, self.percentile)
        return features * _sharpening(features, kept), weight


class DICE(Shaper):
    """The last layer without the weights that contribute least to its outputs for training images.

    Sun and Li (2022), "DICE: Leveraging sparsification for out-of-distribution detection", section 3: the
    contribution of weight w_kd is w_kd times the mean of feature d; the `sparsity` percent smallest are set to 0.
    """

    weights_only = True

    def __init__(self, settings: DICESettings, width: int, classes: int) -> None:
        super().__init__()
        self.sparsity = settings.sparsity
        self.register_buffer("kept", torch.full((classes, width), torch.nan))
        self.kept: Tensor

    def fit(self, training: Iterable[Batch], weight: Tensor) -> None:
        """Find out which weights are kept."""
        total, count = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device), 0
        for batch in training:
            total += batch.features.double().sum(dim=0)
            count += len(batch.features)
        contributions = weight.double() * (total / count)
        cut = float(np.percentile(contributions.cpu().numpy(), self.sparsity))
        self.kept.copy_(contributions > cut)

    def forward(self, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Sparse weights."""
        return features, weight * self.kept


def shaper(settings: Shaping, width: int, classes: int) -> Shaper:
    """The shaping that a card asks for.

    Args:
        settings: Its settings.
        width: D, the number of features.
        classes: K, the number of logits.
    """
    match settings:
        case ReActSettings():
            return ReAct(settings)
        case VRASettings():
            return VRA(settings)
        case ASHSettings():
            return ASH(settings)
        case ScaleSettings():
            return Scale(settings)
        case DICESettings():
            return DICE(settings, width, classes)


def _largest(features: Tensor, percentile: float) -> tuple[Tensor, int]:
    """(N, D) 1 at the largest features of each image and 0 elsewhere, and how many are kept."""
    width = features.shape[1]
    count = max(1, width - round(width * percentile / 100.0))
    order = features.detach().argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(features).scatter(1, order, 1.0), count


def _sharpening(features: Tensor, kept: Tensor) -> Tensor:
    """(N, 1) exp(s1 / s2)."""
    positive = features.clamp_min(0.0)
    whole, part = positive.sum(dim=1, keepdim=True), (positive * kept).sum(dim=1, keepdim=True)
    some = part > SMALLEST_SUM
    ratio = torch.where(some, whole / torch.where(some, part, 1.0), 1.0)
    return ratio.clamp_max(LARGEST_EXPONENT).exp()


def _percentiles(training: Iterable[Batch], percentiles: list[float]) -> Tensor:
    """(len(percentiles),) float64, over all activations of the first `QUANTILE_IMAGES` images."""
    parts, count = [], 0
    for batch in training:
        if count < QUANTILE_IMAGES:  # the others are gone through all the same, so that they are kept for the score
            parts.append(batch.features[: QUANTILE_IMAGES - count].cpu().numpy())
            count += len(parts[-1])
    return torch.from_numpy(np.percentile(np.concatenate(parts).ravel().astype(np.float64), percentiles))
