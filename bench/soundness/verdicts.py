"""What a check says: one finding a check and attacked side, and all findings of a cell."""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from bench.cards.threat import Side

FORMAT = 1
"""Version of the checks and of how their findings are written; findings of another version count as none."""

Sentence = Annotated[str, StringConstraints(max_length=600)]


class Verdict(StrEnum):
    """The outcome of a check."""

    PASS = "PASS"  # noqa: S105 - the word that is printed
    INFO = "INFO"  # a figure without a threshold
    SKIPPED = "SKIPPED"  # what it needs is not there; `found` says what
    WARN = "WARN"
    FAIL = "FAIL"  # the attack cannot be believed


SEVERITY = (Verdict.SKIPPED, Verdict.INFO, Verdict.PASS, Verdict.WARN, Verdict.FAIL)
"""From what says least against a cell to what says most."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _finite(figures: dict[str, float]) -> dict[str, float]:
    if wrong := [name for name, value in figures.items() if not math.isfinite(value)]:
        raise ValueError(f"figure '{wrong[0]}' must be a finite number")
    return figures


class Finding(_Value):
    """What one check found on one attacked side of a cell.

    Attributes:
        check: "D1" to "D20".
        title: What is checked, in a few words.
        verdict: The outcome.
        side: EVADE or ALARM; None where the check is about no side.
        figures: What was measured, by name.
        found: One sentence on what was found, or on why nothing could be.
        advice: One sentence on what to try next; empty unless the verdict is WARN or FAIL.
    """

    check: Annotated[str, StringConstraints(pattern=r"^D([1-9]|1[0-9]|20)$")]
    title: Sentence
    verdict: Verdict
    side: Side | None = None
    figures: Annotated[dict[str, float], AfterValidator(_finite)] = Field(default={}, max_length=20)
    found: Sentence
    advice: Sentence = ""


class Verdicts(_Value):
    """All findings of one cell."""

    format: int = FORMAT
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    findings: tuple[Finding, ...] = Field(max_length=64)

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that say FAIL, each once: such a cell is printed with `!` and not ranked."""
        return tuple(dict.fromkeys(f.check for f in self.findings if f.verdict is Verdict.FAIL))

    def merged(self, newer: "Verdicts") -> "Verdicts":
        """The newer finding of every check and side, except that a skipped check takes nothing back."""
        found = {(f.check, f.side): f for f in self.findings}
        for finding in newer.findings:
            place = finding.check, finding.side
            if finding.verdict is not Verdict.SKIPPED or place not in found:
                found[place] = finding
        return Verdicts(key=newer.key, findings=ordered(found.values()))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The one that says most against a cell; SKIPPED where there is none."""
    return max(verdicts, key=SEVERITY.index, default=Verdict.SKIPPED)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By the checks' numbers, the side evade before alarm."""
    return tuple(sorted(findings, key=lambda f: (int(f.check[1:]), f.side is Side.ALARM)))


def one_each(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """For each check and side the finding that says most; of equals the last."""
    chosen: dict[tuple[str, Side | None], Finding] = {}
    for finding in findings:
        place = finding.check, finding.side
        known = chosen.get(place)
        if known is None or SEVERITY.index(finding.verdict) >= SEVERITY.index(known.verdict):
            chosen[place] = finding
    return ordered(chosen.values())


def graded(value: float, *, warn: float, fail: float) -> Verdict:
    """FAIL above one limit, WARN above the other, else PASS."""
    return Verdict.FAIL if value > fail else Verdict.WARN if value > warn else Verdict.PASS


def count(findings: Sequence[Finding], verdict: Verdict) -> int:
    """How many findings have this verdict."""
    return sum(finding.verdict is verdict for finding in findings)
