"""A baseline: the figures of some cells, with the scores behind them, that later runs are held against.

A baseline is one JSON file. Beside the figures it holds every score as float32, so that a later run on the same images
is compared image by image; no images and no weights are in it.
"""

import base64
import binascii
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from bench import metrics
from bench.cards.base import Name, Sha256
from bench.cards.threat import Goal, Loss, Norm, Side
from bench.errors import UsageError, reading, shorten
from bench.files import write_file
from bench.leaderboards.json_files import read_sealed
from bench.metrics.scores import Scores, as_scores
from bench.own_files import write_own
from bench.seals import Seal, sealed_json
from bench.soundness.view import TEST

FORMAT: Final = 1
"""Version of the layout of baselines."""

MAX_BYTES = 64 * 2**20
MAX_CELLS = 2000
MAX_IMAGES = 1_000_000

_CHUNK = 2250  # bytes a text, so that no text in the file is long
_ROUNDING = 1e-9
_THREAT = r"^[A-Za-z0-9][\w.:@-]{0,199}$"  # a card's name, or LIBRARY:ATTACK@NORM

_SIZES = (4, 8)
"""Bytes of a score."""

Label = Annotated[str, StringConstraints(pattern=r"^[^\n]+$", max_length=200)]
Radius = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Params = Annotated[dict[Label, JsonValue], Field(max_length=64)]


class Figure(StrEnum):
    """What a cell comes to, between 0 and 1; higher is better for the defender."""

    AUROC = "auroc"  # mean over the natural OOD sets
    WITHSTOOD = "withstood"  # share of the ID test images that are right as they are and that the attack did not turn


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Samples(_Part):
    """The scores of one set, in the order of its images.

    On side `fool` a score is 1 where the image withstood the attack, and 0 where it did not.
    """

    count: int = Field(ge=1, le=MAX_IMAGES)
    ids_sha256: Sha256  # of the images' ids: where they are equal, so are the images
    scores: tuple[Annotated[str, StringConstraints(max_length=4 * _CHUNK // 3)], ...]  # <f4 or <f8, base64

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if len(self.scores) not in {-(-size * self.count // _CHUNK) for size in _SIZES}:
            raise ValueError(f"scores are not in pieces of {_CHUNK} bytes")
        self.values()
        return self

    @classmethod
    def of(cls, scores: Scores, ids_sha256: str) -> Self:
        """Scores with the digest of their images' ids."""
        content = np.ascontiguousarray(scores, dtype=f"<f{as_scores(scores).itemsize}").tobytes()
        pieces = [content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)]
        texts = tuple(base64.b64encode(piece).decode() for piece in pieces)
        return cls(count=len(scores), ids_sha256=ids_sha256, scores=texts)

    def values(self) -> Scores:
        """(count,) the scores.

        Raises:
            ValueError: The text holds other than that many finite numbers.
        """
        try:
            content = b"".join(base64.b64decode(text, validate=True) for text in self.scores)
        except binascii.Error:
            raise ValueError("scores are not base64") from None
        if (size := len(content) // self.count) not in _SIZES or len(content) != size * self.count:
            raise ValueError(f"scores are {len(content)} bytes long, and {self.count} scores take {4 * self.count}")
        values = as_scores(np.frombuffer(content, dtype=f"<f{size}").astype(f"f{size}"))
        if not np.isfinite(values).all():
            raise ValueError("scores are not all finite")
        return values


class Identity(_Part):
    """Which cell it is: what stays when the detector, the attack or the code are changed."""

    track: Name
    detector: Label
    threat: Annotated[str, StringConstraints(pattern=_THREAT)]
    norm: Norm | None = None
    eps: Radius | None = None
    side: Side = Side.EVADE
    goal: Goal | None = None  # on side fool
    seed: int = Field(default=0, ge=0, lt=2**31)
    limit: int | None = Field(default=None, ge=2)

    @property
    def label(self) -> str:
        """What a person calls the cell."""
        words = [f"{self.detector} x {self.threat}"]
        if self.norm is not None and self.eps is not None:
            words.append(f"{self.norm} {self.eps:.4g}")
        words += [str(self.side)] if self.side is not Side.EVADE else []
        words += [str(self.goal)] if self.goal is not None else []
        words += [f"seed {self.seed}"] if self.seed else []
        return f"{' '.join(words)} on {self.track}"


class Audited(_Part):
    """On what evidence most images of a cell had less than the full budget."""

    tolerance: float = Field(gt=0, le=0.1, allow_inf_nan=False)
    audit: float = Field(gt=0, le=1, allow_inf_nan=False)


class Provenance(_Part):
    """What the figures depend on; where it changed, a comparison says so."""

    detector_hash: Sha256
    weights_sha256: tuple[Sha256, ...] = Field(max_length=64)
    source_hash: Sha256
    threat_hash: Sha256
    threat_params: Params
    track_hash: Sha256
    set_digests: dict[Label, Sha256] = Field(max_length=70)
    micro_batch: int = Field(ge=1)
    early_stop: bool
    evidence: Audited | None = None  # None: every image had the full budget
    bench: Label
    versions: dict[Label, Label] = Field(default={}, max_length=32)  # of what computed it; empty in older baselines


class Request(_Part):
    """How the cell is asked for again."""

    overrides: Params = {}  # parameters over those of the threat's card
    loss: Loss | None = None  # on side fool
    radii: tuple[Radius, ...] = Field(default=(), max_length=64)  # of a threat that looks for the nearest image


class BaselineCell(_Part):
    """One cell: its figure, what that depends on, and the scores from which it follows."""

    identity: Identity
    provenance: Provenance
    request: Request
    figure: Figure
    value: float = Field(ge=0, le=1, allow_inf_nan=False)
    se: float = Field(ge=0, le=1, allow_inf_nan=False)
    samples: dict[Label, Samples] = Field(min_length=1, max_length=66)  # "test", and the OOD sets of the mean

    @model_validator(mode="after")
    def _follows(self) -> Self:
        ood = set(self.samples) - {TEST}
        if TEST not in self.samples or (self.figure is Figure.AUROC) != bool(ood):
            raise ValueError(f"samples are of {', '.join(sorted(self.samples))}, and that gives no {self.figure}")
        value, se = estimate(self.figure, self.scores())
        if abs(value - self.value) > _ROUNDING or abs(se - self.se) > _ROUNDING:
            raise ValueError(f"{self.figure} is given as {self.value:.6g}, and its scores give {value:.6g}")
        return self

    def scores(self) -> dict[str, Scores]:
        """The scores by set."""
        return {name: part.values() for name, part in self.samples.items()}


class Baseline(_Part):
    """Cells that a later run is held against."""

    format: Literal[1] = FORMAT
    bench: Label  # the version that wrote it
    cells: tuple[BaselineCell, ...] = Field(min_length=1, max_length=MAX_CELLS)

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen: set[Identity] = set()
        for cell in self.cells:
            if cell.identity in seen:
                raise ValueError(f"the cell {cell.identity.label} is given twice")
            seen.add(cell.identity)
        return self


def estimate(figure: Figure, scores: dict[str, Scores]) -> tuple[float, float]:
    """A figure and its standard error over images, from the scores by set."""
    if figure is Figure.WITHSTOOD:
        share = float(np.mean(scores[TEST], dtype=np.float64))
        return share, float(np.sqrt(max(0.0, share * (1.0 - share)) / len(scores[TEST])))
    found = metrics.mean_over_sets(scores[TEST], [part for name, part in scores.items() if name != TEST])
    return found.auroc, found.se


def read_baseline(path: Path, said: Callable[[str], None] = lambda sentence: None) -> Baseline:
    """The baseline in a file, after every check: its figures follow from its scores.

    Args:
        path: The file.
        said: Hears of a file without a seal.

    Raises:
        UsageError: In one sentence, why the file cannot be used.
    """
    content, seal = read_sealed(path, what="baseline", max_bytes=MAX_BYTES)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"baseline '{path}' has format {shorten(content.get('format'))}; allowed is {FORMAT}: record it again with "
            "`bench baseline`."
        )
    with reading(f"baseline {shorten(path)}"):
        try:
            found = Baseline.model_validate_json(json.dumps(content))
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            raise UsageError(f"baseline '{path}': {_problem(detail)}; record it again with `bench baseline`.") from None
    if seal is Seal.BROKEN:
        raise UsageError(
            f"baseline '{path}' differs from its seal, so it was changed or damaged: restore it, or record it again "
            "with `bench baseline`."
        )
    if seal is Seal.ABSENT:
        said(
            f"baseline '{path}' has no seal, so that nothing tells whether it was changed since it was recorded; "
            "`bench baseline` records one with it."
        )
    return found


def write_baseline(baseline: Baseline, path: Path, *, named: bool = True) -> None:
    """Write a baseline with its seal; equal content gives equal bytes.

    Args:
        baseline: What to write.
        path: Where to.
        named: Whether the user named the file; if not, it takes the place of nothing but a baseline.

    Raises:
        UsageError: The file cannot be written, or is somebody else's.
    """
    content = sealed_json(baseline.model_dump(mode="json"))
    if named:
        write_file(path, content)
    else:
        write_own({path: content}, "name another file (--to)")


def schema() -> dict[str, Any]:
    """The JSON Schema of a baseline, as it is published in `leaderboards/baseline.schema.json`."""
    found = Baseline.model_json_schema()
    found["properties"]["seal"] = {
        "description": "sha256 of all other bytes of the file; absent from older ones.",
        "pattern": "^[0-9a-f]{64}$",
        "type": "string",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _problem(detail: Any) -> str:
    """What is wrong and where, in a few words."""
    field = ".".join(map(str, detail["loc"])) or "the whole"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{shorten(field, 120)}: {message[:1].lower()}{message[1:300]}"
