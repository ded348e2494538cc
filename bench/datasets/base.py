"""Sets of images as they are held in memory, and what training may see."""

import hashlib
import zlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bench.datasets.kept import Pages
from bench.errors import DataError
from bench.randomness import derive_seed

_FEW = 16
"""Images that are copied from a file before its pages are given back."""


@dataclass(frozen=True)
class RawImages:
    """What a source returns: images as they lie in their files, before a card's padding and choices.

    Attributes:
        images: (N, H, W, C) uint8, C = 1 or 3.
        labels: (N,) int64; -1 where there is none.
        skipped: What was passed over, counted and named: one sentence for every reason.
        notes: What else a figure may depend on: where labels come from, what was changed on reading.
        available: Images of the source before any cut; None where that is all of them.
        class_names: What the labels stand for, in their order; () where that is not known.
    """

    images: np.ndarray
    labels: np.ndarray
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    available: int | None = None
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSet:
    """One named set of a track.

    Attributes:
        name: The set's name in the track ("test", "letters", ...).
        images: (N, C, H, W) uint8; `pixels` gives them in [0, 1].
        labels: (N,) int64; -1 where there is none.
        ids: (N,) int64, the same for the same image of the same set, whatever the limit.
        digest: sha256 of the set's content (all of it, also where a limit took a part).
        skipped: What the source passed over, counted and named: one sentence for every reason.
        notes: What else a figure may depend on, a sentence each.
        available: Images of the source before any cut of the card; None where that is not known.
        form: In which form it lay on disk, where its card accepts several; "" where it accepts one.
        pages: Of the file that the images are read from; None where they stand in memory.
    """

    name: str
    images: Tensor
    labels: Tensor
    ids: Tensor
    digest: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    available: int | None = None
    form: str = ""
    pages: Pages | None = None

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """(N, C, H, W) float32 in [0, 1], of all images or of some.

        Always with the strides of a fresh tensor: with one channel they are ambiguous, and convolutions that choose
        their kernel by them would differ in the last place.
        """
        found = self.images[rows].to(torch.float32, memory_format=torch.contiguous_format) / 255.0
        self.was_read(found.numel())
        return found

    def was_read(self, count: int) -> None:
        """So many bytes of `images` were read by other ways than `pixels`: memory that holds them may be freed."""
        if self.pages is not None:
            self.pages.used(count)

    def limited(self, limit: int | None) -> "ImageSet":
        """At most `limit` images: the start of one fixed shuffle, so that a smaller choice lies in a larger one."""
        if limit is None or limit >= len(self):
            return self
        order = np.random.default_rng(derive_seed("limit", self.name)).permutation(len(self))[:limit]
        keep = torch.from_numpy(np.sort(order))
        part = self.images[keep] if self.pages is None else self._copied(keep, self.pages)
        return replace(self, images=part, labels=self.labels[keep], ids=self.ids[keep], pages=None)

    def _copied(self, rows: Tensor, pages: Pages) -> Tensor:
        """Some images of a file in memory; around each, the system maps more pages than were asked for."""
        found = torch.empty((len(rows), *self.images.shape[1:]), dtype=torch.uint8)
        for start in range(0, len(rows), _FEW):
            found[start : start + _FEW] = self.images[rows[start : start + _FEW]]
            pages.release()
        return found

    def required_labels(self, what: str) -> Tensor:
        """The labels of a set of which every image has one.

        Args:
            what: What needs them, for the sentence.

        Raises:
            DataError: Some images have none.
        """
        if unlabelled := int((self.labels < 0).sum()):
            has = "has no labels" if unlabelled == len(self) else f"has {unlabelled:,} images without a label"
            raise DataError(
                f"{what} needs labels, and the set '{self.name}' {has}: give them in its files, sort its images into "
                "class folders, or take a detector that needs none."
            )
        return self.labels


@dataclass(frozen=True)
class TrainingData:
    """What a recipe or `fit` may see: never a test image.

    Attributes:
        train: Labelled ID images.
        calibration: Held-out labelled ID images.
        outliers: Training outliers, disjoint from every OOD test set; None where the track has none.
        classes: The number of ID classes.
    """

    train: ImageSet
    calibration: ImageSet
    outliers: ImageSet | None
    classes: int


def sample_ids(name: str, count: int) -> Tensor:
    """(count,) int64 ids of a set's samples: the set's name in the high bits, the position in the low ones."""
    return (zlib.crc32(name.encode()) << 31) + torch.arange(count, dtype=torch.int64)


def content_digest(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of shape, pixels and labels.

    Args:
        images: (N, H, W, C) uint8.
        labels: (N,) int64.
    """
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images, dtype=np.uint8).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()
