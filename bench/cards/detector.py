"""The card of a detector: a method, and on each track its network, weights, training and thresholds."""

import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from bench.cards.base import Card, MethodPath, Name, Paper, Text, content_hash
from bench.cards.network import Base, NetworkSpec, RecordedSpec, TrainingSpec, WeightsSpec
from bench.errors import NoSettingsError, UsageError


class ThresholdSource(StrEnum):
    """Which clean ID images a threshold is taken from; never test images."""

    CALIBRATION = "calibration"
    TRAIN = "train"


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
    """A method that gives every image a score, with its settings and weights for each track.

    One that is `on_network` is a score on any network: `NAME@NETWORK`, or on the track's own where none is named. What
    it says of a track then holds on the track's own network.
    """

    name: Name
    version: int = Field(default=1, ge=1)
    summary: Text
    method: MethodPath
    paper: Paper | None = None
    params: dict[str, Any] = {}
    tuned_on: Text = "nothing"
    extra_data: Text = "none"
    thresholds: ThresholdSpec = ThresholdSpec()
    on_network: bool = False  # a score that stands on any network
    fit_when_loaded: bool = False  # `fit` sees the training images where no weights file holds what it finds
    tracks: dict[Name, DetectorOnTrack] = {}
    variants: dict[Name, VariantSpec] = {}

    @model_serializer(mode="wrap")
    def _named_where_it_is_so(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump names `on_network` where it is true: cards of before it have the hashes they had."""
        content: dict[str, Any] = handler(self)
        if not self.on_network:
            content.pop("on_network", None)
        return content

    def on(self, base: Base, track: str, variant: str | None = None) -> "DetectorSpec":
        """The settings in force on a network.

        Args:
            base: The network, with its weights.
            track: A track's name.
            variant: One of the card's variants, or None for the plain detector.

        Raises:
            UsageError: The card has no such variant.
        """
        self._check_variant(variant)
        chosen = self.variants[variant] if variant else None
        name = f"{self.name}.{variant}" if variant else self.name
        tracks = chosen.tracks if chosen and chosen.tracks else self.tracks
        here = tracks.get(track, DetectorOnTrack()) if base.default else DetectorOnTrack()
        training = here.training if here.weights else base.training
        return DetectorSpec(
            name=name if base.default else f"{name}@{base.name}",
            track=track,
            version=self.version,
            method=self.method,
            params={**self.params, **(chosen.params if chosen else {}), **here.params},
            network=base.network,
            weights=(*base.weights, *here.weights),
            training=training,
            recorded=RecordedSpec(
                id_accuracy=base.recorded.id_accuracy,
                clean_auroc=None if chosen and not chosen.tracks else here.recorded.clean_auroc,
            ),
            thresholds=chosen.thresholds if chosen and chosen.thresholds else self.thresholds,
            fit_when_loaded=self.fit_when_loaded and not here.weights,
            micro_batch=here.micro_batch if "micro_batch" in here.model_fields_set else base.micro_batch,
        )

    def _check_variant(self, variant: str | None) -> None:
        if variant is not None and variant not in self.variants:
            known = ", ".join(f"{self.name}.{v}" for v in self.variants) or "none"
            raise UsageError(f"detector '{self.name}' has no variant '{variant}'; its variants: {known}.")

    def on_track(self, track: str, variant: str | None = None) -> "DetectorSpec":
        """The settings in force for one track and variant.

        Args:
            track: A track's name.
            variant: One of the card's variants, or None for the plain detector.

        Raises:
            NoSettingsError: The card has no settings for the track.
            UsageError: The card has no such variant.
        """
        self._check_variant(variant)
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
            name=name,
            track=track,
            version=self.version,
            method=self.method,
            params=params,
            network=here.network,
            weights=here.weights,
            training=here.training,
            recorded=recorded,
            thresholds=chosen.thresholds if chosen and chosen.thresholds else self.thresholds,
            fit_when_loaded=self.fit_when_loaded,
            micro_batch=here.micro_batch if "micro_batch" in here.model_fields_set else None,
        )


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
