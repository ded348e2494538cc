"""Images of somebody else's attack that beat a row: accepted if they keep ball and box and lower the AUROC enough."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bench.cards.base import Name, Sha256
from bench.cards.catalog import Catalog
from bench.cards.threat import Norm
from bench.datasets.npz_files import opened_npz, whole_numbers
from bench.errors import UsageError
from bench.files import write_file
from bench.leaderboards import arrays as names
from bench.leaderboards.arrays import bytes_sha256, pack
from bench.leaderboards.claims import check_claims
from bench.leaderboards.reattack import LEAST
from bench.leaderboards.rescore import Scorer, check_rescored
from bench.leaderboards.row import Entry, Label, Row, RowError, Share, read_row
from bench.seals import sealed_json

MAX_BYTES = 256 * 2**20
"""The most that the arrays of a file may take once they are unpacked."""

_WRITE = "write it with numpy.savez_compressed(images=..., ids=...)"
FORMAT: Literal[1] = 1


class BeatenRecord(BaseModel):
    """Somebody's images against a row: scored again by whoever verifies it, and only then shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = FORMAT
    row_sha256: Sha256
    threat: Name  # whose ball the images keep
    norm: Norm
    eps: float = Field(gt=0, allow_inf_nan=False)
    images: int = Field(ge=1)
    higher: int = Field(ge=0)  # images that score higher than the row's own
    claimed: Share
    auroc: Share  # with the higher of both scores for every image
    se: Share
    file: Label
    file_sha256: Sha256


@dataclass(frozen=True)
class Beaten:
    """What came of scoring the images.

    Attributes:
        row: The row.
        entry: The attack of the suite whose ball counts.
        auroc: Mean AUROC with the higher of both scores for every image.
        se: Its standard error over samples.
        higher: How many images score higher than the row's own.
        outside: How many lie outside the ball or the box.
        arrays: The images and their positions, as they are kept.
    """

    row: Row
    entry: Entry
    auroc: float
    se: float
    higher: int
    outside: int
    arrays: dict[str, NDArray[np.generic]]

    @property
    def accepted(self) -> bool:
        """Whether they keep ball and box and lower the AUROC by more than attacks with other seeds may."""
        return self.outside == 0 and self.auroc < self.entry.mean.auroc - LEAST

    def lines(self) -> Iterator[str]:
        """What came of it, in words."""
        count, where = len(self.arrays["rows"]), f"{self.entry.threat} at {self.entry.norm} {self.entry.eps:g}"
        if self.outside:
            yield f"refused: {self.outside} of {count} images lie outside the ball or the box of {where}."
            return
        verdict = "accepted" if self.accepted else f"refused: the row is not beaten by more than {LEAST:g}"
        yield (
            f"{verdict}: {self.higher} of {count} images score higher than the row's under {where}; AUROC "
            f"{self.auroc:.4f} +- {self.se:.4f}, claimed {self.entry.mean.auroc:.4f}"
        )


def beat_row(
    images: Path,
    row_path: Path,
    catalog: Catalog,
    *,
    threat: str | None = None,
    device: str = "cpu",
    data_dir: Path | None = None,
) -> Beaten:
    """Score images against a row.

    Args:
        images: An .npz of `images`, (N, C, H, W) float32 in [0, 1] or uint8, and `ids`, (N,) sample ids.
        row_path: The row.
        catalog: Where cards and weights are found.
        threat: The attack of the row's suite whose ball the images keep, the worst of them where it has several radii;
            None for the worst of all.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.

    Raises:
        UsageError: The file holds other things, the row cannot be trusted, or has no such attack.
        BenchError: Weights or data are missing.
    """
    row = read_row(row_path)
    number = _entry_number(row, threat)
    claims = check_claims(row, row_path, catalog, data_dir)
    if claims.problems or claims.files is None:
        raise RowError(f"row '{row_path}' does not hold what it claims ({claims.problems[0]}); beat one that does.")
    scorer = Scorer.load(row, catalog, device=device, data_dir=data_dir)
    scored = check_rescored(row, claims.files, catalog, scorer=scorer)
    if scored.problems:
        raise RowError(f"row '{row_path}' cannot be scored again here ({scored.problems[0]}); beat one that can.")
    pixels, ids = _read_npz(images, scorer.base.shape[1:])
    rows = _positions(ids, scorer)
    entry, table = row.entries[number], claims.files.table
    outside = scorer.outside(pixels, rows, entry.norm, entry.eps)
    worst = table.arrays[names.worst_name(number)].copy()
    scores = scorer.attacked(pixels, rows, entry) if not outside.any() else worst[rows]
    higher = scores > worst[rows]
    worst[rows] = np.maximum(worst[rows], scores)
    found = table.mean(worst)
    kept: dict[str, NDArray[np.generic]] = {"images": pixels, "rows": rows}
    return Beaten(row, entry, found.auroc, found.se, int(higher.sum()), int(outside.sum()), kept)


def write_beaten(row_path: Path, found: Beaten) -> Path:
    """Write accepted images and their record beside the row they beat.

    Returns:
        The record's file.

    Raises:
        UsageError: The folder cannot be written.
    """
    content, row, entry = pack(found.arrays), found.row, found.entry
    digest = bytes_sha256(content)
    stem = f"{row.stem}.beaten-{digest[:12]}"
    record = BeatenRecord(
        row_sha256=row.row_sha256,
        threat=entry.threat,
        norm=entry.norm,
        eps=entry.eps,
        images=len(found.arrays["rows"]),
        higher=found.higher,
        claimed=entry.mean.auroc,
        auroc=found.auroc,
        se=found.se,
        file=f"{stem}.safetensors",
        file_sha256=digest,
    )
    write_file(row_path.with_name(record.file), content)
    path = row_path.with_name(f"{stem}.json")
    write_file(path, sealed_json(record.model_dump(mode="json")))
    return path


def _entry_number(row: Row, threat: str | None) -> int:
    if threat is None:
        return row.entries.index(row.worst_entry)
    listed = [entry.threat for entry in row.entries]
    if threat not in listed:
        raise UsageError(f"the row has no attack '{threat[:80]}'; it has {', '.join(listed)}.")
    named = [entry for entry in row.entries if entry.threat == threat]
    return row.entries.index(min(named, key=lambda entry: entry.mean.auroc))


def _read_npz(path: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images in [0, 1] and their ids; nothing is unpickled, and sizes are known before memory is taken."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise UsageError(f"'{path}' is no file of at most {MAX_BYTES:,} bytes; {_WRITE}.")
    with opened_npz(path) as arrays:
        if set(arrays.names) != {"images", "ids"}:
            raise UsageError(f"'{path}' does not hold exactly the arrays 'images' and 'ids'; {_WRITE}.")
        (size, kind), (ids_size, ids_kind) = arrays.header("images"), arrays.header("ids")
        if len(size) != 4 or size[1:] != shape or size[0] < 1 or kind not in (np.float32, np.uint8):
            allowed = f"float32 or uint8 (N, {', '.join(map(str, shape))})"
            raise UsageError(f"images in '{path}' are {kind} {size}; allowed are {allowed}.")
        if ids_size != size[:1] or not np.issubdtype(ids_kind, np.integer) or ids_kind.itemsize > 8:
            raise UsageError(f"ids in '{path}' are {ids_kind} {ids_size}; allowed is one integer for each image.")
        if size[0] * int(np.prod(shape)) * 4 > MAX_BYTES:
            raise UsageError(f"images in '{path}' would take more than {MAX_BYTES:,} bytes; hand in fewer.")
        arrays.check_ratio("images", "ids")
        images, ids = arrays.read("images"), whole_numbers(arrays.read("ids"), f"ids in '{path}'")
    pixels = images.astype(np.float32) / 255.0 if images.dtype == np.uint8 else images
    if not np.isfinite(pixels).all():
        raise UsageError(f"images in '{path}' hold a number that is not finite; allowed is [0, 1].")
    return pixels.astype(np.float32), ids


def _positions(ids: NDArray[np.int64], scorer: Scorer) -> NDArray[np.int64]:
    """(N,) which of the OOD images the ids belong to."""
    own = scorer.ids[len(scorer.images.test) :]
    at = {int(number): position for position, number in enumerate(own)}
    if len(np.unique(ids)) < len(ids):
        raise UsageError("an id comes twice; hand in one image for each OOD image at most.")
    if unknown := [int(number) for number in ids if int(number) not in at]:
        raise UsageError(f"id {unknown[0]} is of no OOD image of the row's track; the cells' samples list them.")
    return np.array([at[int(number)] for number in ids], dtype=np.int64)
