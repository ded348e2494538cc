"""The small network of the Outlier Exposure paper's MNIST experiments."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.detectors.networks.base import Network


class ConvNet28(Network):
    """Two 5 x 5 convolutions and two linear layers for 28 x 28 grey images in [0, 1], 21,840 parameters for 10 classes.

    The MNIST network of Hendrycks, Mazeika and Dietterich (2019), "Deep anomaly detection with outlier exposure";
    modules are named as in the published checkpoints. The activation x * sigmoid(1.702 x), the approximation of the
    GELU by Hendrycks and Gimpel (2016), follows the pooling; dropout acts on whole channels, in training only.

    Args:
        classes: The number of logits.
        channels: Channels of the image.
    """

    layers = ("conv1", "conv2", "penultimate", "logits")

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, classes)

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, 28, 28) images in [0, 1]."""
        conv1 = _gelu(functional.max_pool2d(self.conv1(x), 2))
        conv2 = _gelu(functional.max_pool2d(self.conv2_drop(self.conv2(conv1)), 2))
        penultimate = _gelu(self.fc1(conv2.flatten(1)))
        return {"conv1": conv1, "conv2": conv2, "penultimate": penultimate, "logits": self.fc2(penultimate)}


def _gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)
