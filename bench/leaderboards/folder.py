"""The rows that lie in folders of leaderboards: each checked by itself, and what is wrong left out in one sentence."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.cards.track import TrackCard
from bench.errors import BenchError, UsageError
from bench.leaderboards.beaten import BEATEN, images_of, read_beaten
from bench.leaderboards.claims import check_claims
from bench.leaderboards.companions import Files
from bench.leaderboards.identity import own_code
from bench.leaderboards.record_files import Beside, SignedRecord, is_record, read_beside, row_stem
from bench.leaderboards.row import Row, RowError, read_row
from bench.leaderboards.signatures import ALLOWED, Signers, read_signers
from bench.leaderboards.submit import FOLDER


@dataclass(frozen=True)
class FoundRow:
    """A row that holds what it claims, and what verifiers found out about it.

    Attributes:
        row: The row, as its submitter made it.
        records: What was found by those who may verify; all of it counts.
        files: Its scores.
        past: Why it can have no place, in a few words: it is of other cards than those here; "" where it can.
    """

    row: Row
    records: tuple[SignedRecord, ...]
    files: Files | None
    past: str = ""

    @property
    def evidence(self) -> SignedRecord | None:
        """What gives the row its place: of several records the one that leaves least; None where none gives a place.

        Attacks only ever add to what is known: a later record that found less takes nothing back.
        """
        able = [signed for signed in self.records if signed.record.ranks]
        if len(able) < sum(signed.record.fresh is not None for signed in self.records):
            return None  # somebody's attacks could not be believed
        return min(able, key=_strength, default=None)

    @property
    def refuted(self) -> bool:
        """Whether any verification found less than the row claims: another one that did not takes nothing back."""
        records = [signed.record for signed in self.records]
        return any(record.reached is not record.asked and not record.doubts for record in records)

    @property
    def words(self) -> str:
        """What is known of it, in a word or two."""
        if self.evidence is not None:
            return "refuted" if self.refuted else self.evidence.record.words
        known = [signed.record for signed in self.records]
        if any(record.doubts for record in known):
            return "doubted"
        if self.refuted:
            return "refuted"
        return max((record.words for record in known), key=_ORDER.index, default=NOBODY)


NOBODY = "not verified"
_ORDER = (NOBODY, "claimed", "re-scored", "re-attacked")


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
    """The rows of one track, the files that cannot be used, and those that nobody vouches for."""

    rows: list[FoundRow] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    unsigned: list[str] = field(default_factory=list)
    unscored: list[str] = field(default_factory=list)  # images that beat a row, and that no verifier has scored
    hidden: list[str] = field(default_factory=list)  # rows of the workspace with the name of a verified one


@dataclass(frozen=True)
class _Place:
    """A row's file, with the folder of leaderboards that it lies in."""

    root: Path
    path: Path
    beside: tuple[Path, ...]


def track_names(catalog: Catalog) -> list[str]:
    """The folders that hold rows, or files that pass for some, in all folders of leaderboards."""
    folders = [folder for root in _roots(catalog) for folder in _entries(root) if folder.is_dir()]
    return sorted({folder.name for folder in folders if any("@" in path.name for path in _entries(folder))})


def signers_problems(catalog: Catalog) -> list[str]:
    """One sentence for every line of the files of signers that gives nobody a right."""
    return [problem for root in _roots(catalog) for problem in read_signers(root).problems]


def find_rows(catalog: Catalog, track: TrackCard) -> FoundRows:
    """The rows of a track, in the workspace and in the built-in content.

    Rows of one name are the same row where they hold the same: then all that was found about them counts. Where they
    do not, the one that was verified stands for the name, and of equals that of the workspace.

    Args:
        catalog: Where cards are found; a row is compared with those that are here.
        track: The track's card.

    Raises:
        UsageError: A folder cannot be read.
    """
    found = FoundRows()
    named: dict[str, list[tuple[_Place, FoundRow]]] = {}
    for place in _places(found, catalog, track):
        try:
            row = _found_row(found, place, catalog, track)
        except BenchError as error:
            found.left_out.append(LeftOut(f"{track.name}/{place.path.name}", str(error)))
            continue
        named.setdefault(place.path.name, []).append((place, row))
    for several in named.values():
        found.rows.append(_one_of_a_name(found, several, track))
    return found


def _places(found: FoundRows, catalog: Catalog, track: TrackCard) -> Iterator[_Place]:
    for root in _roots(catalog):
        paths = [path for path in _entries(root / track.name) if path.suffix == ".json"]
        beside = [path for path in paths if is_record(path.name) or BEATEN.search(path.name)]
        rows = [path for path in paths if path not in beside]
        stems = {path.name.removesuffix(".json") for path in rows}
        for path in rows:
            own = [other for other in beside if _row_of(other) == path.name.removesuffix(".json")]
            yield _Place(root, path, tuple(own))
        for path in beside:
            if _row_of(path) not in stems:
                why = f"'{path}' is about a row that is not beside it; remove it."
                found.left_out.append(LeftOut(f"{track.name}/{path.name}", why))


def _row_of(path: Path) -> str:
    return BEATEN.sub("", path.name) if BEATEN.search(path.name) else row_stem(path.name)


def _one_of_a_name(found: FoundRows, several: list[tuple[_Place, FoundRow]], track: TrackCard) -> FoundRow:
    """The row that stands for a name; see `find_rows`."""
    place, first = several[0]
    same = [row for _, row in several if row.row.row_sha256 == first.row.row_sha256]
    merged = FoundRow(first.row, tuple(signed for row in same for signed in row.records), first.files, first.past)
    verified = [row for _, row in several if row.evidence is not None]
    if merged.evidence is None and verified:
        found.hidden.append(f"{track.name}/{place.path.name}")
        return verified[0]
    return merged


def _found_row(found: FoundRows, place: _Place, catalog: Catalog, track: TrackCard) -> FoundRow:
    """The row in a file; what lies beside it and cannot be used is left out by itself.

    Raises:
        BenchError: It is none, or wrong.
    """
    path = place.path
    row = read_row(path)
    if row.track.name != track.name:
        raise RowError(f"row '{path}' is of the track '{row.track.name}'; put it into that track's folder.")
    if row.track.version > track.version:
        raise RowError(
            f"row '{path}' is of version {row.track.version} of its track, and the card here has version "
            f"{track.version}; use the workspace that the row was made with."
        )
    claims = check_claims(row, path, catalog, None)
    if wrong := [problem for problem in claims.problems if problem not in claims.of_cards]:
        raise RowError(f"row '{path}' does not hold what it claims: {wrong[0]}")
    past = claims.of_cards[0].rstrip(".") if claims.of_cards else ""
    if row.track.version < track.version:
        past = f"version {row.track.version} of the track"
    code = None if past else own_code(catalog, row.detector.name, track.name)
    paths = [other for other in place.beside if is_record(other.name)]
    beside = read_beside(row, paths, _signers(place, catalog), code)
    _say_of_records(found, beside, track)
    _say_of_images(found, place, row, beside, track)
    return FoundRow(row, tuple(beside.signed), claims.files, past)


def _say_of_records(found: FoundRows, beside: Beside, track: TrackCard) -> None:
    found.unsigned += [f"{track.name}/{path.name}" for path in beside.unsigned]
    found.left_out += [LeftOut(f"{track.name}/{path.name}", why) for path, why in beside.refused.items()]


def _say_of_images(found: FoundRows, place: _Place, row: Row, beside: Beside, track: TrackCard) -> None:
    """Which images that are said to beat a row no verifier has scored, and which cannot be used."""
    scored = {part.file_sha256 for signed in beside.signed for part in signed.record.beaten}
    for path in place.beside:
        if BEATEN.search(path.name):
            try:
                record = read_beaten(path, row)
            except UsageError as error:
                found.left_out.append(LeftOut(f"{track.name}/{path.name}", str(error)))
                continue
            if record.file_sha256 not in scored:
                found.unscored.append(f"{track.name}/{images_of(path).name}")


def _signers(place: _Place, catalog: Catalog) -> Signers:
    """Who may verify the rows of a folder: its own file says, and that of the built-in content where it has none."""
    own = place.root / ALLOWED
    return read_signers(place.root if own.exists() or own.is_symlink() else _roots(catalog)[-1])


def _strength(signed: SignedRecord) -> tuple[float, str, str]:
    assert signed.record.fresh is not None
    return signed.record.fresh.ranked, signed.record.made, signed.path.name


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
