"""Small published networks of others' papers, as plain modules: their parameters bear the names of the checkpoints."""

from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions with biases and no normalisation; a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H', W')."""
        inner: Tensor = self.conv2(self.conv1(x).relu())
        outer: Tensor = (inner + self.shortcut(x)).relu()
        return outer


class ResNet4b(nn.Module):
    """The adversarially trained CIFAR-10 "resnet4b" of the verification benchmarks of alpha-beta-CROWN.

    Wang et al. (2021), "Beta-CROWN: Efficient Bound Propagation with Per-neuron Split Constraints for Neural Network
    Robustness Verification". 3x32x32 images.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
        self.layer1 = nn.Sequential(_Block(16, 32, 2), _Block(32, 32, 1))
        self.layer2 = nn.Sequential(_Block(32, 32, 2), _Block(32, 32, 1))
        self.linear1 = nn.Linear(512, 100)
        self.linear2 = nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> (N, classes) logits."""
        maps = self.layer2(self.layer1(self.conv1(x).relu()))
        logits: Tensor = self.linear2(self.linear1(maps.flatten(1)).relu())
        return logits


def cnn_a(channels: int = 3, side: int = 32, classes: int = 10) -> nn.Module:
    """The "CNN-A" of Dathathri et al. (2020): two strided convolutions and two linear layers.

    "Enabling certification of verification-agnostic networks via memory-efficient semidefinite programming".

    Args:
        channels: Of the images.
        side: Of the images: 32, or 28.
        classes: Number of logits.
    """
    inner = side // 4
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * inner * inner, 100), nn.ReLU(), nn.Linear(100, classes),
    )  # fmt: skip
