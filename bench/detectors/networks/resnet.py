"""The ResNets for 32 x 32 images of He et al. (2016), section 4.2."""

from torch import Tensor, nn
from torch.nn import functional

from bench.detectors.networks.base import Network


class ResNet(Network):
    """A CIFAR ResNet of depth 6 * blocks + 2 with parameter-free shortcuts.

    He, Zhang, Ren and Sun (2016), "Deep residual learning for image recognition", section 4.2, shortcut option A:
    where a stage halves the image, the shortcut takes every second pixel and pads the new channels with zeros, half
    of them on either side. Modules are named as in the published ResNet-20 checkpoint. Takes images of any even size.

    The activations are the first convolution's (N, 16, H, W), those of the first two stages, and "penultimate"
    (N, 64), which is the last stage averaged over the image: its unpooled form is left out, since a method that
    pools every layer would count it twice.

    Args:
        classes: The number of logits.
        channels: Channels of the image.
        blocks: Residual blocks a stage; 3 makes ResNet-20.
    """

    layers = ("conv1", "stage1", "stage2", "penultimate", "logits")

    def __init__(self, classes: int = 10, channels: int = 3, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, H, W) normalised images."""
        first = functional.relu(self.bn1(self.conv1(x)))
        stage1 = self.layer1(first)
        stage2 = self.layer2(stage1)
        penultimate = self.layer3(stage2).mean(dim=(2, 3))
        return {
            "conv1": first,
            "stage1": stage1,
            "stage2": stage2,
            "penultimate": penultimate,
            "logits": self.linear(penultimate),
        }


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.new_channels:
            before = self.new_channels // 2
            x = functional.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
        return functional.relu(out + x)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
