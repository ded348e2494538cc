"""A set of images as a score's fit sees it: features, logits and labels, in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.datasets.base import ImageSet
from bench.detectors.fitting import Meter, batches

KEPT_NUMBERS = 1 << 27
"""Features and logits of up to this many numbers (half a gigabyte) are kept for a second pass; more are made anew."""


@dataclass(frozen=True)
class Batch:
    """Some images of the set.

    Attributes:
        features: (N, D) penultimate features.
        logits: (N, K).
        labels: (N,) int64; -1 where there is none.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


class TrainingFeatures:
    """The images of a set; iterate over it as often as needed.

    Args:
        images: The set.
        seen: From (N, C, H, W) images to features and logits, before any shaping.
        device: Where the network is.
        meter: Counts each image once, whatever the number of passes.
    """

    def __init__(
        self, images: ImageSet, seen: Callable[[Tensor], tuple[Tensor, Tensor]], device: torch.device, meter: Meter
    ) -> None:
        self._images, self._seen, self._device, self._meter = images, seen, device, meter
        self._kept: list[Batch] = []
        self._change: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
        self._counted = False

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._kept or self._computed():
            yield batch if self._change is None else self._changed(batch, self._change)

    def shaped(self, change: Callable[[Tensor], tuple[Tensor, Tensor]]) -> "TrainingFeatures":
        """The same set with features and logits as a function of its features."""
        view = TrainingFeatures(self._images, self._seen, self._device, self._meter)
        view._kept, view._counted, view._change = self._kept, self._counted, change
        return view

    def _computed(self) -> Iterator[Batch]:
        kept: list[Batch] = []
        for x, labels in batches(self._images, self._device):
            features, logits = self._seen(x)
            batch = Batch(features, logits, labels.to(features.device))
            if len(self) * (features.shape[1] + logits.shape[1]) <= KEPT_NUMBERS:
                kept.append(batch)
            if not self._counted:
                self._meter.add(len(x), "features")
            yield batch
        self._kept, self._counted = kept, True

    @staticmethod
    def _changed(batch: Batch, change: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Batch:
        features, logits = change(batch.features)
        return replace(batch, features=features, logits=logits)
