"""Records of images that beat a row: read beside it, and scored again when the row is verified."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.leaderboards import arrays as names
from bench.leaderboards.adversarials import MAX_BYTES, BeatenRecord
from bench.leaderboards.arrays import bytes_sha256, unpack
from bench.leaderboards.claims import Files
from bench.leaderboards.json_files import read_bytes
from bench.leaderboards.rescore import Scorer
from bench.leaderboards.row import Row, RowError, ignored, read_part

BEATEN = re.compile(r"\.beaten-[0-9a-f]{12}\.json$")
"""How the names of records end."""

MAX_FILE_BYTES = MAX_BYTES + 2**16  # the images, and what the format puts before them

_SAME = 0.005
"""AUROCs agree within this: scores that nearly tie fall to either side on another machine."""


def read_beaten(path: Path, row: Row, unsealed: Callable[[Path], None] = ignored) -> BeatenRecord:
    """Somebody's images against a row, by their hashes alone.

    Args:
        path: The record.
        row: What it is about.
        unsealed: Hears of a record without a seal.

    Raises:
        RowError: The record is damaged or of another row, contradicts it, or its images are missing or others.
    """
    record = read_part(path, BeatenRecord, what="record", unsealed=unsealed)
    claimed = {(entry.threat, entry.norm, entry.eps): entry.mean.auroc for entry in row.entries}
    fits = claimed.get((record.threat, record.norm, record.eps)) == record.claimed > record.auroc
    if record.row_sha256 != row.row_sha256 or not fits:
        raise RowError(f"record '{path}' does not fit its row; hand the images in again (`bench submit --beats`).")
    images = _images_of(path)
    content = read_bytes(images, what="the file of images", max_bytes=MAX_FILE_BYTES)
    if bytes_sha256(content) != record.file_sha256:
        raise RowError(f"images '{images}' are not those of their record; hand them in again (`bench submit --beats`).")
    return record


def check_beaten(
    row: Row, path: Path, files: Files, catalog: Catalog, *, device: str = "cpu", data_dir: Path | None = None
) -> list[str]:
    """One sentence for every record beside a row whose images do not do what it says.

    Args:
        row: A row whose scores hold.
        path: Its file; the records lie beside it.
        files: Its scores.
        catalog: Where cards and weights are found.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.

    Raises:
        BenchError: Weights or data are missing.
    """
    beside = [other for other in sorted(path.parent.iterdir()) if BEATEN.sub("", other.name) == row.stem]
    if not beside:
        return []
    scorer = Scorer.load(row, catalog, device=device, data_dir=data_dir)
    problems = []
    for other in beside:
        try:
            problems += [f"record '{other}': {problem}" for problem in _problems(other, row, files, scorer)]
        except UsageError as error:
            problems.append(str(error))
    return problems


def _problems(path: Path, row: Row, files: Files, scorer: Scorer) -> Iterator[str]:
    record = read_beaten(path, row)
    arrays = unpack(
        _images_of(path), what="the file of images", sha256=record.file_sha256, max_bytes=MAX_FILE_BYTES
    )  # fmt: skip
    images, rows = arrays.get("images", np.zeros(0)), arrays.get("rows", np.zeros(0))
    formed = images.dtype == np.float32 and images.shape == (record.images, *scorer.base.shape[1:])
    if set(arrays) != {"images", "rows"} or not formed or rows.dtype != np.int64 or rows.shape != images.shape[:1]:
        yield f"its file does not hold {record.images} float32 images of the track's shape and their rows."
        return
    if len(np.unique(rows)) < len(rows) or not ((rows >= 0) & (rows < len(scorer.base))).all():
        yield "its images do not belong to different OOD images."
        return
    if (outside := int(scorer.outside(images, rows, record.norm, record.eps).sum())) > 0:
        yield f"{outside} of {record.images} images lie outside the ball or the box."
        return
    number = [(e.threat, e.norm, e.eps) for e in row.entries].index((record.threat, record.norm, record.eps))
    worst = files.table.arrays[names.worst_name(number)].copy()
    worst[rows] = np.maximum(worst[rows], scorer.attacked(images, rows, row.entries[number]))
    found = files.table.mean(worst).auroc
    if not abs(found - record.auroc) <= _SAME:
        yield f"AUROC {record.auroc:.4f} is given, and the weights make it {found:.4f}."


def _images_of(path: Path) -> Path:
    """Beside the record under its name: never by the name in it, which a stranger wrote."""
    return path.with_name(f"{path.stem}.safetensors")
