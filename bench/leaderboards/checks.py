"""What a verification checked, one line each: what passed, what failed, and what was not looked at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from bench.leaderboards.row import Said

MOST = 600
"""The most characters of a sentence in a record."""


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "not checked"


class Checked(BaseModel):
    """One thing that is checked.

    Attributes:
        what: In a few words.
        outcome: What came of it.
        said: Why it failed or was not checked, or how much was looked at; "" where nothing is to be added.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    what: Said
    outcome: Outcome
    said: Said = ""


@dataclass
class Findings:
    """What a part of a verification found.

    Attributes:
        checked: What was looked at, and what came of it.
        problems: One sentence for everything that is wrong.
        remarks: What a reader should know.
    """

    checked: list[Checked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def judge(self, what: str, problems: Iterable[str], said: str = "") -> bool:
        """Note what came of one check; whether nothing is wrong."""
        found = list(problems)
        self.checked.append(judged(what, found, said))
        self.problems += found
        return not found

    def skip(self, what: str, why: str) -> None:
        """Note that something was not looked at."""
        self.checked.append(unchecked(what, why))


def judged(what: str, problems: Iterable[str], said: str = "") -> Checked:
    """A check that was made: failed where there is a problem, the first of which is said."""
    found = list(problems)
    if not found:
        return Checked(what=what, outcome=Outcome.PASSED, said=one_line(said))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Checked(what=what, outcome=Outcome.FAILED, said=one_line(f"{found[0]}{more}"))


def unchecked(what: str, why: str) -> Checked:
    """A check that was not made, and why."""
    return Checked(what=what, outcome=Outcome.UNCHECKED, said=one_line(why))


def one_line(text: str) -> str:
    """A sentence as a record may hold it."""
    line = " ".join(text.split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= MOST else f"{printable[: MOST - 3]}..."
