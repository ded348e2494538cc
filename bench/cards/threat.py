"""The card of a threat: an attacker with a norm, a budget and knowledge."""

import math
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bench.cards.base import Card, MethodPath, Name, Paper, Text


class Norm(StrEnum):
    """The norm of a perturbation, in [0, 1] pixel units; L0 counts values that change, every channel for itself."""

    L2 = "l2"
    LINF = "linf"
    L1 = "l1"
    L0 = "l0"


class Side(StrEnum):
    """Which images are attacked, and what for.

    `evade` makes OOD look ID, `alarm` ID look OOD, `both` each against the other's clean scores; `fool` makes ID images
    misclassified (and accepted), `between` walks from ID image to ID image.
    """

    EVADE = "evade"
    ALARM = "alarm"
    BOTH = "both"
    FOOL = "fool"
    BETWEEN = "between"


class Goal(StrEnum):
    """What a `fool` attack has to reach."""

    MISCLASSIFY = "misclassify"
    ACCEPT = "misclassify-and-accept"  # and be accepted by the detector at its threshold


class Loss(StrEnum):
    """What directs a `fool` attack: cross-entropy, the margin of logits, or margin and acceptance together."""

    CE = "ce"
    MARGIN = "margin"
    JOINT = "joint"


class Knowledge(StrEnum):
    """What the attacker may ask of the detector."""

    NONE = "none"
    SCORES = "scores"
    GRADIENTS = "gradients"
    ANY = "any"  # gradients where there are some, scores everywhere


def _allowed_eps(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(not math.isfinite(v) or v <= 0 for v in values):
        raise ValueError("every eps must be a finite number above 0")
    return values


class SourceSpec(Card):
    """Where a transfer attack takes its images from: cells of other detectors."""

    threat: Name
    params: dict[str, Any] = {}  # over those of the threat's card
    detectors: tuple[Annotated[str, StringConstraints(max_length=130)], ...] = Field(min_length=1)


class ThreatCard(Card):
    """An attacker with a norm, a budget and knowledge."""

    name: Name
    version: int = Field(default=1, ge=1)
    summary: Text
    method: MethodPath | None = None  # None: the worst case over `members`
    members: dict[Side, tuple[Name, ...]] = {}  # by attacked side
    source: SourceSpec | None = None
    paper: Paper | None = None
    norm: Norm | None = None
    eps: Annotated[tuple[float, ...], AfterValidator(_allowed_eps)] = ()
    knowledge: Knowledge
    sides: tuple[Side, ...] = Field(default=(Side.EVADE, Side.ALARM, Side.BOTH), min_length=1)  # the first: the default
    min_norm: bool = False  # it looks for the nearest image that does: eps are radii at which that is counted
    params: dict[str, Any] = {}
    misses: Text | None = Field(
        default=None, exclude=True
    )  # of a published protocol: what it leaves out, in a sentence

    @model_validator(mode="after")
    def _norm_and_eps_together(self) -> Self:
        if (self.norm is None) != (not self.eps):
            raise ValueError("norm and eps go together: give both, or neither for a threat without a budget")
        if self.norm is Norm.L0 and any(value != int(value) for value in self.eps):
            raise ValueError("an eps of l0 counts values that change: give whole numbers such as 10")
        if (self.method is None) != bool(self.members):
            raise ValueError("give either a method, or members of which the worst case is taken")
        if self.members and set(self.members) != set(self.sides):
            raise ValueError("members must be given for each of the sides, and for no other")
        if self.min_norm and self.norm is None:
            raise ValueError("min_norm asks for a norm, and for eps at which its outcome is counted")
        return self
