"""A row of a leaderboard: one detector's figures under a track's suite, with everything that they depend on.

A row is a JSON file `leaderboards/<track>/<detector>@<short hash>.json`. Its companions lie beside it under the same
name: the scores of every image (`.scores.safetensors`) and some images of the worst case (`.images.safetensors`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bench.cards.base import Name, Paper, RelativeFile, Sha256, Text, content_hash
from bench.cards.threat import Norm, Side
from bench.errors import UsageError, shorten
from bench.leaderboards.json_files import json_bytes, read_json, read_sealed
from bench.seals import Seal
from bench.soundness.verdicts import Verdict

FORMAT: Literal[1] = 1
"""Version of the rows' layout."""

MAX_ROW_BYTES = 2**20
SHORT = 12
"""Hexadecimal digits of a row's identity in its file's name."""

SCORES_SUFFIX, IMAGES_SUFFIX = ".scores.safetensors", ".images.safetensors"

Model = TypeVar("Model", bound=BaseModel)

DetectorName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}(\.[a-z0-9][a-z0-9-]{0,63})?"  # NAME or NAME.VARIANT, and where it stands
        r"(@[a-z0-9][a-z0-9-]{0,63}(\.[a-z0-9][a-z0-9-]{0,63})?)?$",
        max_length=129,  # of a file's name, with the hash and the ending
    ),
]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,79}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[^\n]*$", max_length=200)]
Said = Annotated[str, StringConstraints(pattern=r"^[^\n]*$", max_length=600)]
Check = Annotated[str, StringConstraints(pattern=r"^D([1-9]|1[0-9]|20)$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class RowError(UsageError):
    """A row, or a file beside it, cannot be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Estimate(_Part):
    """An AUROC with its standard error over samples, and its 95 % interval."""

    auroc: Share
    se: Share
    low: Share
    high: Share


class SetFigures(_Part):
    """One OOD set before and after the attack."""

    n_id: int = Field(ge=1)
    n_ood: int = Field(ge=1)
    counts: bool  # whether it enters the mean
    clean: Estimate
    attacked: Estimate
    conservative_auroc: Share
    fpr95: Share


class CellPart(_Part):
    """Where a figure comes from: what the key of its cell is made of, what checks said of it, and its cost."""

    key: Sha256
    source_hash: Sha256
    threat_hash: Sha256
    norm: Norm | None
    eps: float | None = Field(gt=0, allow_inf_nan=False)
    early_stop: bool
    needs: tuple[Sha256, ...] = Field(max_length=32)
    soundness: dict[Check, Verdict]
    gradients: Count
    queries: Count
    seconds: float = Field(ge=0, allow_inf_nan=False)
    device: Label


class Member(_Part):
    """One attack of a worst case, by itself."""

    cell: CellPart
    mean: Estimate


class Entry(_Part):
    """The worst case of one entry of the suite."""

    threat: Name
    norm: Norm
    eps: float = Field(gt=0, allow_inf_nan=False)
    cell: CellPart
    sets: dict[Name, SetFigures] = Field(min_length=1, max_length=64)
    mean: Estimate  # over the sets that count
    members: dict[Name, Member] = Field(max_length=32)
    left_out: dict[Name, Text] = Field(max_length=32)  # attacks that the detector does not allow, and why


class WeightsPart(_Part):
    """A weights file, and where it can be had."""

    file: RelativeFile
    sha256: Sha256
    source: Address | None


class DetectorPart(_Part):
    """What the card says of the detector."""

    name: DetectorName
    card_hash: Sha256
    settings_hash: Sha256  # of what its scores on this track depend on
    weights: tuple[WeightsPart, ...] = Field(max_length=64)
    paper: Paper | None
    trained_on: Text
    tuned_on: Text
    extra_data: Text
    white_box: bool  # its score has a gradient that can be followed
    certified: bool
    random: bool


class TrackPart(_Part):
    """What the detector was attacked on."""

    name: Name
    version: int = Field(ge=1)
    hash: Sha256
    set_digests: dict[Name, Sha256] = Field(max_length=70)
    limit: int | None = Field(ge=2)


class Scores(_Part):
    """The file of all scores, and the digest of each array in it."""

    file: Label
    sha256: Sha256
    sets: dict[Name, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(max_length=66)  # images of each, in order
    digests: dict[Label, Sha256] = Field(max_length=400)


class Pictures(_Part):
    """The file of some images of the worst case."""

    file: Label
    sha256: Sha256
    count: int = Field(ge=1)


class Row(_Part):
    """A detector's worst case under a track's suite, on the side `evade`: OOD images are made to look ID."""

    format: Literal[1] = FORMAT
    bench: Version
    cell_format: int = Field(ge=1)
    track: TrackPart
    detector: DetectorPart
    side: Literal[Side.EVADE] = Side.EVADE
    seed: int = Field(ge=0, lt=2**31)
    micro_batch: int = Field(ge=1, le=4096)
    clean_cell: CellPart
    id_accuracy: Share | None
    clean: Estimate
    entries: tuple[Entry, ...] = Field(min_length=1, max_length=8)
    worst: Estimate  # of the entry whose mean AUROC is lowest: what the row is ranked by
    scores: Scores
    images: Pictures | None
    gradients: Count
    queries: Count
    seconds: float = Field(ge=0, allow_inf_nan=False)
    versions: dict[Name, Version] = Field(max_length=20)
    row_sha256: Sha256  # of all other fields

    def sealed(self) -> "Row":
        """The same with the sha256 of its other fields."""
        return self.model_copy(update={"row_sha256": self.content_sha256()})

    def content_sha256(self) -> str:
        """sha256 of every field but itself, in canonical form."""
        return content_hash(self.model_dump(exclude={"row_sha256"}))

    @property
    def stem(self) -> str:
        """The name of its files before their endings."""
        suite = [(entry.threat, entry.eps) for entry in self.entries]
        weights = [part.sha256 for part in self.detector.weights]
        own = content_hash([self.detector.settings_hash, weights, self.track.hash, suite, self.bench])
        return f"{self.detector.name}@{own[:SHORT]}"

    @property
    def worst_entry(self) -> Entry:
        """The entry whose mean AUROC is lowest."""
        return min(self.entries, key=lambda entry: entry.mean.auroc)


def read_row(path: Path) -> Row:
    """The row in a file, checked for its form alone.

    Raises:
        RowError: In one sentence, why the file is no row.
    """
    return read_part(path, Row, what="row")


def row_bytes(row: Row) -> bytes:
    """A row as its file holds it."""
    return json_bytes(row.model_dump())


def ignored(path: Path) -> None:
    """Say nothing of a file without a seal."""


def read_part(path: Path, model: type[Model], *, what: str, unsealed: Callable[[Path], None] | None = None) -> Model:
    """The JSON file of a row, or of what was found out about one.

    Args:
        path: The file.
        model: What it must hold; it has a field `format`.
        what: What that is, for errors.
        unsealed: Hears of a file without a seal; None for rows, which carry the sha256 of their fields instead.

    Raises:
        RowError: In one sentence, why the file cannot be used.
    """
    seal = Seal.HOLDS
    try:
        if unsealed is None:
            content = read_json(path, what=what, max_bytes=MAX_ROW_BYTES)
        else:
            content, seal = read_sealed(path, what=what, max_bytes=MAX_ROW_BYTES)
    except UsageError as error:
        raise RowError(str(error)) from None
    if type(content.get("format")) is not int or content["format"] != FORMAT:
        raise RowError(
            f"{what} '{path}' has format {shorten(content.get('format'))}; this bench reads format {FORMAT}: use the "
            "version that wrote it, or write it again with this one."
        )
    try:
        found = model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise RowError(f"{what} '{path}': field {shorten(field)}: {_lower(first['msg'])}; write it again.") from None
    if seal is Seal.BROKEN:
        raise RowError(f"{what} '{path}' differs from its seal, so it was changed or damaged; write it again.")
    if seal is Seal.ABSENT and unsealed is not None:
        unsealed(path)
    return found


def schema() -> dict[str, Any]:
    """The JSON Schema of a row, as it is published in `leaderboards/row.schema.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Row.model_json_schema(mode="serialization")}


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
