"""The order of rows: by what verifiers' attacks left of them under a track's suite, and by nothing else."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.cards.catalog import Catalog
from bench.cards.track import TrackCard
from bench.errors import BenchError
from bench.leaderboards.companions import Files
from bench.leaderboards.folder import FoundRow, LeftOut, find_rows, signers_problems, track_names
from bench.leaderboards.record_files import SignedRecord
from bench.leaderboards.records import BeatenFigures, FreshPart
from bench.leaderboards.row import Row
from bench.leaderboards.suite import check_suite

_DIGITS = re.compile(r"(\d+)")
_NEWER = "another row of this detector is ranked"
_DOUBTED = "another row of this detector is doubted"
BESIDE = (_NEWER, _DOUBTED)
"""Why rows of the cards here have no place."""


@dataclass(frozen=True)
class Standing:
    """A ranked row. Everything of it that is shown is a verifier's.

    Attributes:
        place: From 1; rows that tie share it.
        found: The row as it was handed in, and what was found out about it.
        evidence: The record that gives the place.
    """

    place: int
    found: FoundRow
    evidence: SignedRecord

    @property
    def fresh(self) -> FreshPart:
        """The verifier's attacks."""
        assert self.evidence.record.fresh is not None
        return self.evidence.record.fresh

    @property
    def row(self) -> Row:
        """The verifier's own row."""
        return self.fresh.row

    @property
    def files(self) -> Files:
        """The verifier's own scores."""
        assert self.evidence.table is not None
        return Files(self.evidence.table, {})

    @property
    def beaten(self) -> tuple[BeatenFigures, ...]:
        """Images of others that beat it, as the verifier scored them."""
        return tuple(part for part in self.evidence.record.beaten if part.beats)

    @property
    def beaten_before(self) -> tuple[BeatenFigures, ...]:
        """Those that were handed in against an earlier version of the track: they rank now, the lowest first."""
        return tuple(sorted((part for part in self.beaten if part.earlier), key=lambda part: part.auroc))

    @property
    def ranked(self) -> float:
        """What it is ranked by."""
        return min([self.fresh.ranked, *(part.auroc for part in self.beaten_before)])


@dataclass(frozen=True)
class Board:
    """One track's leaderboard.

    Attributes:
        track: The track's card.
        standings: The ranked rows, the best first: at most one a detector.
        unranked: Rows of the cards here that no verifier's attacks give a place, by detector.
        past: The others, by detector, the newest first.
    """

    track: TrackCard
    standings: tuple[Standing, ...]
    unranked: tuple[FoundRow, ...]
    past: tuple[FoundRow, ...]

    @property
    def rows(self) -> tuple[FoundRow, ...]:
        """All rows."""
        return (*(standing.found for standing in self.standings), *self.unranked, *self.past)

    def history(self, detector: str) -> tuple[FoundRow, ...]:
        """All rows of a detector, the ranked one first."""
        return tuple(found for found in self.rows if found.row.detector.name == detector)


@dataclass(frozen=True)
class Leaderboards:
    """The boards; the files that are not shown, or count for nothing until a verifier signs; and hidden rows."""

    boards: tuple[Board, ...]
    left_out: tuple[LeftOut, ...] = field(default=())
    unsigned: tuple[str, ...] = field(default=())
    unscored: tuple[str, ...] = field(default=())
    hidden: tuple[str, ...] = field(default=())


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
    boards = []
    unsigned: list[str] = []
    unscored: list[str] = []
    hidden: list[str] = []
    left_out = [LeftOut("allowed_signers", problem) for problem in signers_problems(catalog)]
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
        unsigned += found.unsigned
        unscored += found.unscored
        hidden += found.hidden
    return Leaderboards(tuple(boards), tuple(left_out), tuple(unsigned), tuple(unscored), tuple(hidden))


def rank(track: TrackCard, rows: Iterable[FoundRow]) -> Board:
    """The rows in order.

    A row has a place where a verifier's own attacks say what is left of its detector. Of a detector's rows the one is
    ranked that was verified by the newest bench, and of those the one of which less is left; what a row says of its own
    version moves nobody. Where a row of a detector is doubted, another one of it has a place only by a newer bench.
    Ties in the worst-case AUROC share a place, and stand by clean AUROC and by name.

    Args:
        track: The track's card.
        rows: Its rows, in any order.
    """
    every = sorted(rows, key=lambda found: (found.row.detector.name, -found.row.track.version, found.row.stem))
    past = [found for found in every if found.past]
    current = [found for found in every if not found.past]
    believed: dict[bool, list[FoundRow]] = {True: [], False: []}
    for found in current:
        if found.evidence is not None:
            believed[not _doubted_since(found, current)].append(found)
    past += [_without_place(own, _DOUBTED) for own in believed[False]]
    able = sorted(believed[True], key=_by_verifier)
    first: dict[str, FoundRow] = {}
    for found in able:
        first.setdefault(found.row.detector.name, found)
    past += [_without_place(own, _NEWER) for own in able if own is not first[own.row.detector.name]]
    standings = _placed(list(first.values()))
    unranked = tuple(found for found in current if found.evidence is None)
    return Board(track, standings, unranked, tuple(sorted(past, key=lambda found: found.row.detector.name)))


def _placed(rows: Sequence[FoundRow]) -> tuple[Standing, ...]:
    standings = [Standing(0, found, found.evidence) for found in rows if found.evidence is not None]
    values = [standing.ranked for standing in standings]
    placed = [Standing(1 + sum(other > own.ranked for other in values), own.found, own.evidence) for own in standings]
    return tuple(sorted(placed, key=lambda own: (own.place, -own.row.clean.auroc, own.found.row.stem)))


def _without_place(found: FoundRow, why: str) -> FoundRow:
    return FoundRow(found.row, found.records, found.files, why)


def _doubted_since(found: FoundRow, others: Iterable[FoundRow]) -> bool:
    """Whether the attacks on another row of the same detector are doubted by no older bench than verified this one."""
    assert found.evidence is not None
    verified = _release(found.evidence.record.bench)
    return any(
        _release(signed.record.bench) >= verified
        for other in others
        if _computed(other.row) == _computed(found.row)
        for signed in other.records
        if signed.record.doubts
    )


def _computed(row: Row) -> tuple[object, ...]:
    """What a detector's scores come from, whatever a row says of itself."""
    return row.detector.name, row.detector.settings_hash, tuple(part.sha256 for part in row.detector.weights)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _DIGITS.findall(version)[:3])


def _by_verifier(found: FoundRow) -> tuple[object, ...]:
    """The newest version of bench that verified a row first, then of what less is left."""
    assert found.evidence is not None and found.evidence.record.fresh is not None
    record, fresh = found.evidence.record, found.evidence.record.fresh
    release = tuple(-part for part in _release(record.bench))
    return found.row.detector.name, release, fresh.ranked, found.row.stem
