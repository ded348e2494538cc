"""What lies beside a row: all of its scores, and some images, held to the row's digests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.track import TrackCard
from bench.leaderboards import arrays as names
from bench.leaderboards.arithmetic import TEST, ScoreTable
from bench.leaderboards.arrays import SCORE_TYPES, Arrays, array_sha256, unpack
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, Row, RowError


@dataclass(frozen=True)
class Files:
    """What lies beside a row.

    Attributes:
        table: All scores.
        images: The kept images of worst cases; empty where none are kept.
    """

    table: ScoreTable
    images: Arrays


def read_files(row: Row, path: Path, track: TrackCard | None) -> Files:
    """The files beside a row, as its digests describe them.

    Raises:
        UsageError: A file is missing or another one, or an array in it is not what the row says.
    """
    # Never the name in the row: a stranger wrote it.
    table = read_scores(row, path.with_name(row.stem + SCORES_SUFFIX), track)
    images: Arrays = {}
    if row.images is not None:
        where = path.with_name(row.stem + IMAGES_SUFFIX)
        images = unpack(where, what="the file of images", sha256=row.images.sha256)
    return Files(table, images)


def read_scores(row: Row, path: Path, track: TrackCard | None) -> ScoreTable:
    """The scores in a file, as a row's digests describe them.

    Args:
        row: The row.
        path: The file of its scores.
        track: The track's card where it is the row's; None holds the row to the sets that it names itself.

    Raises:
        UsageError: The file is missing or another one, or an array in it is not what the row says.
    """
    counting = _counting(row, track)
    arrays = unpack(path, what="the file of scores", sha256=row.scores.sha256)
    table = ScoreTable(row.scores.sets, counting, arrays)
    _check_arrays(row, arrays)
    return table


def _counting(row: Row, track: TrackCard | None) -> tuple[str, ...]:
    """The OOD sets that enter the mean, in the row's order: a card may name its sets in any."""
    ood = [name for name in row.scores.sets if name != TEST]
    if track is None:
        counting = {name for name, figures in row.entries[0].sets.items() if figures.counts}
    else:
        track = track.of_rows()
        counting = set(track.natural() or track.ood)
    if next(iter(row.scores.sets)) != TEST or (track is not None and set(ood) != set(track.ood)):
        raise RowError(f"the row has scores of {', '.join(row.scores.sets)}; the track's are test, then its OOD sets.")
    if not counting <= set(ood) or not counting:
        raise RowError("the sets that enter the row's mean are not among those that it has scores of.")
    return tuple(name for name in ood if name in counting)


def _check_arrays(row: Row, arrays: Arrays) -> None:
    """Raise where arrays are not what a row's attacks ask for."""
    ood = sum(row.scores.sets.values()) - row.scores.sets[TEST]
    expected = {
        names.IDS: (("int64",), ood + row.scores.sets[TEST]),
        names.CLEAN: (SCORE_TYPES, ood + row.scores.sets[TEST]),
    }
    if names.RIGHT in arrays:
        expected[names.RIGHT] = (("int8",), row.scores.sets[TEST])
    for number, entry in enumerate(row.entries):
        of_entry = [names.worst_name(number), *(names.member_name(number, name) for name in entry.members)]
        expected |= {names.norm_name(number): (("float32",), ood), **dict.fromkeys(of_entry, (SCORE_TYPES, ood))}
    if set(arrays) != set(expected) or set(row.scores.digests) != set(expected):
        raise RowError("the file of scores or scores.digests does not hold the arrays that the row's attacks ask for.")
    for name, (kinds, count) in expected.items():
        array = arrays[name]
        if str(array.dtype) not in kinds or array.shape != (count,):
            kind = " or ".join(kinds)
            raise RowError(f"scores '{name}' are {array.dtype} {array.shape}; they must be {kind} ({count},).")
        if not np.isfinite(array).all():
            raise RowError(f"scores '{name}' hold a number that is not finite.")
        if array_sha256(array) != row.scores.digests[name]:
            raise RowError(f"scores '{name}' differ from their digest in the row.")
    table = ScoreTable(row.scores.sets, (), arrays)
    if any(len(np.unique(part)) < len(part) for part in table.ids_by_set().values()):
        raise RowError("scores 'ids' name an image of a set twice.")
