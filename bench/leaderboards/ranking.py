"""The order of rows: by worst-case AUROC under a track's suite, and what stands beside it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.cards.catalog import Catalog
from bench.cards.track import TrackCard
from bench.errors import BenchError
from bench.leaderboards.adversarials import BeatenRecord
from bench.leaderboards.claims import Files
from bench.leaderboards.folder import FoundRow, LeftOut, find_rows, track_names
from bench.leaderboards.row import Row
from bench.leaderboards.suite import check_suite
from bench.leaderboards.verify import Level

_LEVELS = tuple(Level)
_DIGITS = re.compile(r"(\d+)")
_NEWER = "a newer row of this detector is ranked"


@dataclass(frozen=True)
class Standing:
    """A ranked row.

    Attributes:
        place: From 1; rows that tie share it.
        found: The row, and what lies beside it.
        files: Its scores.
        beaten_before: Images that beat the same detector under an earlier version of the track: they rank now.
    """

    place: int
    found: FoundRow
    files: Files
    beaten_before: tuple[BeatenRecord, ...] = ()

    @property
    def row(self) -> Row:
        """The row itself."""
        return self.found.row

    @property
    def ranked(self) -> float:
        """What it is ranked by."""
        return _ranked(self.found, self.beaten_before)


@dataclass(frozen=True)
class Board:
    """One track's leaderboard.

    Attributes:
        track: The track's card.
        standings: The ranked rows, the best first: at most one a detector.
        past: The others, by detector, the newest first.
    """

    track: TrackCard
    standings: tuple[Standing, ...]
    past: tuple[FoundRow, ...]

    @property
    def rows(self) -> tuple[FoundRow, ...]:
        """All rows."""
        return (*(standing.found for standing in self.standings), *self.past)

    def history(self, detector: str) -> tuple[FoundRow, ...]:
        """All rows of a detector, the ranked one first."""
        return tuple(found for found in self.rows if found.row.detector.name == detector)


@dataclass(frozen=True)
class Leaderboards:
    """The boards, the files that are not shown, and the names of shown ones without a seal."""

    boards: tuple[Board, ...]
    left_out: tuple[LeftOut, ...] = field(default=())
    unsealed: tuple[str, ...] = field(default=())


def leaderboards(catalog: Catalog, track: str | None = None) -> Leaderboards:
    """The boards of the folders `leaderboards/` of the workspace and of the built-in content.

    Args:
        catalog: Where cards and rows are found.
        track: Only this track; None for every track that has rows.

    Raises:
        UsageError: The named track is unknown or has no suite, or a folder cannot be read.
    """
    if track is not None:
        check_suite(catalog.track(track), catalog)
    boards, left_out, unsealed = [], [], []
    for name in [track] if track is not None else track_names(catalog):
        try:
            card = catalog.track(name)
            check_suite(card, catalog)
        except BenchError as error:
            left_out.append(LeftOut(name, f"folder '{name}' of leaderboards has no track to it: {error}"))
            continue
        found = find_rows(catalog, card)
        boards.append(rank(card, found.rows))
        left_out += found.left_out
        unsealed += [f"{name}/{path.name}" for path in found.unsealed]
    return Leaderboards(tuple(boards), tuple(left_out), tuple(unsealed))


def rank(track: TrackCard, rows: Iterable[FoundRow]) -> Board:
    """The rows in order.

    Of a detector's rows that fit the cards here the one by the newest bench is ranked. Ties in the worst-case AUROC
    share a place, and stand by how far they were verified, by clean AUROC and by name.

    Args:
        track: The track's card.
        rows: Its rows, in any order.
    """
    every = sorted(rows, key=_newest_first)
    current: dict[str, FoundRow] = {}
    past = []
    for found in every:
        if found.past or found.files is None:
            past.append(found)
        elif found.row.detector.name in current:
            past.append(FoundRow(found.row, found.record, found.beaten, found.files, _NEWER))
        else:
            current[found.row.detector.name] = found
    earlier = {name: _beaten_before(found, past) for name, found in current.items()}
    ordered = sorted(current.values(), key=lambda found: _order(found, earlier[found.row.detector.name]))
    values = [_ranked(found, earlier[found.row.detector.name]) for found in ordered]
    standings = []
    for found, value in zip(ordered, values, strict=True):
        assert found.files is not None
        place = 1 + sum(other > value for other in values)
        standings.append(Standing(place, found, found.files, earlier[found.row.detector.name]))
    return Board(track, tuple(standings), tuple(sorted(past, key=lambda found: found.row.detector.name)))


def _ranked(found: FoundRow, beaten_before: Sequence[BeatenRecord]) -> float:
    return min([found.ranked, *(record.auroc for record in beaten_before)])


def _order(found: FoundRow, beaten_before: Sequence[BeatenRecord]) -> tuple[object, ...]:
    row = found.row
    return -_ranked(found, beaten_before), -_LEVELS.index(found.level), -row.clean.auroc, row.stem


def _newest_first(found: FoundRow) -> tuple[object, ...]:
    row = found.row
    release = tuple(-int(part) for part in _DIGITS.findall(row.bench)[:3])
    return row.detector.name, -row.track.version, release, -_LEVELS.index(found.level), row.stem


def _beaten_before(found: FoundRow, past: Iterable[FoundRow]) -> tuple[BeatenRecord, ...]:
    """Images against rows of earlier versions of the track with this detector's settings, weights and sets."""
    row = found.row
    asked = {(entry.threat, entry.norm, entry.eps) for entry in row.entries}
    records = [
        record
        for other in past
        if other.row.track.version < row.track.version and _attacked_alike(row, other.row)
        for record in other.beaten
        if (record.threat, record.norm, record.eps) in asked
    ]
    return tuple(sorted(records, key=lambda record: (record.auroc, record.file_sha256)))


def _attacked_alike(a: Row, b: Row) -> bool:
    """Whether images made against one row say something of the other."""
    return all(
        (
            a.detector.settings_hash == b.detector.settings_hash,
            [part.sha256 for part in a.detector.weights] == [part.sha256 for part in b.detector.weights],
            (a.track.limit, a.track.set_digests) == (b.track.limit, b.track.set_digests),
        )
    )
