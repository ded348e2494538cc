"""The cards as typed objects.

A card is YAML text that names a track, a detector or a threat and says everything that its numbers depend on. This
module knows their fields, checks them, and hashes them; where they lie is known to `bench.cards.catalog`.
"""

import hashlib
import json
import math
import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from bench.errors import NoSettingsError, UsageError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
MethodPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=4000)]


def _inside_folder(path: str) -> str:
    parts = path.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in parts):
        raise ValueError("must be a relative path of letters, digits, '.', '_' and '-' that stays in its folder")
    return path


RelativeFile = Annotated[str, StringConstraints(max_length=200), AfterValidator(_inside_folder)]


class Norm(StrEnum):
    """The norm of a perturbation, in [0, 1] pixel units."""

    L2 = "l2"
    LINF = "linf"


class Side(StrEnum):
    """Which images are attacked, and what for.

    `evade` makes OOD look ID, `alarm` ID look OOD, `both` each against the other's clean scores; `fool` makes ID images
    misclassified (and accepted), `between` walks from ID image to ID image.
    """

    EVADE = "evade"
    ALARM = "alarm"
    BOTH = "both"
    FOOL = "fool"
    BETWEEN = "between"


class Goal(StrEnum):
    """What a `fool` attack has to reach."""

    MISCLASSIFY = "misclassify"
    ACCEPT = "misclassify-and-accept"  # and be accepted by the detector at its threshold


class Loss(StrEnum):
    """What directs a `fool` attack: cross-entropy, the margin of logits, or margin and acceptance together."""

    CE = "ce"
    MARGIN = "margin"
    JOINT = "joint"


class SetKind(StrEnum):
    """What an OOD set is made of; only natural ones enter the mean."""

    NATURAL = "natural"
    SYNTHETIC = "synthetic"


class ThresholdSource(StrEnum):
    """Which clean ID images a threshold is taken from; never test images."""

    CALIBRATION = "calibration"
    TRAIN = "train"


class Card(BaseModel):
    """What all cards, and all parts of cards, have in common: unknown fields are errors and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def content_hash(self) -> str:
        """sha256 of the content: comments, order of keys and defaults that are written out do not change it."""
        return content_hash(self.model_dump(mode="json"))


def content_hash(content: Any) -> str:
    """sha256 of any JSON content in canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Paper(Card):
    """Where a method comes from."""

    title: Text
    authors: Text
    year: int = Field(ge=1900, le=2100)
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = None


# --------------------------------------------------------------------------- tracks


class SetSpec(Card):
    """One set of images: a source, the part of it that is taken, and the digests that are accepted."""

    source: Annotated[str, StringConstraints(max_length=200)]  # in bench.datasets.sources, or package.module:function
    args: dict[str, Any] = {}
    start: int = Field(default=0, ge=0)
    stop: int | None = Field(default=None, ge=1)
    exclude_labels: tuple[int, ...] = ()
    crop: int | None = Field(default=None, ge=1)  # side of the centre that is kept, before padding
    pad: int = Field(default=0, ge=0, le=64)
    grey: bool = False
    digest: Sha256 | tuple[Sha256, ...] | None = None

    def digests(self) -> tuple[str, ...]:
        """The accepted content digests; empty where any content is accepted."""
        if self.digest is None:
            return ()
        return (self.digest,) if isinstance(self.digest, str) else self.digest


class OodSpec(SetSpec):
    """An OOD test set, and whether it enters the mean."""

    kind: SetKind = SetKind.NATURAL
    same_source: bool = False  # its images come from where the training outliers come from: left out of the mean
    in_mean: bool = True
    note: Text = ""

    @property
    def counts(self) -> bool:
        """Whether the set enters the mean over natural sets."""
        return self.kind is SetKind.NATURAL and self.in_mean and not self.same_source


class SuiteSpec(Card):
    """One attack that every row of a track's leaderboard has: a threat at a fixed radius, against the OOD images."""

    threat: Name
    eps: float = Field(gt=0, allow_inf_nan=False)


class TrackCard(Card):
    """An in-distribution set, its OOD sets, and the outliers that training may see."""

    name: Name
    version: int = Field(default=1, ge=1)
    summary: Text
    shape: tuple[int, int, int]
    classes: int = Field(ge=1, le=100_000)
    default_limit: int | None = Field(default=None, ge=1)
    train: SetSpec
    calibration: SetSpec
    test: SetSpec
    ood: dict[Name, OodSpec] = Field(min_length=1)
    outliers: tuple[SetSpec, ...] = ()
    # What a row of the leaderboard must have. No dump holds it, so that no cell's key depends on it.
    suite: tuple[SuiteSpec, ...] = Field(default=(), max_length=8, exclude=True)
    suite_limit: int | None = Field(default=None, ge=1, exclude=True)  # images of a set; None: default_limit

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        channels, height, width = self.shape
        if channels not in (1, 3) or not (1 <= height <= 4096 and 1 <= width <= 4096):
            raise ValueError(f"shape is {self.shape}; allowed is [1 or 3, height, width] with sides up to 4096")
        if reserved := set(self.ood) & {"train", "calibration", "test", "outliers", "mean"}:
            raise ValueError(f"ood set names {sorted(reserved)} are reserved")
        return self

    def suite_content(self) -> dict[str, Any]:
        """What the card says of its leaderboard; empty where it has none."""
        content: dict[str, Any] = {}
        if self.suite:
            content["suite"] = [entry.model_dump(mode="json") for entry in self.suite]
        if self.suite_limit is not None:
            content["suite_limit"] = self.suite_limit
        return content

    def content_hash(self) -> str:
        """sha256 of the content, the suite included where there is one."""
        return content_hash({**self.model_dump(mode="json"), **self.suite_content()})

    @property
    def row_limit(self) -> int | None:
        """The most images of a set that a row of the leaderboard is about."""
        return self.default_limit if self.suite_limit is None else self.suite_limit

    def natural(self) -> tuple[str, ...]:
        """The OOD sets that enter the mean, in the card's order."""
        return tuple(name for name, spec in self.ood.items() if spec.counts)


# --------------------------------------------------------------------------- detectors


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


# --------------------------------------------------------------------------- threats


class Knowledge(StrEnum):
    """What the attacker may ask of the detector."""

    NONE = "none"
    SCORES = "scores"
    GRADIENTS = "gradients"


def _allowed_eps(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(not math.isfinite(v) or v <= 0 for v in values):
        raise ValueError("every eps must be a finite number above 0")
    return values


class SourceSpec(Card):
    """Where a transfer attack takes its images from: cells of other detectors."""

    threat: Name
    params: dict[str, Any] = {}  # over those of the threat's card
    detectors: tuple[Annotated[str, StringConstraints(max_length=130)], ...] = Field(min_length=1)


class ThreatCard(Card):
    """An attacker with a norm, a budget and knowledge."""

    name: Name
    version: int = Field(default=1, ge=1)
    summary: Text
    method: MethodPath | None = None  # None: the worst case over `members`
    members: dict[Side, tuple[Name, ...]] = {}  # by attacked side
    source: SourceSpec | None = None
    paper: Paper | None = None
    norm: Norm | None = None
    eps: Annotated[tuple[float, ...], AfterValidator(_allowed_eps)] = ()
    knowledge: Knowledge
    sides: tuple[Side, ...] = Field(default=(Side.EVADE, Side.ALARM, Side.BOTH), min_length=1)  # the first: the default
    min_norm: bool = False  # it looks for the nearest image that does: eps are radii at which that is counted
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _norm_and_eps_together(self) -> Self:
        if (self.norm is None) != (not self.eps):
            raise ValueError("norm and eps go together: give both, or neither for a threat without a budget")
        if (self.method is None) != bool(self.members):
            raise ValueError("give either a method, or members of which the worst case is taken")
        if self.members and set(self.members) != set(self.sides):
            raise ValueError("members must be given for each of the sides, and for no other")
        if self.min_norm and self.norm is None:
            raise ValueError("min_norm asks for a norm, and for eps at which its outcome is counted")
        return self
