"""Images at hand, as arrays, tensors or datasets of PyTorch: a track without a card's file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from bench.cards.base import Name
from bench.cards.track import RESERVED, OodSpec, SetSpec, TrackCard
from bench.datasets.base import ImageSet, content_digest, sample_ids
from bench.datasets.track import Track
from bench.errors import IMAGES_ONLY, DataError, UsageError, shorten

SOURCE = "given"
"""The source that the card of such a track names: no file, but what was handed in."""

_CHANNELS = (1, 3)
_ROUNDING = 1e-3
"""Of a pixel, in [0, 1]: images that rounding to 8 bits moves further get a note."""


@dataclass(frozen=True)
class _GivenSet:
    """(N, C, H, W) uint8 images, (N,) int64 labels, and what there is to say of them."""

    images: np.ndarray
    labels: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return content_digest(self.images.transpose(0, 2, 3, 1), self.labels)


class GivenTrack(Track):
    """A track whose images are in memory already; `make_track` makes it.

    Args:
        card: Its card, whose sets have the source "given".
        sets: The images of each set; "train" may be missing.
    """

    def __init__(self, card: TrackCard, sets: Mapping[str, _GivenSet]) -> None:
        super().__init__(card)
        self._images_at_hand = dict(sets)

    def _load(self, name: str, spec: SetSpec) -> ImageSet:
        given = self._images_at_hand.get(name)
        if given is None:
            raise DataError(
                f"track '{self.card.name}' was made without training images, and what is asked for is found in them: "
                "give them to make_track as train=images."
            )
        images, labels = torch.from_numpy(given.images), torch.from_numpy(given.labels)
        return ImageSet(name, images, labels, sample_ids(name, len(images)), str(spec.digest), notes=given.notes)


def make_track(
    test: Any,
    ood: Mapping[str, Any],
    *,
    train: Any = None,
    calibration: Any = None,
    classes: int | None = None,
    name: str = "images",
) -> Track:
    """A track of images at hand, for `bench.evaluate` and `bench.load_detector`.

    Images are an array or a tensor, (N, C, H, W), or (N, H, W, C) or (N, H, W), C = 1 or 3, either uint8 or floats in
    [0, 1]; or a dataset whose items are such images or PIL's, alone or as (image, label). (images, labels) gives labels
    beside an array. All sets have one shape. Floats are rounded to 8 bits, as images of files are, and a note says so
    where that changes them.

    Args:
        test: ID images that figures are about.
        ood: OOD images by the name of their set; all of them enter the mean.
        train: Labelled ID images, which scores are fitted to; None where nothing needs them.
        calibration: ID images on which thresholds are set; None sets them on the test images, and a note says so.
        classes: The number of ID classes; None counts the labels, and is 1 without any.
        name: Of the track, in tables: small letters, digits and '-'.

    Raises:
        UsageError: In one sentence, what cannot be taken and why.
    """
    _check_names(ood, name, classes)
    given = {"test": test, "calibration": calibration, "train": train, **ood}
    sets = {part: _given_set(images, part) for part, images in given.items() if images is not None}
    if calibration is None:
        notes = ("thresholds are set on the test images themselves: no calibration images were given.",)
        sets["calibration"] = _GivenSet(sets["test"].images, sets["test"].labels, notes)
    shapes = {part: found.images.shape[1:] for part, found in sets.items()}
    odd = next((part for part, shape in shapes.items() if shape != shapes["test"]), None)
    if odd is not None:
        raise UsageError(
            f"images of '{odd}' have shape {shapes[odd]} and those of 'test' {shapes['test']}; bring them to one shape."
        )
    counted = max(int(sets[part].labels.max()) for part in ("test", "calibration", "train") if part in sets) + 1
    declared = {part: {"source": SOURCE, "digest": found.digest} for part, found in sets.items()}
    card = TrackCard(
        name=name,
        summary="images that were given as they are",
        shape=shapes["test"],
        classes=max(1, counted) if classes is None else classes,
        test=SetSpec.model_validate(declared["test"]),
        calibration=SetSpec.model_validate(declared["calibration"]),
        train=SetSpec.model_validate(declared.get("train", {"source": SOURCE})),
        ood={part: OodSpec.model_validate(declared[part]) for part in ood},
    )
    return GivenTrack(card, sets)


def _check_names(ood: object, name: str, classes: int | None) -> None:
    if not isinstance(ood, Mapping) or not ood:
        raise UsageError("ood must be a dict of OOD images by the name of their set, with one at least.")
    for each in (name, *ood):
        try:
            TypeAdapter(Name).validate_python(each)
        except ValidationError as error:
            raise UsageError(
                f"{shorten(each)} is no name of a set or track; give small letters, digits and '-'."
            ) from error
    if taken := set(ood) & RESERVED:
        raise UsageError(f"an OOD set cannot be called '{min(taken)}'; give it another name.")
    if classes is not None and classes < 1:
        raise UsageError(f"classes is {classes}; give the number of ID classes, 1 or more.")


def _given_set(given: Any, part: str) -> _GivenSet:
    """What was given for one set.

    Raises:
        UsageError: It is no set of images.
    """
    what = f"images of '{part}'"
    images, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(images, np.ndarray | Tensor):
        images, labels = _items(images, labels, what)
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    pixels, notes = _to_bytes(_channels_first(array, what), what)
    return _GivenSet(pixels, _labels(labels, len(pixels), part), notes)


def _items(dataset: Any, labels: Any, what: str) -> tuple[np.ndarray, Any]:
    """The items of a dataset, one after the other."""
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) or isinstance(dataset, str | Mapping):
        raise UsageError(
            f"{what} are of type {type(dataset).__name__}; give an array, a tensor or a dataset of images (a folder "
            "becomes a track by `bench new track`)."
        )
    found, told = [], []
    for index in range(len(dataset)):
        item = dataset[index]
        image, *more = item if isinstance(item, tuple | list) else (item,)
        found.append(image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image))
        told.append(more[0] if more else -1)
    if not found:
        raise UsageError(f"{what} are none; give one image at least.")
    shapes = {image.shape for image in found}
    if len(shapes) > 1:
        raise UsageError(f"{what} have shapes {' and '.join(map(str, sorted(shapes)[:2]))}; bring them to one.")
    return np.stack(found), told if labels is None else labels


def _channels_first(images: np.ndarray, what: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4:
        raise UsageError(f"{what} are an array of shape {images.shape}; {IMAGES_ONLY}.")
    if images.shape[1] not in _CHANNELS and images.shape[3] in _CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1] not in _CHANNELS or not images.size:
        raise UsageError(f"{what} are an array of shape {images.shape}; give (N, C, H, W) with C = 1 or 3 and N > 0.")
    return images


def _to_bytes(images: np.ndarray, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images), ()
    if not np.issubdtype(images.dtype, np.floating):
        raise UsageError(f"{what} are of type {images.dtype}; give uint8, or floats in [0, 1].")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN too
        raise UsageError(
            f"{what} lie between {low:.4g} and {high:.4g}; give pixels in [0, 1], and let the network normalise them."
        )
    rounded = np.rint(images * 255.0).astype(np.uint8)
    moved = float(np.abs(rounded / 255.0 - images).max())
    note = f"pixels were rounded to 8 bits, which moves them by up to {moved:.4f}."
    return np.ascontiguousarray(rounded), (note,) if moved > _ROUNDING else ()


def _labels(given: Any, count: int, part: str) -> np.ndarray:
    if given is None:
        return np.full(count, -1, dtype=np.int64)
    try:
        labels = np.asarray(given.cpu() if isinstance(given, Tensor) else given).astype(np.int64, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise UsageError(f"labels of '{part}' are no whole numbers; give one class number an image.") from error
    if labels.shape != (count,):
        raise UsageError(f"labels of '{part}' have shape {labels.shape}; give one for each of {count} images.")
    return labels
