"""How much of a threat's budget is spent on which image, and on what evidence less of it is enough.

Nothing here imports torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.cards.threat import Side, ThreatCard
from bench.errors import UsageError

_FORMS = ((10, 1), (20, 2), (20, 5), (50, 5))
"""Steps and restarts of the cheaper forms of an attack, which are tried in this order."""

_SAVES = 4
"""A form is tried where it spends at most one part in so many of the full budget."""

ROUNDS = 3
"""An audit is drawn in so many rounds, each three times as large as those before it, and ends with the first that finds
a form."""

_LEAST, _LEAST_AT_FIRST = 20, 7
"""Images of a set that are audited at least, in all rounds and in the first: fewer say nothing about the others."""


@dataclass(frozen=True)
class Evidence:
    """What must be known before images are attacked with less than the full budget.

    Attributes:
        tolerance: How far the AUROC of the cheaper form may lie from that of the full budget, by the audit's word.
        audit: Share of the images of each set on which the full budget is spent whatever comes of it, if none of the
            smaller samples before says enough.

    Raises:
        UsageError: A number is out of its range.
    """

    tolerance: float = 0.001
    audit: float = 0.1

    def __post_init__(self) -> None:
        for name, value, most in (("tolerance", self.tolerance, 0.1), ("audit", self.audit, 1.0)):
            if not 0.0 < value <= most:
                raise UsageError(f"{name} is {value:g}; allowed is a number above 0 and at most {most:g}.")

    def audited(self, images: int, rounds: int = ROUNDS) -> int:
        """How many of so many images of a set are audited after so many rounds."""
        most = min(images, max(_LEAST, math.ceil(self.audit * images)))
        return min(most, max(_LEAST_AT_FIRST, math.ceil(most / 3.0 ** (ROUNDS - rounds))))

    def spares(self, images: Mapping[str, int]) -> bool:
        """Whether an audit leaves enough images of these sets to be worth it: it costs more than it is itself."""
        return 3 * sum(map(self.audited, images.values())) <= sum(images.values())


def evidence_for(card: ThreatCard, params: Mapping[str, Any], side: Side, asked: Evidence | None) -> Evidence | None:
    """What is asked of a cell; None where every image gets the whole budget.

    That is so in a worst case, which is taken image by image, where both sides are attacked, where the score is not
    what is attacked, and where the threat has no cheaper form.

    Args:
        card: The threat.
        params: Its parameters in force.
        side: The attacked side.
        asked: Of the run.
    """
    usable = side in (Side.EVADE, Side.ALARM) and not card.members and not card.min_norm
    return asked if usable and cheaper_forms(params) else None


def cheaper_forms(params: Mapping[str, Any]) -> tuple[dict[str, int], ...]:
    """The parameters in which the cheaper forms of an attack with steps and restarts differ, the cheapest first."""
    steps, restarts = params.get("steps"), params.get("restarts")
    if not isinstance(steps, int) or not isinstance(restarts, int):
        return ()
    return tuple(
        {"steps": fewer, "restarts": starts}
        for fewer, starts in _FORMS
        if fewer <= steps and starts <= restarts and _SAVES * fewer * starts <= steps * restarts
    )
