"""Supervised Deep InfoMax: a generative classifier on an encoder's representations, which rejects what is unlikely."""

import math
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from bench.datasets.base import TrainingData
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.logit import needed_network
from bench.detectors.networks.base import FromPixels
from bench.errors import UsageError
from bench.metrics import thresholds_by_class

PERCENTILES = (1, 2)
"""Both choices of the paper are kept with the weights."""

BATCH = 250

INITIAL_STD = 10**-0.5
"""A dimension of two standard normal means then has log-densities 10 apart on average: the paper's margin K."""


class SDIMParams(DetectorParams):
    """Parameters of SDIM.

    Attributes:
        percentile: Of the training samples' likelihoods: where each class has its threshold.
    """

    percentile: Literal[1, 2] = 1


class SDIM(Detector):
    """How far the likelihood of an image's representation lies above the threshold of its predicted class.

    "Reject illegal inputs: scaling generative classifiers with supervised deep infomax" (anonymous authors, 2020):
    the score is log p(x~ | y^) - delta_y^, where x~ is the encoder's output and y^ = argmax_y log p(x~ | y) (equation
    8); the paper rejects where it is below 0 (equation 9). The thresholds delta are the 1st or 2nd percentiles
    of log p(x~ | y) over the correctly classified training images of class y (section 5). Encoder and Gaussians are
    trained by `bench.training.sdim`; the network is the encoder, with as many outputs as the representation has
    dimensions.

    `logits` are the class-conditional log-likelihoods (N, K), and `class_thresholds` (K,) the deltas, so that
    `logits[:, c] < class_thresholds[c]` is the paper's class-wise detection.

    Deviations: a percentile is an order statistic as everywhere in this project, not interpolated; class priors are
    uniform, the paper's default.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        jumps="where the predicted class changes, so does its threshold",
        components=("encoder", "class likelihoods", "class thresholds"),
    )
    params: SDIMParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        self.class_conditional = ClassGaussians(classes, _dimensions(needed_network(self), shape))
        self.register_buffer("threshold_table", torch.full((len(PERCENTILES), classes), torch.nan))
        self.threshold_table: Tensor

    @classmethod
    def network_outputs(cls, classes: int) -> int | None:
        """Any number: the dimensions of the representation (64 in the paper)."""
        return None

    @property
    def class_thresholds(self) -> Tensor:
        """(K,) delta: the log-likelihood below which an image of each predicted class is rejected; NaN before `fit`."""
        assert isinstance(self.params, SDIMParams)
        return self.threshold_table[PERCENTILES.index(self.params.percentile)]

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) in nats; below 0 the paper rejects."""
        likelihood, predicted = self.logits(x).max(dim=1)
        return likelihood - self.class_thresholds[predicted]

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) log p(x~ | y) in nats, of every class."""
        log_likelihood: Tensor = self.class_conditional(needed_network(self)(x))
        return log_likelihood

    def features(self, x: Tensor, at: str) -> Tensor:
        """As for every detector; "logits" are the log-likelihoods, and "all" the encoder's activations."""
        return self.logits(x) if at == "logits" else super().features(x, at)

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Take the thresholds from the training images; encoder and Gaussians stay as they are.

        Raises:
            DataError: The training set has no labels.
            UsageError: A class of which no training image is classified correctly.
        """
        data.train.required_labels("SDIM")
        was_training = self.training
        self.eval()
        likelihoods, predicted = self._correctly_classified(data, progress)
        self.train(was_training)
        if missing := sorted(set(range(self.classes)) - set(predicted.tolist())):
            raise UsageError(
                f"no training image of classes {missing} is classified correctly, so they have no threshold; "
                "train for more steps."
            )
        for row, percentile in enumerate(PERCENTILES):
            found = thresholds_by_class(likelihoods, predicted, percentile=percentile, name="training images")
            deltas = [found[label] for label in range(self.classes)]
            self.threshold_table[row] = torch.tensor(deltas).to(self.threshold_table)
        return self

    @torch.no_grad()
    def _correctly_classified(self, data: TrainingData, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Likelihood and class of the training images whose class is predicted."""
        kept, classes = [], []
        for start in range(0, len(data.train), BATCH):
            chunk = slice(start, start + BATCH)
            x = data.train.images[chunk].to(self.threshold_table.device, torch.float32) / 255.0
            likelihood, predicted = self.logits(x).max(dim=1)
            correct = predicted == data.train.labels[chunk].to(predicted.device)
            kept.append(likelihood[correct].cpu())
            classes.append(predicted[correct].cpu())
            progress(min(start + BATCH, len(data.train)), len(data.train), "class thresholds")
        return torch.cat(kept).numpy(), torch.cat(classes).numpy()


class ClassGaussians(nn.Module):
    """One Gaussian a class, with a mean and a variance a dimension: the paper's embedding of 2d numbers a class.

    The paper calls them isotropic; its entries of 2d numbers, and the authors' published code, have a variance a
    dimension, and so has this.

    Args:
        classes: K.
        dimensions: d.
    """

    def __init__(self, classes: int, dimensions: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.empty(classes, dimensions))
        self.log_stds = nn.Parameter(torch.empty(classes, dimensions))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Standard normal means, and all standard deviations `INITIAL_STD`."""
        nn.init.normal_(self.means)
        nn.init.constant_(self.log_stds, math.log(INITIAL_STD))

    def forward(self, representation: Tensor) -> Tensor:
        """(N, d) -> (N, K) log-densities in nats."""
        # differences first: expanding the square would lose the small distances that likely images have
        standardised = (representation[:, None] - self.means) * torch.exp(-self.log_stds)
        normaliser = self.log_stds.sum(dim=1) + 0.5 * self.means.shape[1] * math.log(2 * math.pi)
        return -0.5 * standardised.square().sum(dim=2) - normaliser


def _dimensions(network: FromPixels, shape: tuple[int, int, int]) -> int:
    """The size of the network's outputs, from one black image."""
    anchor = next(network.parameters(), torch.zeros(()))
    with torch.no_grad():
        outputs: Tensor = network(torch.zeros(1, *shape, dtype=anchor.dtype, device=anchor.device))
    return outputs.shape[1]
