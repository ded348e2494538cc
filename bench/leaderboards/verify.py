"""How far a row can be trusted: `claimed` (it follows from its files), `re-scored`, `re-attacked`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.evaluation.plan import PlannedCell
from bench.leaderboards.beaten import Rescored, check_beaten, records_of, rescored_beaten
from bench.leaderboards.checks import Findings
from bench.leaderboards.claims import check_claims
from bench.leaderboards.companions import Files
from bench.leaderboards.drawn import check_drawn
from bench.leaderboards.identity import own_code
from bench.leaderboards.reattack import Fresh, check_reattacked, doubts, fresh_attacks
from bench.leaderboards.rescore import Scorer, check_rescored
from bench.leaderboards.row import Row, read_row

Tell = Callable[[str], None]

_RESCORED = "the weights give its scores, and images drawn by the verifier are attacked no better"
_REATTACKED = "fresh attacks with seeds of the verifier's do not leave less"
_BEATEN = "images that others handed in do what their record says"
_CODE = "the code that its card names does nothing but score"
_REVIEWER = "what the card says of training, tuning and extra data is true, and its weights can be had"


class Level(StrEnum):
    """What was done to a row; each level includes those before it."""

    CLAIMED = "claimed"  # schema, hashes and arithmetic: the figures follow from the scores beside the row
    RESCORED = "re-scored"  # the weights give those scores, and drawn images are attacked no better than it claims
    REATTACKED = "re-attacked"  # fresh attacks with other seeds, at equal budget, do not make it much worse


@dataclass
class Verification(Findings):
    """What came of it.

    Attributes:
        row: The row.
        asked: How far it was to go.
        reached: The highest level at which nothing was found wrong; None where the claim itself is wrong.
        beaten: One sentence for every record of images that beat the row which is wrong; it says nothing of the row.
        fresh: The fresh attacks, where there were any.
        refuted: Whether they leave less than the row claims.
        doubted: Whether a soundness check fails them.
        rescored: Images of others, against the verifier's own attacks.
        code: The workspace's own modules that score the detector, and the sha256 of each.
    """

    row: Row = field(kw_only=True)
    asked: Level = field(kw_only=True)
    reached: Level | None = None
    beaten: list[str] = field(default_factory=list)
    fresh: Fresh | None = None
    refuted: bool = False
    doubted: bool = False
    rescored: list[Rescored] = field(default_factory=list)
    code: dict[str, str] = field(default_factory=dict)

    @property
    def badge(self) -> str:
        """What was found, in brackets, as it is printed before a row."""
        if self.fresh is not None and (self.doubted or self.refuted):
            return "[doubted]" if self.doubted else "[refuted]"
        return f"[{self.reached}]" if self.reached is not None else "[refused]"

    def take(self, part: Findings) -> bool:
        """Add what a part of it found; whether nothing is wrong."""
        self.checked += part.checked
        self.problems += part.problems
        self.remarks += part.remarks
        return not part.problems


def verify(
    path: Path,
    level: Level,
    catalog: Catalog,
    *,
    device: str = "cpu",
    data_dir: Path | None = None,
    out: Path | None = None,
    seeds: tuple[int, ...] = (),
    tell: Tell = lambda sentence: None,
) -> Verification:
    """Verify a row up to a level.

    Args:
        path: The row's JSON file, with its companions beside it.
        level: How far to go; it stops at the first level that finds something wrong.
        catalog: Where cards and weights are found: a row is compared with those that are here.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.
        out: A folder that keeps the cells of fresh attacks; None keeps them in memory.
        seeds: Of the fresh attacks, 3 or more other than the row's own; empty takes ones that nobody knows before.
        tell: Hears in one sentence what is done.

    Raises:
        RowError: The file is no row.
        UsageError: Seeds that are not allowed.
        BenchError: Something that the level needs cannot be computed here.
    """
    row = read_row(path)
    found = Verification(row=row, asked=level)
    claims = check_claims(row, path, catalog, data_dir)
    if not found.take(claims) or claims.files is None:
        return _ended(found, _RESCORED, _BEATEN, _REATTACKED)
    found.reached = Level.CLAIMED
    found.code = own_code(catalog, row.detector.name, row.track.name)
    if level is Level.CLAIMED:
        return _ended(found, _RESCORED, _BEATEN, _REATTACKED)
    tell(f"scoring the track's images and {row.images.count if row.images else 0} kept ones by entry")
    scorer = Scorer.load(row, catalog, device=device, data_dir=data_dir)
    if not found.take(check_rescored(row, claims.files, catalog, scorer=scorer)):
        return _ended(found, _BEATEN, _REATTACKED)
    if level is Level.RESCORED:  # the next level attacks all images
        tell("attacking images drawn at random")
        if not found.take(check_drawn(row, claims.files, catalog, device=device, data_dir=data_dir)):
            return _ended(found, _BEATEN, _REATTACKED)
    found.reached = Level.RESCORED
    if records_of(path, row):
        found.beaten = check_beaten(path, row, claims.files.table, scorer)
        _note_beaten(found)
    if level is Level.RESCORED:
        return _ended(found, _REATTACKED)
    _reattack(found, claims.files, catalog, device=device, data_dir=data_dir, out=out, seeds=seeds, tell=tell)
    assert found.fresh is not None
    found.rescored = rescored_beaten(path, row, found.fresh, scorer)
    return _ended(found)


def _reattack(
    found: Verification,
    files: Files,
    catalog: Catalog,
    *,
    device: str,
    data_dir: Path | None,
    out: Path | None,
    seeds: tuple[int, ...],
    tell: Tell,
) -> None:
    row = found.row

    def watch(planned: PlannedCell, seed: int) -> None:
        tell(f"attacking anew with seed {seed}: {planned.label}")

    fresh = fresh_attacks(row, catalog, seeds=seeds, device=device, data_dir=data_dir, out=out, watch=watch)
    told = f"seeds {', '.join(map(str, fresh.seeds))}"
    found.fresh = fresh
    found.refuted = not found.judge(_REATTACKED, check_reattacked(row, files, fresh), told)
    found.doubted = not found.judge("no soundness check fails the verifier's own attacks", doubts(fresh, catalog), told)
    found.reached = Level.RESCORED if found.refuted or found.doubted else Level.REATTACKED


def _note_beaten(found: Verification) -> None:
    """What came of others' images: it says nothing of the row, so that no problem of the row is made of it."""
    own = Findings()
    own.judge(_BEATEN, found.beaten)
    found.checked += own.checked


def _ended(found: Verification, *left: str) -> Verification:
    """The same, with what was not looked at."""
    level = "a higher level was not asked for" if not found.problems else "something before it failed"
    for what in left:
        found.skip(what, level)
    if found.code:
        named = ", ".join(found.code)
        found.skip(
            _CODE, f"it is the workspace's own, so that a reviewer must read it before the row is signed: {named}"
        )
    found.skip(_REVIEWER, "a reviewer asks; no program can tell")
    return found
