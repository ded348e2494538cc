"""What came of an entry: a verdict for each claim, a difference for each published figure, and one status."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench.repro.claims import Claim, Measured, Ref, Verdict
from bench.repro.entry import Entry, Scale


class Status(StrEnum):
    """What came of an entry, as a whole."""

    REPRODUCED = "reproduced"  # on the paper's data and networks, every figure agrees and no claim fails
    SAME_PATTERN = "same pattern"  # some claim holds and none fails
    DIFFERENT = "different"  # a claim fails, or none is decided
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Comparison:
    """A published figure, and the one here where there is one.

    Attributes:
        row: Its row.
        column: Its column.
        published: As it is printed.
        here: What was measured.
        agrees: Whether the published figure lies in the interval of the measured one, widened by the tolerance.
    """

    row: str
    column: str
    published: float
    here: Measured | None
    agrees: bool

    @property
    def difference(self) -> Measured | None:
        """The figure here less the published one, which is taken for exact."""
        if self.here is None:
            return None
        value, low, high = (end - self.published for end in (self.here.value, self.here.low, self.here.high))
        return Measured(value, low, high)


@dataclass(frozen=True)
class Judged:
    """An entry and all that came of it."""

    entry: Entry
    status: Status
    verdicts: tuple[tuple[Claim, Verdict], ...]
    comparisons: tuple[Comparison, ...]

    def count(self, verdict: Verdict) -> int:
        """How many claims have a verdict."""
        return sum(found is verdict for _, found in self.verdicts)


def judge(entry: Entry, scale: Scale, figures: Mapping[Ref, Measured]) -> Judged:
    """The verdicts and the status of an entry.

    Args:
        entry: The entry.
        scale: At which it was run.
        figures: What was measured, by row and column; empty where nothing was run.
    """
    verdicts = tuple((claim, claim.verdict(figures.get)) for claim in entry.claims)
    comparisons = tuple(
        _compared((row, column), value, figures.get((row, column)), entry.tolerance)
        for row, by_column in entry.published.items()
        for column, value in by_column.items()
    )
    return Judged(entry, _status(entry, scale, figures, verdicts, comparisons), verdicts, comparisons)


def _compared(ref: Ref, published: float, here: Measured | None, tolerance: float) -> Comparison:
    agrees = here is not None and here.low - tolerance <= published <= here.high + tolerance
    return Comparison(*ref, published, here, agrees)


def _status(
    entry: Entry,
    scale: Scale,
    figures: Mapping[Ref, Measured],
    verdicts: tuple[tuple[Claim, Verdict], ...],
    comparisons: tuple[Comparison, ...],
) -> Status:
    found = {verdict for _, verdict in verdicts}
    if not figures or found <= {Verdict.ABSENT}:
        return Status.NOT_RUN
    if Verdict.FAILS in found or Verdict.HOLDS not in found:
        return Status.DIFFERENT
    whole = Verdict.ABSENT not in found and all(one.agrees for one in comparisons)
    return Status.REPRODUCED if entry.at(scale).comparable and comparisons and whole else Status.SAME_PATTERN
