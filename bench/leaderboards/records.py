"""What was found out about a row later: how far it was verified, and which images beat it. Written beside the row."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bench.cards.base import Name, Sha256
from bench.cards.threat import Norm
from bench.leaderboards.reattack import ATTEMPTS, DEVIATIONS, LEAST, Fresh, FreshEntry
from bench.leaderboards.row import Entry, Row, RowError, Share, Version, ignored, read_part
from bench.leaderboards.verify import Level, Verification
from bench.own_files import write_own
from bench.seals import sealed_json

_ROUNDING = 1e-9
VERIFIED_SUFFIX = ".verified.json"
FORMAT: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FreshFigures(_Part):
    """Fresh attacks of one entry of the suite."""

    threat: Name
    norm: Norm
    eps: float = Field(gt=0, allow_inf_nan=False)
    claimed: Share
    aurocs: tuple[Share, ...] = Field(min_length=1, max_length=100)  # of each seed
    mean: Share
    sd: float = Field(ge=0, allow_inf_nan=False)
    median: Share


class VerifiedRecord(_Part):
    """How far a row was verified, and what it is ranked by once it was attacked again."""

    format: Literal[1] = FORMAT
    row_sha256: Sha256  # of the row that was verified: another one needs a verification of its own
    level: Level
    bench: Version
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), max_length=100)
    entries: tuple[FreshFigures, ...] = Field(default=(), max_length=8)
    ranked: Share  # the lowest median over the entries; the claimed worst case where nothing was attacked again


def verified_record(found: Verification) -> VerifiedRecord:
    """The record of a verification that found nothing wrong at the level it reached."""
    from bench import __version__

    assert found.reached is not None
    entries = _fresh_figures(found.row, found.fresh) if found.fresh is not None else ()
    attacked = found.reached is Level.REATTACKED
    ranked = min((entry.median for entry in entries), default=found.row.worst.auroc)
    return VerifiedRecord(
        row_sha256=found.row.row_sha256, level=found.reached, bench=__version__,
        seeds=found.fresh.seeds if found.fresh is not None and attacked else (),
        entries=entries if attacked else (), ranked=ranked if attacked else found.row.worst.auroc,
    )  # fmt: skip


def read_verified(path: Path, row: Row, unsealed: Callable[[Path], None] = ignored) -> VerifiedRecord | None:
    """The record beside a row; None where there is none.

    Args:
        path: The row's file.
        row: What it holds.
        unsealed: Hears of a record without a seal.

    Raises:
        RowError: It is damaged or of another row, or its figures contradict each other or the row's.
    """
    beside = path.with_name(row.stem + VERIFIED_SUFFIX)
    if not beside.exists():
        return None
    record = read_part(beside, VerifiedRecord, what="verification", unsealed=unsealed)
    if record.row_sha256 != row.row_sha256:
        raise RowError(f"verification '{beside}' is of another row; run `bench verify --record` again.")
    if problem := next(_contradictions(record, row), None):
        raise RowError(f"verification '{beside}': {problem}; run `bench verify --record` again.")
    return record


def write_record(path: Path, found: Verification) -> Path | None:
    """Write the record beside a row, unless the one that is there goes further and nothing was found wrong now.

    Args:
        path: The row's file.
        found: What came of verifying it.

    Returns:
        Its file; None where the one that is there was kept.

    Raises:
        UsageError: The folder cannot be written, or another file lies under the record's name.
    """
    beside = path.with_name(found.row.stem + VERIFIED_SUFFIX)
    if not found.problems and _goes_further(path, found):
        return None
    write_own({beside: sealed_json(verified_record(found).model_dump(mode="json"))}, "rename it")
    return beside


def _goes_further(path: Path, found: Verification) -> bool:
    """Whether the record that is there is of this row, and of a higher level."""
    assert found.reached is not None
    try:
        known = read_verified(path, found.row)
    except RowError:
        return False
    levels = tuple(Level)
    return known is not None and levels.index(known.level) > levels.index(found.reached)


def _contradictions(record: VerifiedRecord, row: Row) -> Iterator[str]:
    """Figures that do not follow from each other or from the row."""
    if record.level is not Level.REATTACKED:
        if record.entries or record.seeds or record.ranked != row.worst.auroc:
            yield "it holds fresh attacks below the level re-attacked"
        return
    if len(set(record.seeds)) < ATTEMPTS or row.seed in record.seeds:
        yield f"its seeds are not {ATTEMPTS} or more others than the row's"
    if len(record.entries) != len(row.entries):
        yield "its attacks are not the row's"
        return
    for given, entry in zip(record.entries, row.entries, strict=True):
        if len(given.aurocs) != len(record.seeds):
            yield f"{given.threat} has {len(given.aurocs)} figures for {len(record.seeds)} seeds"
            return
        expected = _figures(entry, FreshEntry(given.aurocs, np.zeros((0, 0), np.float32)))
        if given != expected:
            yield f"the figures of {given.threat} do not follow from those of its seeds and the row's"
        if entry.mean.auroc > given.mean + max(LEAST, DEVIATIONS * given.sd) + _ROUNDING:
            yield f"the claimed AUROC under {given.threat} is above what its fresh attacks allow"
    if record.ranked != min(given.median for given in record.entries):
        yield "the figure that ranks is not the lowest median"


def _fresh_figures(row: Row, fresh: Fresh) -> tuple[FreshFigures, ...]:
    return tuple(_figures(entry, again) for entry, again in zip(row.entries, fresh.entries, strict=True))


def _figures(entry: Entry, again: FreshEntry) -> FreshFigures:
    return FreshFigures(
        threat=entry.threat, norm=entry.norm, eps=entry.eps, claimed=entry.mean.auroc, aurocs=again.aurocs,
        mean=again.mean, sd=again.sd, median=again.median,
    )  # fmt: skip
