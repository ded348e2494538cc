"""What a paper says of a table, as small statements about its figures, and whether they hold here.

Each is judged with the errors of the figures: it holds, it fails, or it is open, which is to say that the error is
larger than what the claim is about. The interval of a difference is made of those of both figures (MOVER: Zou and
Donner 2008) as if they were independent; figures of the same images mostly rise and fall together, so that more is
left open than need be.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bench.cards.base import Card

Ref = tuple[str, str]
"""A row and a column by their names."""

_Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval; without an error both ends are the figure itself."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} does not lie in its interval from {self.low} to {self.high}")


class Verdict(StrEnum):
    """What came of a claim."""

    HOLDS = "holds"
    OPEN = "open"  # the error is larger than what it is about
    FAILS = "fails"
    ABSENT = "not run"


Lookup = Callable[[Ref], Measured | None]


def difference(a: Measured, b: Measured) -> Measured:
    """What a is above b, with its interval, of figures taken for independent."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Measured(value, low, value + math.hypot(a.high - a.value, b.value - b.low))


class _Claim(Card):
    says: _Text
    source: _Text | None = None

    def refs(self) -> Iterator[Ref]:
        """The figures that it is about."""
        raise NotImplementedError

    def judge(self, figures: list[Measured]) -> Verdict:
        """The verdict on its figures, in the order of `refs`."""
        raise NotImplementedError

    def verdict(self, lookup: Lookup) -> Verdict:
        """The verdict, `not run` where a figure is missing."""
        found = [lookup(ref) for ref in self.refs()]
        there = [figure for figure in found if figure is not None]
        return self.judge(there) if len(there) == len(found) else Verdict.ABSENT


class _AgainstNumber(_Claim):
    figure: Ref
    value: _Number

    def refs(self) -> Iterator[Ref]:
        """The figure."""
        yield self.figure

    def number(self) -> Measured:
        """The number, which has no error."""
        return Measured(self.value, self.value, self.value)


class Below(_AgainstNumber):
    """A figure lies below a number."""

    kind: Literal["below"]

    def judge(self, figures: list[Measured]) -> Verdict:
        """Whether the whole interval does."""
        return _at_least(self.number(), figures[0], 0.0)


class Above(_AgainstNumber):
    """A figure lies above a number."""

    kind: Literal["above"]

    def judge(self, figures: list[Measured]) -> Verdict:
        """Whether the whole interval does."""
        return _at_least(figures[0], self.number(), 0.0)


class Greater(_Claim):
    """A figure lies above another one, by a margin where one is named."""

    kind: Literal["greater"]
    figure: Ref
    than: Ref
    by: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def refs(self) -> Iterator[Ref]:
        """The larger figure, and the smaller one."""
        yield from (self.figure, self.than)

    def judge(self, figures: list[Measured]) -> Verdict:
        """Whether the whole interval of the difference does."""
        return _at_least(figures[0], figures[1], self.by)


class Near(_Claim):
    """A figure lies within a distance of a number."""

    kind: Literal["near"]
    figure: Ref
    value: _Number
    within: float = Field(gt=0, allow_inf_nan=False)

    def refs(self) -> Iterator[Ref]:
        """The figure."""
        yield self.figure

    def judge(self, figures: list[Measured]) -> Verdict:
        """Whether the whole interval does."""
        return _inside(figures[0], self.value - self.within, self.value + self.within)


class Alike(_Claim):
    """Figures lie within a distance of each other."""

    kind: Literal["alike"]
    figures: tuple[Ref, ...] = Field(min_length=2, max_length=60)
    within: float = Field(gt=0, allow_inf_nan=False)

    def refs(self) -> Iterator[Ref]:
        """The figures."""
        yield from self.figures

    def judge(self, figures: list[Measured]) -> Verdict:
        """By the largest difference, and its interval where that is too large."""
        most, least = max(figures, key=lambda f: f.value), min(figures, key=lambda f: f.value)
        spread = difference(most, least)
        if spread.value <= self.within:
            return Verdict.HOLDS
        return Verdict.FAILS if spread.low > self.within else Verdict.OPEN


class Falls(_Claim):
    """Figures fall along an order, or rise: the last lies beyond the first, and no step goes back."""

    kind: Literal["falls", "rises"]
    along: tuple[Ref, ...] = Field(min_length=2, max_length=60)

    def refs(self) -> Iterator[Ref]:
        """The figures, in their order."""
        yield from self.along

    def judge(self, figures: list[Measured]) -> Verdict:
        """Fails where a step goes back by more than its error; holds where the whole way goes on by more."""
        falling = figures if self.kind == "falls" else figures[::-1]
        if any(difference(before, after).high < 0 for before, after in pairwise(falling)):
            return Verdict.FAILS
        return _at_least(falling[0], falling[-1], 0.0)


Claim = Annotated[Below | Above | Greater | Near | Alike | Falls, Field(discriminator="kind")]


def _at_least(larger: Measured, smaller: Measured, margin: float) -> Verdict:
    """Whether one figure lies above another by more than a margin."""
    found = difference(larger, smaller)
    if found.low > margin:
        return Verdict.HOLDS
    return Verdict.FAILS if found.high <= margin else Verdict.OPEN


def _inside(figure: Measured, low: float, high: float) -> Verdict:
    if low <= figure.low and figure.high <= high:
        return Verdict.HOLDS
    return Verdict.FAILS if figure.high < low or figure.low > high else Verdict.OPEN
