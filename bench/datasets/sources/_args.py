"""The arguments that a card gives to a source, checked."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bench.errors import DataError

MAX_BYTES = 4 << 30
"""No set may be larger than this in memory, so that a wrong number in a card cannot exhaust the machine."""

MAX_IMAGES = 5_000_000
"""Nor may it hold more images, however small: each has a label, an id and scores."""


def _image_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    channels, height, width = shape
    if channels not in (1, 3) or not (1 <= height <= 4096 and 1 <= width <= 4096):
        raise ValueError("must be [1 or 3, height, width] with sides up to 4096")
    return shape


Shape = Annotated[tuple[int, int, int], AfterValidator(_image_shape)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class SourceArgs(BaseModel):
    """Base of every source's arguments: unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, args: dict[str, Any], source: str) -> Self:
        """The checked arguments.

        Raises:
            DataError: In one sentence, what was given and what is allowed.
        """
        try:
            return cls.model_validate(args)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "args"
            allowed = ", ".join(cls.model_fields)
            given = "" if first["type"] == "missing" else f" (given: {first['input']!r})"
            raise DataError(
                f"source '{source}', argument '{field}'{given}: {first['msg']}; its arguments are {allowed}."
            ) from None


class DrawnArgs(SourceArgs):
    """Arguments of a source that draws its images at random."""

    count: Count
    seed: Seed
    shape: Shape


def check_size(count: int, height: int, width: int, channels: int, what: str) -> None:
    """Refuse a set that would not fit in memory.

    Raises:
        DataError: The set is larger than `MAX_BYTES`.
    """
    size = count * height * width * channels
    if size > MAX_BYTES:
        raise DataError(
            f"{what} holds {size / 2**30:.1f} GiB of pixels; allowed are {MAX_BYTES >> 30} GiB: take fewer images."
        )
