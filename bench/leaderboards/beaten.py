"""Images that beat a row, as they lie beside it: read by their hashes, and scored again by whoever verifies the row.

Nothing that their record says is shown. A board shows what a verifier found of them, which stands in its own signed
record.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.leaderboards import arrays as names
from bench.leaderboards.adversarials import MAX_BYTES, BeatenRecord
from bench.leaderboards.arithmetic import TEST, ScoreTable
from bench.leaderboards.arrays import bytes_sha256, unpack
from bench.leaderboards.json_files import read_bytes
from bench.leaderboards.reattack import LEAST, Fresh
from bench.leaderboards.rescore import Scorer
from bench.leaderboards.row import Row, RowError, ignored, read_part, read_row
from bench.metrics.scores import Scores, as_scores

BEATEN = re.compile(r"\.beaten-[0-9a-f]{12}\.json$")
"""How the names of records end."""

MAX_FILE_BYTES = MAX_BYTES + 2**16  # the images, and what the format puts before them

_SAME = 0.005
"""AUROCs agree within this: scores that nearly tie fall to either side on another machine."""


@dataclass(frozen=True)
class Rescored:
    """Somebody's images against the verifier's own attacks.

    Attributes:
        record: What lies beside the row, whose figures count for nothing.
        earlier: Whether they were handed in against a row of an earlier version of the track.
        auroc: Mean AUROC with the higher of both scores for every image, the verifier's own and that of the image.
        se: Its standard error over samples.
        higher: How many images score higher than the verifier's own.
        allowed: What the AUROC must lie below to beat the row.
    """

    record: BeatenRecord
    earlier: bool
    auroc: float
    se: float
    higher: int
    allowed: float

    @property
    def beats(self) -> bool:
        """Whether they leave less than equal attacks with other seeds may."""
        return self.auroc < self.allowed


def read_beaten(path: Path, row: Row, unsealed: Callable[[Path], None] = ignored) -> BeatenRecord:
    """Somebody's images against a row, by their hashes alone.

    Args:
        path: The record.
        row: What it is about.
        unsealed: Hears of a record without a seal.

    Raises:
        RowError: The record is damaged or of another row, contradicts it, does not beat it by more than other seeds
            may, or its images are missing or others.
    """
    if path.is_symlink() or images_of(path).is_symlink():
        raise RowError(f"record '{path}' or its file of images is a link; put the files themselves there.")
    record = read_part(path, BeatenRecord, what="record", unsealed=unsealed)
    claimed = {(entry.threat, entry.norm, entry.eps): entry.mean.auroc for entry in row.entries}
    fits = claimed.get((record.threat, record.norm, record.eps)) == record.claimed > record.auroc + LEAST
    if record.row_sha256 != row.row_sha256 or not fits:
        raise RowError(f"record '{path}' does not fit its row; hand the images in again (`bench submit --beats`).")
    content = read_bytes(images_of(path), what="the file of images", max_bytes=MAX_FILE_BYTES)
    if bytes_sha256(content) != record.file_sha256:
        raise RowError(
            f"images '{images_of(path)}' are not those of their record; hand them in again (`bench submit --beats`)."
        )
    return record


def records_of(path: Path, row: Row) -> list[Path]:
    """The records of images that lie beside a row."""
    return [other for other in sorted(path.parent.iterdir()) if BEATEN.sub("", other.name) == row.stem]


def check_beaten(path: Path, row: Row, table: ScoreTable, scorer: Scorer) -> list[str]:
    """One sentence for every record beside a row whose images do not do what it says.

    Args:
        path: The row's file; the records lie beside it.
        row: A row whose scores hold.
        table: Its scores.
        scorer: Its detector.
    """
    problems = []
    for other in records_of(path, row):
        try:
            record, images, rows = _kept(other, row, scorer.base.shape[1:])
            worst = _worst(record, images, rows, row, table, scorer)
            if not abs((found := table.mean(worst).auroc) - record.auroc) <= _SAME:
                raise RowError(
                    f"record '{other}': AUROC {record.auroc:.4f} is given, and the weights make it {found:.4f}."
                )
        except UsageError as error:
            problems.append(str(error))
    return problems


def rescored_beaten(path: Path, row: Row, fresh: Fresh, scorer: Scorer) -> list[Rescored]:
    """All images that lie beside a row, or beside others of its detector, against the verifier's own attacks.

    Args:
        path: The row's file.
        row: The row.
        fresh: The verifier's attacks.
        scorer: The row's detector and images.

    Returns:
        What was scored; records that cannot be used are left out, and `check_beaten` names them.
    """
    own, found = fresh.ranking, []
    ours = Scorer(own.row, scorer.detector, scorer.images)
    for place, other in [(path, row), *_others(path, row)]:
        for record_path in records_of(place, other):
            try:
                record, images, rows = _kept(record_path, other, ours.base.shape[1:])
                number = _entry(record, own.row)
                rows = moved(rows, other.scores.sets, own.row.scores.sets)
                worst = _worst(record, images, rows, own.row, own.table, ours)
            except UsageError:
                continue
            base, mean = own.table.arrays[names.worst_name(number)], own.table.mean(worst)
            higher, below = int((worst > base).sum()), fresh.entries[number].beaten_below
            earlier = other.track.version < row.track.version
            found.append(Rescored(record, earlier, mean.auroc, mean.se, higher, below))
    return found


def moved(rows: NDArray[np.int64], before: Mapping[str, int], now: Mapping[str, int]) -> NDArray[np.int64]:
    """Positions among the OOD images, where the sets come in another order.

    Args:
        rows: (k,) positions in the order of `before`.
        before: Set -> count of its images; "test" has no part in it.
        now: The same sets in another order.

    Raises:
        RowError: They are not the same sets.
    """
    if dict(before) != dict(now):
        raise RowError("images are of a row with other sets.")
    starts: dict[str, int] = {}
    end = 0
    for name, count in now.items():
        if name != TEST:
            starts[name], end = end, end + count
    order = [np.arange(starts[name], starts[name] + count) for name, count in before.items() if name != TEST]
    return np.asarray(np.concatenate(order)[rows])


def images_of(path: Path) -> Path:
    """Beside the record under its name: never by the name in it, which a stranger wrote."""
    return path.with_name(f"{path.stem}.safetensors")


def attacked_alike(a: Row, b: Row) -> bool:
    """Whether images made against one row are tried on the other: its detector has that name, or computes the same."""
    same = a.detector.settings_hash == b.detector.settings_hash and [part.sha256 for part in a.detector.weights] == [
        part.sha256 for part in b.detector.weights
    ]
    of_same_images = (a.track.limit, a.track.set_digests) == (b.track.limit, b.track.set_digests)
    return of_same_images and (same or a.detector.name == b.detector.name)


def _others(path: Path, row: Row) -> Iterator[tuple[Path, Row]]:
    """Rows of this or an earlier version of the track, beside a row, that are `attacked_alike`."""
    for beside in sorted(
        {BEATEN.sub(".json", other.name) for other in path.parent.iterdir() if BEATEN.search(other.name)}
    ):
        try:
            other = read_row(path.with_name(beside))
        except UsageError:
            continue
        whole = other.row_sha256 == other.content_sha256()
        known = other.track.version <= row.track.version and other.stem != row.stem
        if whole and known and attacked_alike(row, other):
            yield path.with_name(beside), other


def _kept(path: Path, row: Row, shape: tuple[int, ...]) -> tuple[BeatenRecord, NDArray[np.float32], NDArray[np.int64]]:
    """A record, its images, and which of the row's OOD images they belong to.

    Raises:
        RowError: They are not of the form that they must have.
    """
    record = read_beaten(path, row)
    arrays = unpack(images_of(path), what="the file of images", sha256=record.file_sha256, max_bytes=MAX_FILE_BYTES)
    images, rows = arrays.get("images", np.zeros(0)), arrays.get("rows", np.zeros(0))
    formed = images.dtype == np.float32 and images.shape == (record.images, *shape)
    if set(arrays) != {"images", "rows"} or not formed or rows.dtype != np.int64 or rows.shape != images.shape[:1]:
        raise RowError(
            f"record '{path}': its file does not hold {record.images} float32 images of the track's shape and their "
            "rows."
        )
    count = sum(row.scores.sets.values()) - row.scores.sets[TEST]
    if len(np.unique(rows)) < len(rows) or not ((rows >= 0) & (rows < count)).all():
        raise RowError(f"record '{path}': its images do not belong to different OOD images.")
    return record, images, rows


def _worst(
    record: BeatenRecord,
    images: NDArray[np.float32],
    rows: NDArray[np.int64],
    row: Row,
    table: ScoreTable,
    scorer: Scorer,
) -> Scores:
    """(m,) of every image the higher score, of a row's worst case and of what was handed in.

    Raises:
        RowError: Images lie outside the ball or the box.
    """
    if (outside := int(scorer.outside(images, rows, record.norm, record.eps).sum())) > 0:
        raise RowError(f"{outside} of {record.images} images lie outside the ball or the box.")
    number = _entry(record, row)
    worst = table.arrays[names.worst_name(number)].copy()
    worst[rows] = np.maximum(worst[rows], scorer.attacked(images, rows, row.entries[number]))
    return as_scores(worst)


def _entry(record: BeatenRecord, row: Row) -> int:
    """The number of the attack whose ball the images keep.

    Raises:
        RowError: The row has no such attack.
    """
    known = [(entry.threat, entry.norm, entry.eps) for entry in row.entries]
    if (asked := (record.threat, record.norm, record.eps)) not in known:
        raise RowError(f"images are of the attack {record.threat}, which is not one of the row's.")
    return known.index(asked)
