"""The parts of a classifier by the names under which detectors of pytorch-ood ask for them."""

from functools import cached_property

from torch import Tensor, nn

from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.head import linear_head


class Parts:
    """One attribute a constructor argument; modules, so that a copy of a detector copies them with its network.

    Args:
        network: The classifier.
        classes: The number of ID classes.
        shape: (C, H, W) of the images.
        chained: The detector takes a list of layers, each of which is called with what the one before it gave.
        hooked: The detector puts hooks on `layers` of its model.
    """

    def __init__(
        self, network: FromPixels, classes: int, shape: tuple[int, int, int], *, chained: bool, hooked: bool
    ) -> None:
        self.num_classes = classes
        self._network = network
        self._shape = shape
        self._chained = chained
        self._hooked = hooked
        self._seen: dict[str, Tensor] = {}

    def forget(self) -> None:
        """Drop the activations of the last images, and the graph behind them."""
        self._seen.clear()

    @cached_property
    def model(self) -> nn.Module | list[nn.Module]:
        """From images to logits; for a detector of several layers, these."""
        if self._chained:
            return self.feature_layers
        return nn.Sequential(self.encoder, *self.layers, self.linear) if self._hooked else self._network

    @cached_property
    def encoder(self) -> nn.Module:
        """From images to (N, D) penultimate features."""
        return _Penultimate(self._network)

    @cached_property
    def layers(self) -> list[nn.Module]:
        """What hooks are put on: the penultimate features go through it on their way to the logits."""
        return [nn.Identity()]

    @cached_property
    def backbone(self) -> nn.Module:
        """From images to (N, D, 1, 1) maps of the penultimate features, where ReAct clips and OpenOOD's ASH prunes."""
        return nn.Sequential(self.encoder, nn.Unflatten(1, (-1, 1, 1)))

    @cached_property
    def head(self) -> nn.Module:
        """From features to logits: a linear layer; for a detector of several layers, their end."""
        if self._chained:
            return _Replay(self._network, "logits", self._seen, first=False)
        return self.linear

    @cached_property
    def head_of_maps(self) -> nn.Module:
        """From (N, D, 1, 1) maps to logits."""
        return nn.Sequential(nn.Flatten(), self.linear)

    @cached_property
    def w(self) -> Tensor:
        """(K, D) weight of the last layer."""
        return self.linear.weight

    @cached_property
    def b(self) -> Tensor:
        """(K,) bias of the last layer."""
        return self.linear.bias

    @property
    def d(self) -> int:
        """Dimensions of ViM's principal subspace: half of the features'."""
        return self.linear.in_features // 2

    @property
    def p(self) -> float:
        """Share of the weights that DICE drops: that of its paper on CIFAR."""
        return 0.9

    @cached_property
    def feature_layers(self) -> list[nn.Module]:
        """All named activations before the logits, each by a layer of its own."""
        names = [name for name in self._network.layers if name != "logits"]
        return [_Replay(self._network, name, self._seen, first=name == names[0]) for name in names]

    @cached_property
    def linear(self) -> nn.Linear:
        """The layer from the penultimate features to the logits, found by trying.

        Raises:
            UsageError: The network has no such layer.
        """
        return linear_head(self._network, self._shape)


class _Penultimate(nn.Module):
    """From images to (N, D) penultimate features."""

    def __init__(self, network: FromPixels) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.activations(x)["penultimate"].flatten(1)


class _Replay(nn.Module):
    """One of a chain of layers: the first runs the network, and every one gives its own activation, as maps."""

    def __init__(self, network: FromPixels, layer: str, seen: dict[str, Tensor], *, first: bool) -> None:
        super().__init__()
        self.network, self.layer, self.seen, self.first = network, layer, seen, first

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            self.seen.update(self.network.activations(x))
        found = self.seen[self.layer]
        return found[:, :, None, None] if found.ndim == 2 and self.layer != "logits" else found
