"""Scores and classes of images at one fixed batch shape, so that no result depends on how many images there are."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.detectors.base import Detector
from bench.errors import CellError
from bench.threat_models.base import untouched

Scores = NDArray[np.float32]


def score_images(detector: Detector, images: Tensor, micro_batch: int) -> Scores:
    """(N,) float32 scores of the untouched detector, without gradients.

    Args:
        detector: Any detector; its mode and the global random state are left as they were.
        images: (N, C, H, W) in [0, 1] on the detector's device.
        micro_batch: The batch shape; the last batch is padded with copies of its last image.
    """
    scores = _in_batches(detector, detector.score, images, micro_batch)
    if scores.shape != (len(images),):
        raise CellError(f"{type(detector).__name__} scored {len(images)} images as {tuple(scores.shape)}; give (N,).")
    return np.asarray(scores.to(torch.float32).cpu().numpy())


def predict_classes(detector: Detector, images: Tensor, micro_batch: int) -> NDArray[np.int64]:
    """(N,) classes that the classifier inside predicts; -1 without one. Arguments as in `score_images`."""
    with untouched(detector), torch.no_grad():
        if detector.logits(images[:1]) is None:
            return np.full(len(images), -1, dtype=np.int64)
    logits = _in_batches(detector, lambda x: _present(detector.logits(x)), images, micro_batch)
    return np.asarray(logits.argmax(dim=1).cpu().numpy().astype(np.int64))


def device_of(detector: Detector) -> torch.device:
    """Where a detector lies; the CPU for one without any tensor."""
    tensor = next(iter((*detector.parameters(), *detector.buffers())), None)
    return tensor.device if tensor is not None else torch.device("cpu")


def _in_batches(detector: Detector, function: Callable[[Tensor], Tensor], images: Tensor, size: int) -> Tensor:
    parts = []
    with untouched(detector), torch.no_grad():
        for start in range(0, len(images), size):
            chosen = images[start : start + size]
            # A fresh tensor, for its strides: with one channel they are ambiguous, and convolutions choose their
            # kernel by them, so that the same image would get scores that differ in the last place.
            batch = images.new_empty((size, *images.shape[1:]))
            batch[: len(chosen)] = chosen
            batch[len(chosen) :] = chosen[-1]
            parts.append(function(batch)[: len(chosen)])
    return torch.cat(parts)


def _present(logits: Tensor | None) -> Tensor:
    if logits is None:
        raise CellError("the detector gave logits for one image and none for another.")
    return logits
