"""How far a row can be trusted: `claimed` (it follows from its files), `re-scored`, `re-attacked`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from bench.cards.catalog import Catalog
from bench.evaluation.plan import PlannedCell
from bench.leaderboards.beaten import check_beaten
from bench.leaderboards.claims import Files, check_claims
from bench.leaderboards.reattack import Fresh, check_reattacked, fresh_attacks
from bench.leaderboards.rescore import check_rescored
from bench.leaderboards.row import Row, read_row

Tell = Callable[[str], None]


class Level(StrEnum):
    """What was done to a row; each level includes those before it."""

    CLAIMED = "claimed"  # schema, hashes and arithmetic: the figures follow from the scores beside the row
    RESCORED = "re-scored"  # the weights give those scores on the track's images and on the kept attacked ones
    REATTACKED = "re-attacked"  # fresh attacks with other seeds, at equal budget, do not make it much worse


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Attributes:
        row: The row.
        reached: The highest level at which nothing was found wrong; None where the claim itself is wrong.
        problems: One sentence for everything that is wrong; empty where the level asked for was reached.
        remarks: One sentence for what a reader should know.
        beaten: One sentence for every record of images that beat the row which is wrong; it says nothing of the row.
        fresh: The figures of the fresh attacks, where there were any.
    """

    row: Row
    reached: Level | None
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    beaten: tuple[str, ...] = ()
    fresh: Fresh | None = field(default=None)

    @property
    def badge(self) -> str:
        """The level in brackets, as it is printed before a row."""
        return f"[{self.reached}]" if self.reached is not None else "[refused]"


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
        seeds: Of the fresh attacks, 3 or more other than the row's own; empty takes the next three.
        tell: Hears in one sentence what is done.

    Raises:
        RowError: The file is no row.
        UsageError: Seeds that are not allowed.
        BenchError: Something that the level needs cannot be computed here.
    """
    row = read_row(path)
    claims = check_claims(row, path, catalog, data_dir)
    found = Verification(row, None, tuple(claims.problems), tuple(claims.remarks))
    if claims.problems or claims.files is None:
        return found
    found = replace(found, reached=Level.CLAIMED)
    if level is Level.CLAIMED:
        return found
    tell(f"scoring the track's images and {row.images.count if row.images else 0} kept ones by entry")
    problems, remarks = check_rescored(row, claims.files, catalog, device=device, data_dir=data_dir)
    found = replace(found, problems=tuple(problems), remarks=(*found.remarks, *remarks))
    if problems:
        return found
    beaten = check_beaten(row, path, claims.files, catalog, device=device, data_dir=data_dir)
    found = replace(found, reached=Level.RESCORED, beaten=tuple(beaten))
    if level is Level.RESCORED:
        return found
    return _reattacked(found, claims.files, catalog, device=device, data_dir=data_dir, out=out, seeds=seeds, tell=tell)


def _reattacked(
    found: Verification, files: Files, catalog: Catalog, *, device: str, data_dir: Path | None, out: Path | None,
    seeds: tuple[int, ...], tell: Tell,
) -> Verification:  # fmt: skip
    row = found.row

    def watch(planned: PlannedCell, seed: int) -> None:
        tell(f"attacking anew with seed {seed}: {planned.label}")

    fresh = fresh_attacks(row, catalog, seeds=seeds, device=device, data_dir=data_dir, out=out, watch=watch)
    problems = tuple(check_reattacked(row, files, fresh))
    reached = Level.RESCORED if problems else Level.REATTACKED
    return replace(found, reached=reached, problems=problems, fresh=fresh)
