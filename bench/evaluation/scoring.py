"""Scores and classes of images at one fixed batch shape, so that no result depends on how many images there are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, score_type
from bench.detectors.networks.passes import asked_anew
from bench.detectors.untouched import untouched
from bench.errors import CellError
from bench.evaluation.pixels import Pixels
from bench.metrics.scores import Scores, as_scores
from bench.threat_models.base import Context
from bench.threat_models.objectives import mean_score

Logits = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Draws:
    """Which draws of its noise a random detector is scored with: others than an attack saw, which are the first ones.

    Attributes:
        ids: (N,) sample ids.
        seed: The cell's seed.
        round: 1 for a first score; a later one where an image was chosen by the score of an earlier one.
    """

    ids: Tensor
    seed: int = 0
    round: int = 1


def score_images(detector: Detector, images: Tensor | Pixels, micro_batch: int, draws: Draws) -> Scores:
    """(N,) scores of the untouched detector, without gradients.

    Args:
        detector: Any detector; its mode and the global random state are left as they were.
        images: (N, C, H, W) in [0, 1] on the detector's device, or what converts them batch by batch.
        micro_batch: The batch shape; the last batch is padded with copies of its last image.
        draws: Where the noise of a random detector comes from.
    """
    if drawn := draws_of(detector):
        context = Context(Side.EVADE, seed=draws.seed, draws=drawn)
        ids = draws.ids.to(images.device)

        def averaged(x: Tensor, rows: Tensor) -> Tensor:
            return mean_score(detector, x, ids[rows], context, first=draws.round * drawn)

        scores = _in_batches(detector, averaged, images, micro_batch)
    else:
        scores = _in_batches(detector, lambda x, rows: detector.score(x), images, micro_batch)
    if scores.shape != (len(images),):
        raise CellError(f"{detector.title} scored {len(images)} images as {tuple(scores.shape)}; give (N,).")
    return _array(scores)


def asked_twice(detector: Detector, images: Tensor | Pixels, micro_batch: int) -> float | None:
    """The largest difference of two scores of one image, in one batch that is asked twice, also of shared networks.

    Args:
        detector: Any detector.
        images: (N, C, H, W) in [0, 1]; the first batch of them is asked.
        micro_batch: The batch shape.

    Returns:
        0 where the score is a function of the image; None of a detector that declares that it is random.
    """
    if detector.info.random:
        return None

    def twice(x: Tensor, rows: Tensor) -> Tensor:
        return torch.stack([detector.score(x.clone()) for _ in (0, 1)], dim=1)

    with asked_anew(detector):
        once, again = _in_batches(detector, twice, images[:micro_batch], micro_batch).T
    return float((once - again).abs().double().max())


def predict_classes(detector: Detector, images: Tensor | Pixels, micro_batch: int) -> NDArray[np.int64]:
    """(N,) classes that the classifier inside predicts; -1 without one. Arguments as in `score_images`."""
    logits = class_logits(detector, images, micro_batch)
    return classes_of(logits) if logits is not None else np.full(len(images), -1, dtype=np.int64)


def class_logits(detector: Detector, images: Tensor | Pixels, micro_batch: int) -> Logits | None:
    """(N, K) logits of the classifier inside; None without one. Arguments as in `score_images`."""
    return _optional(detector, detector.logits, images, micro_batch, what="logits")


def classes_of(logits: Logits) -> NDArray[np.int64]:
    """(N,) the class of the largest logit."""
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def image_bits(detector: Detector, images: Tensor | Pixels, micro_batch: int) -> Scores | None:
    """(N,) bits per dimension; None without a density. Arguments as in `score_images`."""
    return _one_each(detector, detector.bits_per_dim, images, micro_batch, what="bits per dimension")


def score_bounds(
    detector: Detector, images: Tensor | Pixels, micro_batch: int, *, norm: Norm, eps: float
) -> Scores | None:
    """(N,) certified upper bounds of the score in the ball; None without a certificate.

    Further arguments as in `score_images`.
    """

    def bound(x: Tensor) -> Tensor | None:
        return detector.bound(x, norm, eps)

    return _one_each(detector, bound, images, micro_batch, what="a bound")


def draws_of(detector: Detector) -> int:
    """Over how many draws of its noise a detector's score is averaged; 0 of one that is not random."""
    return detector.info.draws if detector.info.random else 0


def device_of(detector: Detector) -> torch.device:
    """Where a detector lies; the CPU for one without any tensor."""
    tensor = next(iter((*detector.parameters(), *detector.buffers())), None)
    return tensor.device if tensor is not None else torch.device("cpu")


def _array(values: Tensor) -> Scores:
    return as_scores(values.to(score_type(values.dtype)).cpu().numpy())


def _in_batches(
    detector: Detector, function: Callable[[Tensor, Tensor], Tensor], images: Tensor | Pixels, size: int
) -> Tensor:
    """What the function gives for images and their positions, in batches of one shape."""
    # One block for all batches: many small ones among the freed activations would hold the heap open.
    found: Tensor | None = None
    with untouched(detector), torch.no_grad():
        for start in range(0, len(images), size):
            chosen = images[start : start + size]
            # A fresh tensor, for its strides: with one channel they are ambiguous, and convolutions choose their
            # kernel by them, so that the same image would get scores that differ in the last place.
            batch = chosen.new_empty((size, *chosen.shape[1:]))
            batch[: len(chosen)] = chosen
            batch[len(chosen) :] = chosen[-1]
            rows = torch.arange(start, start + size, device=images.device).clamp(max=len(images) - 1)
            values = function(batch, rows)[: len(chosen)]
            if found is None:
                found = values.new_empty((len(images), *values.shape[1:]))
            if values.shape != (len(chosen), *found.shape[1:]):
                raise CellError(
                    f"{detector.title} gave {tuple(values.shape)} for {len(chosen)} images; give one an image."
                )
            found[start : start + len(chosen)] = values
    assert found is not None, "there is an image"
    return found


def _optional(
    detector: Detector, function: Callable[[Tensor], Tensor | None], images: Tensor | Pixels, size: int, *, what: str
) -> Scores | None:
    """What the detector gives for every image, or None where it gives none for the first."""
    with untouched(detector), torch.no_grad():
        if function(images[:1]) is None:
            return None

    def present(x: Tensor, rows: Tensor) -> Tensor:
        if (values := function(x)) is None:
            raise CellError(f"{detector.title} gave {what} for one image and none for another.")
        return values

    return _array(_in_batches(detector, present, images, size))


def _one_each(
    detector: Detector, function: Callable[[Tensor], Tensor | None], images: Tensor | Pixels, size: int, *, what: str
) -> Scores | None:
    """The same where there must be one number for each image."""
    values = _optional(detector, function, images, size, what=what)
    if values is not None and values.shape != (len(images),):
        raise CellError(f"{detector.title} gave {what} for {len(images)} images as {values.shape}; give (N,).")
    return values
