"""DenseNet-BC for 32 x 32 images (Huang et al. 2017)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.detectors.networks.base import Network


class DenseNet(Network):
    """DenseNet with bottlenecks and compression; the defaults make DenseNet-BC-100-12.

    Huang, Liu, van der Maaten and Weinberger (2017), "Densely connected convolutional networks", section 3 and the
    CIFAR column of section 4.2; the "DenseNet" of the ODIN, Mahalanobis, Gram and DICE papers. Modules are named as in
    DICE's published checkpoint. Images are multiples of 4 in size.

    The activations are those that Lee et al. (2018) use for Mahalanobis scores: the first convolution, both
    transitions, and "penultimate" (N, 342), the last block normalised, rectified and averaged over the image.

    Args:
        classes: The number of logits.
        channels: Channels of the image.
        depth: Counted layers, 6 * (layers a block) + 4.
        growth: Channels that each layer adds.
    """

    layers = ("conv1", "trans1", "trans2", "penultimate", "logits")

    def __init__(self, classes: int = 10, channels: int = 3, depth: int = 100, growth: int = 12) -> None:
        super().__init__()
        count = (depth - 4) // 6
        width = 2 * growth
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.block1 = DenseBlock(width, growth, count)
        width += count * growth
        self.trans1 = Transition(width, width // 2)
        self.block2 = DenseBlock(width // 2, growth, count)
        width = width // 2 + count * growth
        self.trans2 = Transition(width, width // 2)
        self.block3 = DenseBlock(width // 2, growth, count)
        width = width // 2 + count * growth
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, H, W) normalised images."""
        first = self.conv1(x)
        trans1 = self.trans1(self.block1(first))
        trans2 = self.trans2(self.block2(trans1))
        penultimate = functional.relu(self.bn1(self.block3(trans2))).mean(dim=(2, 3))
        return {
            "conv1": first,
            "trans1": trans1,
            "trans2": trans2,
            "penultimate": penultimate,
            "logits": self.fc(penultimate),
        }


class DenseBlock(nn.Module):
    """Layers of which each sees the outputs of all before it."""

    def __init__(self, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(*(BottleneckLayer(inputs + i * growth, growth) for i in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, inputs + count * growth, H, W)."""
        out: Tensor = self.layer(x)
        return out


class BottleneckLayer(nn.Module):
    """Norm, ReLU, 1 x 1 convolution to 4 * growth channels; norm, ReLU, 3 x 3 convolution to growth channels."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, inputs + growth, H, W), the new channels last."""
        out = self.conv1(functional.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.bn2(out)))], dim=1)


class Transition(nn.Module):
    """Norm, ReLU, 1 x 1 convolution, and an average over 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / 2, W / 2)."""
        return functional.avg_pool2d(self.conv1(functional.relu(self.bn1(x))), 2)
