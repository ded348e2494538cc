"""What one verification of a row found: all that a board shows of a ranked row is taken from such a record.

It always says what that run found, be it little or against the row. It is bound to the row, and holds a row of the
verifier's own, made from its fresh attacks: figures, verdicts, costs, versions. Only a record that is signed by
somebody in `allowed_signers` counts; see `bench.leaderboards.signatures`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from bench import __version__
from bench.cards.base import Name, Sha256
from bench.cards.threat import Norm
from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.beaten import Rescored
from bench.leaderboards.checks import Checked
from bench.leaderboards.claims import own_problems
from bench.leaderboards.companions import Files
from bench.leaderboards.reattack import ATTEMPTS, MOST_ATTEMPTS, FreshEntry
from bench.leaderboards.row import Entry, Label, Row, Share, Version
from bench.leaderboards.verify import Level, Verification

RECORD = re.compile(r"\.verified-[0-9a-f]{12}\.json$")
"""How the names of records end."""

FORMAT: Literal[2] = 2
"""Version of the records' layout; those of format 1 were not signed."""

MOST_MODULES = 1000
"""Of the workspace's own, that may score a detector."""

MOST_BEATEN = 100
"""Of images that others handed in, those that leave least: however many lie beside a row, none hides them."""

_ROUNDING = 1e-9

Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Subject(_Part):
    """The row that was verified: another one, or the same after a change, needs a verification of its own."""

    row_sha256: Sha256
    scores_sha256: Sha256
    images_sha256: Sha256 | None
    detector: str = Field(max_length=129)
    card_hash: Sha256
    settings_hash: Sha256
    weights: tuple[Sha256, ...] = Field(max_length=64)
    track: Name
    track_version: int = Field(ge=1)
    track_hash: Sha256
    set_digests: dict[Name, Sha256] = Field(max_length=70)

    @classmethod
    def of(cls, row: Row) -> "Subject":
        """The identity of a row."""
        return cls(
            row_sha256=row.row_sha256,
            scores_sha256=row.scores.sha256,
            images_sha256=None if row.images is None else row.images.sha256,
            detector=row.detector.name,
            card_hash=row.detector.card_hash,
            settings_hash=row.detector.settings_hash,
            weights=tuple(part.sha256 for part in row.detector.weights),
            track=row.track.name,
            track_version=row.track.version,
            track_hash=row.track.hash,
            set_digests=row.track.set_digests,
        )


class FreshFigures(_Part):
    """Fresh attacks of one entry of the suite."""

    threat: Name
    norm: Norm
    eps: float = Field(gt=0, allow_inf_nan=False)
    claimed: Share
    aurocs: tuple[Share, ...] = Field(min_length=ATTEMPTS, max_length=MOST_ATTEMPTS)  # of each seed
    mean: Share
    sd: float = Field(ge=0, allow_inf_nan=False)
    median: Share
    allowed: float = Field(ge=0, le=4, allow_inf_nan=False)  # what may be claimed


class BeatenFigures(_Part):
    """Images of a third party, scored by the verifier with its own attacks."""

    file_sha256: Sha256
    earlier: bool  # handed in against a row of an earlier version of the track
    threat: Name  # whose ball they keep
    norm: Norm
    eps: float = Field(gt=0, allow_inf_nan=False)
    images: int = Field(ge=1)
    higher: int = Field(ge=0)  # images that score higher than under the verifier's attacks
    auroc: Share  # with the higher of both scores for every image
    se: Share
    beats: bool  # whether that is less than other seeds may leave


class FreshPart(_Part):
    """What fresh attacks found."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=ATTEMPTS, max_length=MOST_ATTEMPTS)
    entries: tuple[FreshFigures, ...] = Field(min_length=1, max_length=8)
    refuted: bool  # the claim is milder than fresh attacks allow
    doubted: bool  # a soundness check fails the verifier's own attacks
    ranked: Share  # the lowest median over the entries
    row: Row  # of the seed next to that median: the verifier's own figures, verdicts, costs and versions


class VerifiedRecord(_Part):
    """What one verification found."""

    format: Literal[2] = FORMAT
    row_sha256: Sha256
    made: Time  # in UTC
    bench: Version  # that verified it
    asked: Level  # how far the verification was to go
    reached: Level  # how far nothing was found wrong
    subject: Subject
    code: dict[Label, Sha256] = Field(default={}, max_length=MOST_MODULES)  # of the workspace's own, that scored it
    checked: tuple[Checked, ...] = Field(max_length=100)  # what passed, what failed, and what was not looked at
    fresh: FreshPart | None  # nothing where no attack was made
    beaten: tuple[BeatenFigures, ...] = Field(max_length=MOST_BEATEN)

    @property
    def ranks(self) -> bool:
        """Whether it gives a place: fresh attacks were made, and no check fails them."""
        return self.fresh is not None and not self.fresh.doubted

    @property
    def doubts(self) -> bool:
        """Whether fresh attacks were made that are no bound."""
        return self.fresh is not None and self.fresh.doubted

    @property
    def words(self) -> str:
        """What it found, in a word or two."""
        if self.fresh is not None:
            return "doubted" if self.fresh.doubted else "refuted" if self.fresh.refuted else str(Level.REATTACKED)
        return str(self.reached) if self.reached is self.asked else f"refuted at {self.asked}"


@dataclass(frozen=True)
class Made:
    """A record, and the verifier's scores that belong beside it; None where nothing was attacked."""

    record: VerifiedRecord
    scores: bytes | None


def verified_record(found: Verification, now: datetime | None = None) -> Made:
    """The record of a verification of a row whose claim holds, whatever else came of it.

    Args:
        found: What came of it.
        now: When it was made; None for the present.
    """
    assert found.reached is not None
    record = VerifiedRecord(
        row_sha256=found.row.row_sha256,
        made=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        bench=__version__,
        asked=found.asked,
        reached=found.reached,
        subject=Subject.of(found.row),
        code=found.code,
        checked=tuple(found.checked),
        fresh=_fresh_part(found),
        beaten=tuple(map(_beaten_figures, sorted(found.rescored, key=lambda part: part.auroc)[:MOST_BEATEN])),
    )
    return Made(record, found.fresh.ranking.content if found.fresh is not None else None)


def contradictions(record: VerifiedRecord, row: Row, table: ScoreTable | None) -> Iterator[str]:
    """Why a record says nothing of a row, or contradicts itself.

    Args:
        record: The record.
        row: The row that it lies beside.
        table: The verifier's scores; None where nothing was attacked.
    """
    if record.row_sha256 != row.row_sha256 or record.subject != Subject.of(row):
        yield "it is of another row, or of this one before it was changed"
        return
    if record.fresh is None:
        if record.beaten or record.reached is Level.REATTACKED:
            yield "it holds what fresh attacks find, and no fresh attacks"
        return
    reached = Level.RESCORED if record.fresh.refuted or record.fresh.doubted else Level.REATTACKED
    if (record.asked, record.reached) != (Level.REATTACKED, reached):
        yield "the level that it names is not the one that its figures reach"
    yield from _of_figures(record.fresh, row)
    yield from _of_own_row(record.fresh, row, table)


def _of_figures(fresh: FreshPart, row: Row) -> Iterator[str]:
    """Figures of fresh attacks that do not follow from each other."""
    if len(set(fresh.seeds)) < len(fresh.seeds) or row.seed in fresh.seeds:
        yield f"its seeds are not {ATTEMPTS} or more others than the row's"
    if [_suite(entry) for entry in fresh.entries] != [_suite(entry) for entry in row.entries]:
        yield "its attacks are not the row's"
        return
    for given, entry in zip(fresh.entries, row.entries, strict=True):
        if len(given.aurocs) != len(fresh.seeds) or given != _figures(entry, given.aurocs):
            yield f"the figures of {given.threat} do not follow from those of its seeds and the row's"
        if given.claimed > given.allowed + _ROUNDING and not fresh.refuted:
            yield f"the claimed AUROC under {given.threat} is above what its fresh attacks allow"
    if fresh.ranked != min(given.median for given in fresh.entries):
        yield "the figure that ranks is not the lowest median"


def _of_own_row(fresh: FreshPart, row: Row, table: ScoreTable | None) -> Iterator[str]:
    """Why the verifier's own row is none of the fresh attacks."""
    own = fresh.row
    if (own.detector, own.track, own.micro_batch) != (row.detector, row.track, row.micro_batch):
        yield "the verifier's own row is of another detector or track"
    if [_suite(entry) for entry in own.entries] != [_suite(entry) for entry in fresh.entries]:
        yield "the verifier's own row has other attacks"
        return
    if own.seed not in fresh.seeds:
        yield "the verifier's own row is of none of its seeds"
        return
    number = fresh.seeds.index(own.seed)
    pairs = zip(fresh.entries, own.entries, strict=True)
    if any(given.aurocs[number : number + 1] != (entry.mean.auroc,) for given, entry in pairs):
        yield "the verifier's own row is not that of its seed"
    if table is None:
        yield "the verifier's scores are not beside it"
        return
    yield from own_problems(own, Files(table, {}))


def _suite(entry: Entry | FreshFigures) -> tuple[str, Norm, float]:
    return entry.threat, entry.norm, entry.eps


def _fresh_part(found: Verification) -> FreshPart | None:
    fresh = found.fresh
    if fresh is None:
        return None
    figures = tuple(
        _figures(entry, again.aurocs) for entry, again in zip(found.row.entries, fresh.entries, strict=True)
    )
    return FreshPart(
        seeds=fresh.seeds,
        entries=figures,
        refuted=found.refuted,
        doubted=found.doubted,
        ranked=fresh.ranked,
        row=fresh.ranking.row,
    )


def _figures(entry: Entry, aurocs: tuple[float, ...]) -> FreshFigures:
    again = FreshEntry(aurocs, np.zeros((0, 0), np.float32))
    return FreshFigures(
        threat=entry.threat,
        norm=entry.norm,
        eps=entry.eps,
        claimed=entry.mean.auroc,
        aurocs=aurocs,
        mean=again.mean,
        sd=again.sd,
        median=again.median,
        allowed=again.allowed,
    )


def _beaten_figures(part: Rescored) -> BeatenFigures:
    own = part.record
    return BeatenFigures(
        file_sha256=own.file_sha256,
        earlier=part.earlier,
        threat=own.threat,
        norm=own.norm,
        eps=own.eps,
        images=own.images,
        higher=part.higher,
        auroc=part.auroc,
        se=part.se,
        beats=part.beats,
    )
