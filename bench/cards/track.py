"""The card of a track: the sets of images that a detector is measured on."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.cards.base import Card, Name, Sha256, Text, content_hash
from bench.errors import IMAGES_ONLY, shorten

RESERVED = frozenset({"train", "calibration", "test", "outliers", "mean"})
"""Names that no OOD set may have."""


class SetKind(StrEnum):
    """What an OOD set is made of; only natural ones enter the mean."""

    NATURAL = "natural"
    SYNTHETIC = "synthetic"
    SHIFTED = "shifted"  # ID images under corruptions: 0.5 is what a detector that they do not disturb has


class FormSpec(Card):
    """One form in which a set may lie on disk: a source, and the digests of its content that are accepted."""

    source: Annotated[str, StringConstraints(max_length=200)]  # in bench.datasets.sources, or package.module:function
    args: dict[str, Any] = {}
    digest: Sha256 | tuple[Sha256, ...] | None = None

    def digests(self) -> tuple[str, ...]:
        """The accepted content digests; empty where any content is accepted."""
        if self.digest is None:
            return ()
        return (self.digest,) if isinstance(self.digest, str) else self.digest


class OtherForm(FormSpec):
    """A further form, and the part that is taken of it where that is another one than of the first form."""

    start: int | None = Field(default=None, ge=0)  # given or with stop given: in place of the set's start and stop
    stop: int | None = Field(default=None, ge=1)

    @model_serializer(mode="wrap")
    def _without_a_part_that_is_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump names the part where it is given: tracks of before it have the hashes they had."""
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value is not None or name not in ("start", "stop")}

    @property
    def has_part(self) -> bool:
        """Whether it says which of its images are taken."""
        return self.start is not None or self.stop is not None


class SetSpec(FormSpec):
    """One set of images: its source, other forms that are accepted, and the part of it that is taken."""

    also: tuple[OtherForm, ...] = Field(default=(), max_length=7)
    start: int = Field(default=0, ge=0)
    stop: int | None = Field(default=None, ge=1)
    exclude_labels: tuple[int, ...] = ()
    crop: int | None = Field(default=None, ge=1)  # side of the centre that is kept, before padding
    pad: int = Field(default=0, ge=0, le=64)
    grey: bool = False

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump names other forms and a group where they are given: tracks of before them have the hashes they had."""
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value or name not in ("also", "group")}

    @property
    def forms(self) -> tuple[FormSpec, ...]:
        """Every accepted form; the first that is present is used."""
        own = FormSpec(source=self.source, args=self.args, digest=self.digest)
        return (own, *self.also)

    def taken_of(self, form: FormSpec) -> Self:
        """This set with the part that is taken of one of its forms as `start` and `stop`."""
        if not (isinstance(form, OtherForm) and form.has_part):
            return self
        return self.model_copy(update={"start": form.start or 0, "stop": form.stop})

    def accepted(self) -> tuple[str, ...]:
        """The content digests that any form accepts; empty where one of them accepts any content."""
        digests = [form.digests() for form in self.forms]
        return tuple(dict.fromkeys(digest for own in digests for digest in own)) if all(digests) else ()


class OodSpec(SetSpec):
    """An OOD test set, and whether it enters the mean."""

    kind: SetKind = SetKind.NATURAL
    same_source: bool = False  # its images come from where the training outliers come from: left out of the mean
    in_mean: bool = True
    group: Name | None = None  # sets of one group, such as near or far, have a mean of their own beside the main one
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
    suite_without: tuple[Name, ...] = Field(default=(), max_length=64, exclude=True)  # OOD sets that no row is about
    # The network that scores stand on where none is named: it is in what they resolve to, and so in no dump of this.
    network: Name | None = Field(default=None, exclude=True)

    @field_validator("shape", mode="before")
    @classmethod
    def _of_images(cls, given: Any) -> Any:
        if isinstance(given, int | float) or (isinstance(given, list | tuple) and len(given) < 2):
            raise ValueError(f"shape is {shorten(given)}; {IMAGES_ONLY}")
        return given

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        channels, height, width = self.shape
        if channels not in (1, 3) or not (1 <= height <= 4096 and 1 <= width <= 4096):
            raise ValueError(f"shape is {self.shape}; allowed is [1 or 3, height, width] with sides up to 4096")
        if reserved := set(self.ood) & RESERVED:
            raise ValueError(f"ood set names {sorted(reserved)} are reserved")
        return self

    def suite_content(self) -> dict[str, Any]:
        """What the card says of its leaderboard; empty where it has none."""
        content: dict[str, Any] = {}
        if self.suite:
            content["suite"] = [entry.model_dump(mode="json") for entry in self.suite]
        if self.suite_limit is not None:
            content["suite_limit"] = self.suite_limit
        if self.suite_without:
            content["suite_without"] = list(self.suite_without)
        return content

    def content_hash(self) -> str:
        """sha256 of the content, the suite included where there is one."""
        return content_hash({**self.model_dump(mode="json"), **self.suite_content()})

    @property
    def row_limit(self) -> int | None:
        """The most images of a set that a row of the leaderboard is about."""
        return self.default_limit if self.suite_limit is None else self.suite_limit

    def of_rows(self) -> Self:
        """The track with the OOD sets alone that a row of the leaderboard is about."""
        left = {name: spec for name, spec in self.ood.items() if name not in self.suite_without}
        return self.model_copy(update={"ood": left})

    def natural(self) -> tuple[str, ...]:
        """The OOD sets that enter the mean, in the card's order."""
        return tuple(name for name, spec in self.ood.items() if spec.counts)
