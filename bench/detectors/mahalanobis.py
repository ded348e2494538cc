"""Mahalanobis distances in the layers of a classifier."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from bench.datasets.base import ImageSet, TrainingData
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.fitting import Meter, batches, black_image, evaluating
from bench.detectors.gaussian import RunningMoments, TiedGaussians
from bench.detectors.logit import needed_network
from bench.detectors.networks.base import FromPixels
from bench.errors import NotFittableError
from bench.lazy import lazily

with lazily():
    from sklearn import linear_model

CALIBRATION_IMAGES = 2000
"""Layer weights come from at most this many ID images and as many outliers."""


class MahalanobisParams(DetectorParams):
    """Parameters of the Mahalanobis score.

    Attributes:
        layers: `average` gives every layer the same say, `logistic` fits it on ID images and training outliers.
        magnitude: Preprocessing step in [0, 1] pixel units; 0 takes none.
    """

    layers: Literal["average", "logistic"] = "average"
    magnitude: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Mahalanobis(Detector):
    """How near an image's features are to those of the nearest class, over all layers.

    Lee, Lee, Lee and Shin (2018), "A simple unified framework for detecting out-of-distribution samples and
    adversarial attacks", equations 1 to 3 and Algorithm 1: features averaged over the image, class means and a tied
    covariance per layer, M_l(x) = max_c -(f - mu_c)^T Sigma^-1 (f - mu_c), taken at x + magnitude * sign(gradient
    of M_l), and a weighted sum over layers. Layers are all activations of the network but the logits.

    Deviations: directions of near-zero variance are dropped (see `TiedGaussians`); `average` divides each M_l by its
    standard deviation on held-out ID images, so that a layer's width does not decide its say; `logistic` is fitted on
    held-out ID images against training outliers where the paper uses images of the test's own kind, after the
    same standardisation; nothing is clamped after the step, and the sign of 0 is 0.

    The step is piecewise constant in x, so that the gradient of the score is the sum over layers of the gradients
    taken at each layer's own preprocessed point.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        jumps="where a pixel's gradient is 0, the preprocessing step of that pixel changes its sign",
        components=("features", "preprocessing"),
    )
    params: MahalanobisParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        layers = _pooled(needed_network(self), black_image(self))
        self.gaussians = nn.ModuleList(TiedGaussians(features.shape[1], classes) for features in layers)
        self.register_buffer("weights", torch.full((len(layers),), torch.nan))
        self.weights: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), at most 0 for `average`. Also right under `torch.no_grad`."""
        return torch.stack(self.layer_scores(x), dim=1) @ self.weights

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) as for every detector, of the image without a step; "all" are the pooled features of all layers."""
        return torch.cat(_pooled(needed_network(self), x), dim=1) if at == "all" else super().features(x, at)

    def layer_scores(self, x: Tensor) -> list[Tensor]:
        """For every layer (N,) minus the squared distance, at that layer's own preprocessed point."""
        return self._at_own_points(x, self._distances)

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the score with that class as the nearest one in every layer, so that none is above the score.

        That is for weights of at least 0; the steps are those towards the nearest class, as in the score.
        """
        return torch.stack(self._at_own_points(x, self._class_distances), dim=2) @ self.weights

    def _at_own_points(self, x: Tensor, distances: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        assert isinstance(self.params, MahalanobisParams)
        if self.params.magnitude == 0.0:
            return distances(x)
        steps = [self.params.magnitude * gradient.sign() for gradient in self._layer_gradients(x)]
        return [distances(x + step)[layer] for layer, step in enumerate(steps)]

    def _distances(self, x: Tensor) -> list[Tensor]:
        layers = _pooled(needed_network(self), x)
        return [gaussians(features) for gaussians, features in zip(self.gaussians, layers, strict=True)]

    def _class_distances(self, x: Tensor) -> list[Tensor]:
        layers = _pooled(needed_network(self), x)
        return [gaussians.by_class(features) for gaussians, features in zip(self._gaussians(), layers, strict=True)]

    def _layer_gradients(self, x: Tensor) -> list[Tensor]:
        """For every layer (N, C, H, W) the gradient of its score at x, all from one pass forward."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_(True)
            distances = self._distances(leaf)
            return [torch.autograd.grad(d.sum(), leaf, retain_graph=d is not distances[-1])[0] for d in distances]

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Estimate class means, covariances and the layers' weights; the network stays as it is.

        Raises:
            NotFittableError: `layers: logistic` on a track without training outliers.
            NotFittableError: A class without images.
        """
        assert isinstance(self.params, MahalanobisParams)
        logistic = self.params.layers == "logistic"
        if logistic and data.outliers is None:
            raise NotFittableError(
                "`layers: logistic` needs training outliers and the track has none; use `layers: average`, as "
                "`mahalanobis.plain` does."
            )
        calibration = data.calibration.limited(CALIBRATION_IMAGES)
        outliers = data.outliers.limited(CALIBRATION_IMAGES) if logistic and data.outliers is not None else None
        meter = Meter(progress, len(data.train) + len(calibration) + (len(outliers) if outliers else 0))
        with evaluating(self), torch.no_grad():
            self._fit_gaussians(data.train, meter)
            inside = self._fitted_scores(calibration, meter)
            if outliers is None:
                weights = _average_weights(inside)
            else:
                weights = _logistic_weights(inside, self._fitted_scores(outliers, meter))
            self.weights.copy_(torch.from_numpy(weights))
        return self

    def _fit_gaussians(self, images: ImageSet, meter: Meter) -> None:
        moments = [RunningMoments(g.centre.shape[0], self.classes) for g in self._gaussians()]
        for x, labels in batches(images, self.weights.device):
            for running, features in zip(moments, _pooled(needed_network(self), x), strict=True):
                running.add(features, labels)
            meter.add(len(x), "class statistics")
        for gaussians, running in zip(self._gaussians(), moments, strict=True):
            gaussians.set(*running.estimate())

    def _fitted_scores(self, images: ImageSet, meter: Meter) -> np.ndarray:
        """(N, layers) float64."""
        scores = []
        for x, _ in batches(images, self.weights.device):
            scores.append(torch.stack(self.layer_scores(x), dim=1).cpu())
            meter.add(len(x), "layer weights")
        return torch.cat(scores).double().numpy()

    def _gaussians(self) -> Iterator[TiedGaussians]:
        for module in self.gaussians:
            assert isinstance(module, TiedGaussians)
            yield module


def _pooled(network: FromPixels, x: Tensor) -> list[Tensor]:
    """For every layer but the logits (N, D): the mean over the image of what has one."""
    activations = network.activations(x)
    layers = [activations[name] for name in network.layers if name != "logits"]
    return [layer.flatten(2).mean(dim=2) if layer.ndim > 2 else layer for layer in layers]


def _average_weights(inside: np.ndarray) -> np.ndarray:
    """(layers,) one over the standard deviation on ID images; 0 for a layer that says nothing."""
    spread = inside.std(axis=0)
    weights: np.ndarray = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0) / len(spread)
    return weights


def _logistic_weights(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(layers,) of a logistic regression of ID against outliers, on scores standardised by the ID images."""
    scale = _average_weights(inside)
    scaled = np.concatenate([inside, outside]) * scale
    is_inside = np.repeat([1, 0], [len(inside), len(outside)])
    model = linear_model.LogisticRegression(class_weight="balanced", max_iter=2000).fit(scaled, is_inside)
    weights: np.ndarray = model.coef_[0] * scale
    return weights
