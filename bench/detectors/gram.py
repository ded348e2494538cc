"""Gram matrices of all orders in the layers of a classifier."""

from collections.abc import Iterator
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.datasets.base import ImageSet, TrainingData
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.fitting import Meter, batches, black_image, evaluating
from bench.detectors.gram_sums import ClassRanges, RunningRanges, gram_row_sums
from bench.detectors.logit import needed_network
from bench.detectors.networks.base import FromPixels

CALIBRATION_IMAGES = 2000
"""The expected deviation of a layer comes from at most this many held-out ID images."""


class GramParams(DetectorParams):
    """Parameters of the Gram score.

    Attributes:
        orders: The highest order P; orders 1 to P are taken.
        confidence: Whether deviations are divided by the largest softmax probability, as in the authors' code.
        floor: What a bound counts for where a deviation is divided by it: at least this share of the largest bound of
            its class, order and layer; 0 is the authors' form, whose bounds near zero magnify roundings.
    """

    orders: int = Field(default=10, ge=1, le=100)
    confidence: bool = True
    floor: float = Field(default=0.0, ge=0, le=1)


class Gram(Detector):
    """How far the correlations between channels lie outside what training images of the predicted class show.

    Sastry and Oore (2020), "Detecting out-of-distribution examples with Gram matrices": Gram matrices of orders 1 to
    10 in every layer, the smallest and largest value of each entry among training images by *predicted* class, the
    relative excess over the range that is crossed, summed in each layer and divided by the layer's mean on held-out
    ID images. The score is minus the sum over layers.

    As in the authors' published code the entries are the row sums of the whole matrix, with the root taken after the
    sum (the paper defines its ranges on the single entries of the matrix's triangle), and deviations are divided by
    the confidence of the prediction.

    Deviations: layers are all activations that the network names but the logits, a pooled one with a single place,
    where the authors' code takes every convolution; expected deviations come from the track's calibration images, the
    authors take a tenth of the test images; a layer in which no such image deviates is divided by 1, there by 1e-7;
    1e-6 is added to the *size* of a bound, there to the bound itself; `floor` keeps bounds near zero from magnifying
    roundings into scores.

    The paper on attacks of encoders (Liang et al. 2020, appendix H), which feature matching follows, takes orders up to
    5 of this score: `orders: 5`, for which statistics are to be fitted anew.

    An image inside all ranges scores exactly 0. `objective` goes on above 0 there, with the distance to the nearest
    bound, so that an attack that wants a lower score has a direction from the start.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        jumps="where the predicted class changes, and with it the ranges",
        components=("classifier", "features"),
    )
    params: GramParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(self.params, GramParams)
        self.orders, self.confidence = self.params.orders, self.params.confidence
        with torch.no_grad():
            layers, _ = self._layers(black_image(self))
        widths, floor = [layer.shape[1] for layer in layers], self.params.floor
        self.ranges = nn.ModuleList(ClassRanges(classes, self.orders, width, floor) for width in widths)
        self.register_buffer("expected", torch.full((len(layers),), torch.nan))
        self.expected: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), at most 0; 0 inside all ranges of the predicted class."""
        return -self.deviations(x) @ self.expected.reciprocal()

    def objective(self, x: Tensor) -> Tensor:
        """(N,) the score, and the distance to the nearest bound for images inside all ranges."""
        return self.score_and_objective(x)[1]

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score and objective of the same images, from one pass."""
        layers, logits = self._layers(x)
        sums, classes = [gram_row_sums(layer, self.orders) for layer in layers], logits.argmax(dim=1)
        score = -self._deviations(sums, logits) @ self.expected.reciprocal()
        slacks = [ranges.slack(s, classes) for ranges, s in zip(self._ranges(), sums, strict=True)]
        slack = torch.stack(slacks, dim=1).amin(dim=1)
        inside = (score == 0) & slack.isfinite()
        return score, torch.where(inside, torch.where(inside, slack, 0.0), score)

    def deviations(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, layers), each at least 0, before the division by what is expected."""
        layers, logits = self._layers(x)
        return self._deviations([gram_row_sums(layer, self.orders) for layer in layers], logits)

    def _deviations(self, sums: list[Tensor], logits: Tensor) -> Tensor:
        classes = logits.argmax(dim=1)
        deviations = [ranges(s, classes) for ranges, s in zip(self._ranges(), sums, strict=True)]
        total = torch.stack(deviations, dim=1)
        return total / logits.softmax(dim=1).amax(dim=1, keepdim=True) if self.confidence else total

    def _layers(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """All activations but the logits, and the logits."""
        network = needed_network(self)
        activations = network.activations(x)
        return [activations[name] for name in network.layers if name != "logits"], activations["logits"]

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Read the ranges off the training images and the expected deviations off the calibration images.

        Raises:
            NotFittableError: The network predicts some class for no training image.
        """
        calibration = data.calibration.limited(CALIBRATION_IMAGES)
        meter = Meter(progress, len(data.train) + len(calibration))
        with evaluating(self), torch.no_grad():
            self._fit_ranges(data.train, meter)
            self._fit_expected(calibration, meter)
        return self

    def _fit_ranges(self, images: ImageSet, meter: Meter) -> None:
        running = [RunningRanges(ranges) for ranges in self._ranges()]
        for x, _ in batches(images, self.expected.device):
            layers, logits = self._layers(x)
            for found, layer in zip(running, layers, strict=True):
                found.add(gram_row_sums(layer, self.orders), logits.argmax(dim=1))
            meter.add(len(x), "ranges of each class")
        for ranges, bounds in zip(self._ranges(), [found.estimate() for found in running], strict=True):
            ranges.set(*bounds)

    def _fit_expected(self, images: ImageSet, meter: Meter) -> None:
        total = torch.zeros_like(self.expected, dtype=torch.float64)
        for x, _ in batches(images, self.expected.device):
            total += self.deviations(x).double().sum(dim=0)
            meter.add(len(x), "expected deviations")
        mean = total / len(images)
        self.expected.copy_(torch.where(mean > 0, mean, 1.0))

    def _ranges(self) -> Iterator[ClassRanges]:
        for module in self.ranges:
            assert isinstance(module, ClassRanges)
            yield module
