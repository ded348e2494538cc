"""Where an attack may stop without changing any rank: beyond every opposing clean score and every threshold in use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.cards.threat import Side
from bench.metrics import iqr
from bench.metrics.scores import Scores

MARGIN = 1e-3
"""How far beyond the last opponent a target lies, in interquartile ranges of the clean ID scores."""


@dataclass(frozen=True)
class Targets:
    """A raised score strictly above `high`, or a lowered one strictly below `low`, can change no rank any more.

    Both are numbers of the scores' own type, so that comparing scores with them rounds nothing.

    Attributes:
        high: For images whose score is raised; None where none is.
        low: For images whose score is lowered; None where none is.
    """

    high: float | None
    low: float | None


def stop_targets(side: Side, id_clean: Scores, ood_clean: Sequence[Scores], thresholds: Iterable[float]) -> Targets:
    """The targets of one cell.

    With both sides attacked each one goes past the other's clean scores; that stays exact, since no attacked ID score
    lies above its clean one and no attacked OOD score below. The two targets never cross: the thresholds lie between.

    Args:
        side: The attacked side.
        id_clean: Clean scores of the ID test images.
        ood_clean: Clean scores of each OOD set.
        thresholds: Every threshold at which a rate is reported, at least one.
    """
    margin, kind = MARGIN * iqr(id_clean), id_clean.dtype.type
    limits = [float(threshold) for threshold in thresholds]
    high = max(float(np.max(id_clean)), *limits)
    low = min(*(float(np.min(scores)) for scores in ood_clean), *limits)
    return Targets(
        high=_outward(high, margin, kind) if side in (Side.EVADE, Side.BOTH) else None,
        low=-_outward(-low, margin, kind) if side in (Side.ALARM, Side.BOTH) else None,
    )


def _outward(extreme: float, margin: float, kind: type[np.floating[Any]]) -> float:
    """The number of this type at or just above extreme + margin."""
    rounded = kind(extreme + margin)
    if float(rounded) < extreme + margin:
        rounded = np.nextafter(rounded, kind(np.inf))
    return float(rounded)
