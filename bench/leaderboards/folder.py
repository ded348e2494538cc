"""The rows that lie in folders of leaderboards: each checked by itself, and what is wrong left out in one sentence."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.cards.track import TrackCard
from bench.errors import BenchError, UsageError
from bench.leaderboards.adversarials import BeatenRecord
from bench.leaderboards.beaten import BEATEN, read_beaten
from bench.leaderboards.claims import Files, check_claims
from bench.leaderboards.records import VERIFIED_SUFFIX, VerifiedRecord, read_verified
from bench.leaderboards.row import Row, RowError, read_row
from bench.leaderboards.submit import FOLDER
from bench.leaderboards.verify import Level


@dataclass(frozen=True)
class FoundRow:
    """A row that holds what it claims, and what lies beside it.

    Attributes:
        row: The row.
        record: How far it was verified; None where nobody recorded it.
        beaten: Images of others that beat it.
        files: Its scores; None for a row of another version of the track.
        past: Why it is not ranked, in a few words: it is of other cards than those here; "" where it is ranked.
    """

    row: Row
    record: VerifiedRecord | None
    beaten: tuple[BeatenRecord, ...]
    files: Files | None
    past: str = ""

    @property
    def level(self) -> Level:
        """How far it can be trusted."""
        return self.record.level if self.record is not None else Level.CLAIMED

    @property
    def ranked(self) -> float:
        """The worst-case AUROC: the lowest median of fresh attacks where there were any, else the claimed one."""
        return self.record.ranked if self.record is not None else self.row.worst.auroc


@dataclass(frozen=True)
class LeftOut:
    """A file that is not shown.

    Attributes:
        file: Its place in the folder of leaderboards.
        why: One sentence.
    """

    file: str
    why: str


@dataclass
class FoundRows:
    """The rows of one track, the files that cannot be used, and those without a seal."""

    rows: list[FoundRow] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    unsealed: list[Path] = field(default_factory=list)


def track_names(catalog: Catalog) -> list[str]:
    """The folders that hold rows, or files that pass for some, in all folders of leaderboards."""
    folders = [folder for root in _roots(catalog) for folder in _entries(root) if folder.is_dir()]
    return sorted({folder.name for folder in folders if any("@" in path.name for path in _entries(folder))})


def find_rows(catalog: Catalog, track: TrackCard) -> FoundRows:
    """The rows of a track, those of the workspace before built-in ones of the same name.

    Args:
        catalog: Where cards are found; a row is compared with those that are here.
        track: The track's card.

    Raises:
        UsageError: A folder cannot be read.
    """
    found, seen = FoundRows(), set[str]()
    for root in _roots(catalog):
        paths = [path for path in _entries(root / track.name) if path.suffix == ".json" and path.name not in seen]
        seen |= {path.name for path in paths}
        beside = [path for path in paths if path.name.endswith(VERIFIED_SUFFIX) or BEATEN.search(path.name)]
        for path in paths:
            if path in beside:
                continue
            try:
                found.rows.append(_found_row(found, path, beside, catalog, track))
            except BenchError as error:
                found.left_out.append(LeftOut(f"{track.name}/{path.name}", str(error)))
        for path in beside:  # of a row that another one hides, what lies beside it is hidden too
            if f"{BEATEN.sub('', path.name).removesuffix(VERIFIED_SUFFIX)}.json" not in seen:
                why = f"'{path}' is about a row that is not beside it; remove it."
                found.left_out.append(LeftOut(f"{track.name}/{path.name}", why))
    return found


def _found_row(found: FoundRows, path: Path, beside: list[Path], catalog: Catalog, track: TrackCard) -> FoundRow:
    """The row in a file; what lies beside it and cannot be used is left out by itself.

    Raises:
        BenchError: It is none, or wrong.
    """
    row = read_row(path)
    if row.track.name != track.name:
        raise RowError(f"row '{path}' is of the track '{row.track.name}'; put it into that track's folder.")
    if row.track.version > track.version:
        raise RowError(
            f"row '{path}' is of version {row.track.version} of its track, and the card here has version "
            f"{track.version}; use the workspace that the row was made with."
        )
    files, past = None, ""
    if row.track.version < track.version:
        _check_sealed(row, path)
        past = f"version {row.track.version} of the track"
    else:
        claims = check_claims(row, path, catalog, None)
        if wrong := [problem for problem in claims.problems if problem not in claims.of_cards]:
            raise RowError(f"row '{path}' does not hold what it claims: {wrong[0]}")
        files, past = claims.files, claims.of_cards[0].rstrip(".") if claims.of_cards else ""
    record = None
    try:
        record = read_verified(path, row, found.unsealed.append)
    except UsageError as error:
        found.left_out.append(LeftOut(f"{track.name}/{row.stem}{VERIFIED_SUFFIX}", str(error)))
    beaten = []
    for other in beside:
        if BEATEN.search(other.name) and BEATEN.sub("", other.name) == row.stem:
            try:
                beaten.append(read_beaten(other, row, found.unsealed.append))
            except UsageError as error:
                found.left_out.append(LeftOut(f"{track.name}/{other.name}", str(error)))
    return FoundRow(row, record, tuple(beaten), files, past)


def _check_sealed(row: Row, path: Path) -> None:
    """Raise where a row was changed after it was built; its cards are no longer here to be compared with."""
    if row.row_sha256 != row.content_sha256():
        raise RowError(f"row '{path}' was changed after it was built: its row_sha256 is not that of its fields.")
    if path.name != f"{row.stem}.json":
        raise RowError(f"row '{path}' must be named '{row.stem}.json', by what it holds.")


def _roots(catalog: Catalog) -> list[Path]:
    return [root / FOLDER for root in catalog.content_roots()]


def _entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, in the order of names; nothing where there is none.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"folder '{folder}' cannot be read ({error.strerror}); check its permissions.") from error
