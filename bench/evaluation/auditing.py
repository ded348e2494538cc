"""Which images get the whole budget whatever comes of it, and what they say about the others.

The full budget is spent on a random sample of the images of every set, and so are cheaper forms of the attack. The
cheapest form whose AUROC agrees with that of the full budget on the sample is enough for the other images; where there
is none, the sample grows, up to the share that was asked for, since a small one often tells enough. What the
full budget would have come to on all of them is estimated without bias, as in two-phase sampling, with the cheaper form
as the control variate. Nothing here depends on how images are cut for processes, or on their order.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bench import metrics, randomness
from bench.cards.threat import Side
from bench.datasets.base import ImageSet
from bench.evaluation.images import TEST
from bench.evaluation.results import EvidenceFigures, FullBudgetFigures, MeanMetrics, SetMetrics
from bench.evaluation.spending import ROUNDS, Evidence
from bench.metrics.scores import FloatArray, Scores
from bench.metrics.two_phase import FullBudget, Shift, at_full_budget, full_budget_shift

_DRAW = 1_000_003
"""The draw of the audit: another one than any that an attack takes for its starts."""
_ERROR, _ERROR_BEFORE = 5.0, 3.0
"""Where the error of the shift is larger than so many tolerances, the audit says too little: at its end, and in the
rounds before, of which each has another chance to be wrong."""

_Figures = TypeVar("_Figures", SetMetrics, MeanMetrics)


def audited_rows(
    sets: Mapping[str, ImageSet], evidence: Evidence, seed: int, rounds: int = ROUNDS
) -> NDArray[np.int64]:
    """Positions of the images that are audited after so many rounds among those of all sets, one after the other.

    Each set gives its share: those of its images with the smallest random numbers, which depend on (seed, sample id).
    So every round holds those before it. Ascending.
    """
    found, before = [], 0
    for images in sets.values():
        drawn = randomness.uniform(seed, images.ids, _DRAW, (1,))[:, 0]
        chosen = torch.argsort(drawn, stable=True)[: evidence.audited(len(images), rounds)]
        found.append(np.sort(chosen.numpy().astype(np.int64)) + before)
        before += len(images)
    return np.concatenate(found)


@dataclass(frozen=True)
class Audit:
    """An audit of one run of an attack, after one of its rounds.

    Attributes:
        side: The attacked side.
        places: Where each attacked set lies among the images of the run.
        rows: (n,) which of them are audited.
        full: (n,) their scores after the attack with the full budget.
        cheaper: For each cheaper form the (n,) scores after it.
        opponents: By OOD set the scores of the other side: of the ID test images, or of the set under an alarm.
        counting: The OOD sets that enter the mean.
        evidence: What is asked for.
        last: Whether no round follows, whatever comes of it.
    """

    side: Side
    places: Mapping[str, slice]
    rows: NDArray[np.int64]
    full: Scores
    cheaper: Sequence[Scores]
    opponents: Mapping[str, Scores]
    counting: Sequence[str]
    evidence: Evidence
    last: bool = True

    def form(self) -> int:
        """The cheapest form that the audit agrees with; one past the last where none is.

        It agrees where the means of the AUROCs, over the sets that count and over all of them, are shifted from those
        at the full budget by no more than the tolerance, with an error of no more than a few tolerances.
        """
        every, tolerance = tuple(self.opponents), self.evidence.tolerance
        most = tolerance * (_ERROR if self.last else _ERROR_BEFORE)
        for number in range(len(self.cheaper)):
            shifts = [self._shift(number, names) for names in dict.fromkeys((tuple(self.counting), every))]
            if all(abs(shift.mean) <= tolerance and shift.half <= most for shift in shifts):
                return number
        return len(self.cheaper)

    @property
    def ended(self) -> bool:
        """Whether no round follows: a form is found, or this was the last one."""
        return self.last or self.form() < len(self.cheaper)

    def estimates(self, form: int, scores: Scores) -> dict[str, FullBudget]:
        """By OOD set its AUROC at the full budget, and that of the mean over the sets that count by the name "".

        Args:
            form: Which the other images were attacked with.
            scores: (N,) of all images of the run: of the audited ones after the full budget.
        """
        if form == len(self.cheaper):
            return {}
        cheap = scores.copy()
        cheap[self.rows] = self.cheaper[form]
        placed = {name: self._placements(name, cheap[self._place(name)]) for name in self.opponents}
        changes, known = self._changes(form), self._known
        found = {name: at_full_budget([placed[name]], [changes[name]], **known) for name in self.opponents}
        every, moved = (self._together(values, self.counting) for values in (placed, changes))
        return {**found, "": at_full_budget(every, moved, **known)}

    def _shift(self, form: int, names: Sequence[str]) -> Shift:
        """That of the mean over some sets."""
        changes = self._together(self._changes(form), names)
        places = [self._place(name) for name in names][: len(changes)]
        return full_budget_shift(changes, [place.stop - place.start for place in places], **self._known)

    def _together(self, values: Mapping[str, FloatArray], names: Sequence[str]) -> list[FloatArray]:
        """The groups of images of a mean over sets: under an alarm one, since the same ID images face every set."""
        if self.side is Side.ALARM:
            return [np.mean([values[name] for name in names], axis=0)]
        return [values[name] for name in names]

    @property
    def _known(self) -> dict[str, float]:
        """What is known of changes that the audit may have missed: those from any of the forms."""
        forms = [self._changes(form) for form in range(len(self.cheaper))]
        largest = max(float(np.max(np.abs(moved), initial=0.0)) for changes in forms for moved in changes.values())
        return {"largest": largest, "least": self.evidence.tolerance}

    def _changes(self, form: int) -> dict[str, FloatArray]:
        """By OOD set how much less each audited image is in order with the other side after the full budget."""
        found = {}
        for name in self.opponents:
            place = self._place(name)
            mine = (self.rows >= place.start) & (self.rows < place.stop)
            after, before = (self._placements(name, part[mine]) for part in (self.full, self.cheaper[form]))
            found[name] = after - before
        return found

    def _place(self, name: str) -> slice:
        return self.places[TEST if self.side is Side.ALARM else name]

    def _placements(self, name: str, scores: Scores) -> FloatArray:
        """The share of the other side that each attacked image is in order with."""
        if self.side is Side.ALARM:
            return metrics.delong_components(scores, self.opponents[name])[0]
        return metrics.delong_components(self.opponents[name], scores)[1]


def first_that_ends(audits: Iterable[Audit]) -> Audit:
    """Of the rounds of an audit, in order, the one after which none follows, or the last that there is."""
    found: Audit | None = None
    for audit in audits:
        found = audit
        if audit.ended:
            break
    assert found is not None
    return found


def evidence_figures(
    audit: Audit, form: int, params: Mapping[str, int], scores: Scores, gradients: NDArray[np.int64]
) -> EvidenceFigures:
    """What a cell says of its audit.

    Args:
        audit: The audit.
        form: Which the other images were attacked with.
        params: The parameters in which it differs from the threat's.
        scores: (N,) of all images of the run.
        gradients: That the full budget took on the images that had it, one entry each.
    """
    found = audit.estimates(form, scores)
    of = {name: FullBudgetFigures(auroc=e.auroc, low=e.low, high=e.high) for name, e in found.items()}
    return EvidenceFigures(
        tolerance=audit.evidence.tolerance,
        audit=audit.evidence.audit,
        audited=len(audit.rows),
        attacked=len(scores),
        params=dict(params),
        full_gradients=round(float(np.mean(gradients)) * len(scores)),
        mean=of.pop("", None),
        sets=of,
    )


def widened(figures: _Figures, full: FullBudgetFigures | None) -> _Figures:
    """The same figures, their interval and error those of the AUROC at the full budget, whose own error they hold."""
    if full is None:
        return figures
    low = full.auroc - math.hypot(figures.auroc - figures.low, full.auroc - full.low)
    high = full.auroc + math.hypot(figures.high - figures.auroc, full.high - full.auroc)
    error = math.hypot(figures.se, (full.high - full.low) / (2 * 1.96))
    ends = {"low": max(0.0, min(low, figures.auroc)), "high": min(1.0, max(high, figures.auroc)), "se": error}
    return figures.model_copy(update=ends)
