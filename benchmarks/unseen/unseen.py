"""Two classifiers of other shapes and other training than the shipped ones, on which no attack was ever tuned."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

from bench.training.base import as_attackers_meet_it
from bench.training.classifier import Classifier, ClassifierArgs

# --------------------------------------------------------------------------- architectures


class PatchTransformer(nn.Module):
    """A vision transformer of 32x32 grey images: patches of 8, three blocks, GELU, layer norm, the mean over tokens."""

    def __init__(self, num_classes: int = 10, width: int = 48, blocks: int = 3, heads: int = 4, patch: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, (32 // patch) ** 2, width))
        self.blocks = nn.Sequential(*(
            nn.TransformerEncoderLayer(
                width, heads, 3 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        ))  # fmt: skip
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, K) logits."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return logits


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, group norm and SiLU before each."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, width), nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.GroupNorm(8, out), nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(width, out, 1, stride) if stride > 1 or width != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        inner = self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))
        found: Tensor = self.shortcut(x) + inner
        return found


class WideResidual(nn.Module):
    """A shallow, wide residual network of 32x32 grey images: 4x4 patches, a block of 32 and one of 64 channels."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 4, stride=4)
        self.block1, self.block2 = Block(32, 32, 1), Block(32, 64, 2)
        self.norm = nn.GroupNorm(8, 64)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, K) logits."""
        maps = silu(self.norm(self.block2(self.block1(self.stem(x)))))
        logits: Tensor = self.head(maps.mean(dim=(2, 3)))
        return logits


# --------------------------------------------------------------------------- training


class MixedArgs(ClassifierArgs):
    """Arguments of `Mixed`."""

    smoothing: float = 0.1


class Mixed(Classifier):
    """Mixup (Zhang et al. 2018) with weights uniform in [0, 1], and smoothed labels."""

    Args = MixedArgs
    args: MixedArgs

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on a batch mixed with itself."""
        x, y = self.labelled(generator)
        share = float(torch.rand((), generator=generator))
        other = torch.randperm(len(x), generator=generator).to(x.device)
        logits = self.logits(share * x + (1 - share) * x[other])
        smoothing = self.args.smoothing
        loss = share * cross_entropy(logits, y, label_smoothing=smoothing)
        loss = loss + (1 - share) * cross_entropy(logits, y[other], label_smoothing=smoothing)
        self.update(loss, self.lr_at(number))
        return {"loss": float(loss.detach())}


class WithstandingArgs(ClassifierArgs):
    """Arguments of `Withstanding`; lengths in [0, 1] pixel units (L-infinity)."""

    eps: float = 8 / 255
    ascents: int = 3


class Withstanding(Classifier):
    """Adversarial training (Madry et al. 2018) of the classification, by signs of gradients from a random start."""

    Args = WithstandingArgs
    args: WithstandingArgs

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on the worst images that a few ascents find."""
        clean, y = self.labelled(generator)
        eps = self.args.eps
        x = clean + eps * (2 * torch.rand(clean.shape, generator=generator).to(clean.device) - 1)
        with as_attackers_meet_it(self.detector):
            for _ in range(self.args.ascents):
                x = x.clamp(0, 1).requires_grad_(True)
                (gradient,) = torch.autograd.grad(cross_entropy(self.logits(x), y), x)
                x = clean + (x.detach() + eps / 2 * gradient.sign() - clean).clamp(-eps, eps)
        loss = cross_entropy(self.logits(x.detach().clamp(0, 1)), y)
        self.update(loss, self.lr_at(number))
        return {"loss": float(loss.detach())}
