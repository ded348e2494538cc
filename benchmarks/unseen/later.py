"""Two more such classifiers, made after the attacks had been changed by what the first two showed."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class Mixing(nn.Module):
    """One layer of an MLP-mixer: between tokens, then between channels, ReLU inside."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.between = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.ReLU(), nn.Linear(2 * tokens, tokens))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) to the same."""
        x = x + self.between(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """An MLP-mixer of 32x32 grey images: patches of 4, three layers, the mean over tokens."""

    def __init__(self, num_classes: int = 10, width: int = 48, layers: int = 3, patch: int = 4) -> None:
        super().__init__()
        tokens = (32 // patch) ** 2
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.layers = nn.Sequential(*(Mixing(tokens, width) for _ in range(layers)))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, K) logits."""
        logits: Tensor = self.head(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))
        return logits


class SmoothStack(nn.Module):
    """Four convolutions with batch norm, softplus and average pooling, and no ReLU anywhere, on 32x32 grey images."""

    def __init__(self, num_classes: int = 10, width: int = 16) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 2 * width, 4 * width)
        pairs = list(pairwise(widths))
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _, after in pairs)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(4 * width * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, K) logits."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.pool(softplus(norm(convolution(x)), beta=4.0))
        logits: Tensor = self.head(torch.flatten(x, 1))
        return logits
