"""The card of a detector: a method, and on each track its network, weights, training and thresholds."""

import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from bench.cards.base import Card, MethodPath, Name, Paper, RelativeFile, Sha256, Text, content_hash
from bench.errors import NoSettingsError, UsageError


class ThresholdSource(StrEnum):
    """Which clean ID images a threshold is taken from; never test images."""

    CALIBRATION = "calibration"
    TRAIN = "train"


class NetworkSpec(Card):
    """The network behind a detector, and what happens to an image before it."""

    method: MethodPath
    args: dict[str, Any] = {}
    crop: int | None = Field(default=None, ge=1)  # centre crop, the exact inverse of a track's zero padding
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class WeightsSpec(Card):
    """A safetensors file below `detectors/weights` of a workspace, or in the weights cache."""

    file: RelativeFile
    sha256: Sha256 | None = None
    source: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = None


class TrainingSpec(Card):
    """The recipe that makes the last of the weights files."""

    recipe: MethodPath
    args: dict[str, Any] = {}
    seed: int = 0


class RecordedSpec(Card):
    """Figures that were measured with these weights, so that a wrong checkpoint is noticed."""

    id_accuracy: float | None = Field(default=None, ge=0, le=1)
    clean_auroc: float | None = Field(default=None, ge=0, le=1)  # mean over natural OOD sets


def _percentiles(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(not 0 <= value < 100 for value in values):
        raise ValueError("every percentile must be 0 up to below 100")
    if len(set(values)) < len(values):
        raise ValueError("every percentile must be given once")
    return values


DEFAULT_RECALL = 0.95
"""The share of clean ID images that a threshold accepts where a card names no other."""


class ThresholdSpec(Card):
    """At which threshold detection rates are taken: the one that accepts a share of some clean ID images.

    The share is `recall`, 95 % unless the card says otherwise, for the threshold of all classes and for those by class.

    With `percentiles` the card also declares that the detector's logits are class-conditional scores, such as
    log p(x|y): each class then has a threshold at each percentile of the scores that the images of the class have for
    it, and classification with rejection is measured at them.
    """

    source: ThresholdSource = ThresholdSource.CALIBRATION  # train: only where a paper does so
    recall: float = Field(default=DEFAULT_RECALL, gt=0, le=1)  # another: only where a paper names one
    per_class: bool = False  # one threshold for each class that the detector predicts
    percentiles: Annotated[tuple[float, ...], AfterValidator(_percentiles)] = ()
    correct_only: bool = True  # percentiles are of the images that are classified correctly

    @model_serializer(mode="wrap")
    def _without_the_default_recall(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump names the recall where it is another one: cards of before `recall` have the hashes they had."""
        content: dict[str, Any] = handler(self)
        if self.recall == DEFAULT_RECALL:
            content.pop("recall", None)
        return content


class DetectorOnTrack(Card):
    """What a detector needs on one track."""

    network: NetworkSpec | None = None
    params: dict[str, Any] = {}
    weights: tuple[WeightsSpec, ...] = ()
    training: TrainingSpec | None = None
    recorded: RecordedSpec = RecordedSpec()
    micro_batch: int = Field(default=128, ge=1, le=4096)  # images a pass; where it is not given, fewer of large images


class VariantSpec(Card):
    """Another form of the same detector: `NAME.VARIANT` on the command line.

    One that names tracks stands on those alone; one that names none is the detector with other parameters.
    """

    summary: Text
    params: dict[str, Any] = {}
    thresholds: ThresholdSpec | None = None  # in place of the card's, as for a variant that tells no classes apart
    tracks: dict[Name, DetectorOnTrack] = {}


class DetectorCard(Card):
    """A method that gives every image a score, with its settings and weights for each track."""

    name: Name
    version: int = Field(default=1, ge=1)
    summary: Text
    method: MethodPath
    paper: Paper | None = None
    params: dict[str, Any] = {}
    tuned_on: Text = "nothing"
    extra_data: Text = "none"
    thresholds: ThresholdSpec = ThresholdSpec()
    fit_when_loaded: bool = False  # `fit` sees the training images on every load, and nothing of it is saved
    tracks: dict[Name, DetectorOnTrack] = {}
    variants: dict[Name, VariantSpec] = {}

    def on_track(self, track: str, variant: str | None = None) -> "DetectorSpec":
        """The settings in force for one track and variant.

        Args:
            track: A track's name.
            variant: One of the card's variants, or None for the plain detector.

        Raises:
            NoSettingsError: The card has no settings for the track.
            UsageError: The card has no such variant.
        """
        if variant is not None and variant not in self.variants:
            known = ", ".join(f"{self.name}.{v}" for v in self.variants) or "none"
            raise UsageError(f"detector '{self.name}' has no variant '{variant}'; its variants: {known}.")
        chosen = self.variants[variant] if variant else None
        name = f"{self.name}.{variant}" if variant else self.name
        tracks = chosen.tracks if chosen and chosen.tracks else self.tracks
        if track not in tracks:
            known = ", ".join(tracks) or "none"
            raise NoSettingsError(f"detector '{name}' has no settings for track '{track}'; its tracks: {known}.")
        here = tracks[track]
        recorded = here.recorded
        if chosen and not chosen.tracks:  # other parameters: the same classifier, but not the same AUROC
            recorded = RecordedSpec(id_accuracy=recorded.id_accuracy)
        params = {**self.params, **(chosen.params if chosen else {}), **here.params}
        return DetectorSpec(
            name=name, track=track, version=self.version, method=self.method, params=params,
            network=here.network, weights=here.weights, training=here.training, recorded=recorded,
            thresholds=chosen.thresholds if chosen and chosen.thresholds else self.thresholds,
            fit_when_loaded=self.fit_when_loaded,
            micro_batch=here.micro_batch if "micro_batch" in here.model_fields_set else None,
        )  # fmt: skip


def default_micro_batch(shape: tuple[int, int, int]) -> int:
    """128 images of up to 3x32x32 pixels, and fewer of larger ones, down to 8: powers of two, about the same pixels.

    A function of the images' shape alone: one that followed the number of images would give other last places of the
    same scores under another limit.
    """
    size = _MOST_AT_ONCE
    while size > _FEWEST_AT_ONCE and size * math.prod(shape) > _MOST_AT_ONCE * 3 * 32 * 32:
        size //= 2
    return size


_MOST_AT_ONCE, _FEWEST_AT_ONCE = 128, 8


class DetectorSpec(Card):
    """A detector on one track, resolved."""

    name: str
    track: Name
    version: int
    method: MethodPath
    params: dict[str, Any]
    network: NetworkSpec | None
    weights: tuple[WeightsSpec, ...]
    training: TrainingSpec | None
    recorded: RecordedSpec
    thresholds: ThresholdSpec = ThresholdSpec()
    fit_when_loaded: bool = False
    micro_batch: int | None = None

    def batch_of(self, shape: tuple[int, int, int]) -> int:
        """The batch shape in which images of a shape (C, H, W) are scored: the card's, or one that suits their size."""
        return default_micro_batch(shape) if self.micro_batch is None else self.micro_batch

    def content_hash(self) -> str:
        """sha256 of what the scores depend on: weights count by their files' own sha256, records and recipes do not."""
        return content_hash(self.model_dump(mode="json", exclude={"weights", "training", "recorded", "micro_batch"}))
