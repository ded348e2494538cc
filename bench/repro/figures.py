"""What a table of a paper may show of a stored cell, each with its 95 % interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.evaluation.results import Cell, CellMeta, FoolAtEps, MeanMetrics, RejectionMetrics, SetMetrics
from bench.lazy import lazily
from bench.repro.claims import Measured

with lazily():
    from scipy import stats

    from bench import metrics
    from bench.metrics import scores

if TYPE_CHECKING:
    from bench.metrics.scores import Scores


class Figure(StrEnum):
    """A figure by its name in an entry."""

    CLEAN_AUROC = "clean-auroc"
    AUROC = "auroc"
    MATCHED_AUROC = "matched-auroc"  # of what an attack ended with, not of what the score chose: of one OOD set
    GUARANTEED_AUROC = "guaranteed-auroc"
    FPR95 = "fpr95"
    DETECTED = "detected"  # share of an OOD set below the threshold
    MAPE = "mape"  # mean of feature matching's error of an OOD set, in per cent
    ID_ACCURACY = "id-accuracy"
    BITS_PER_DIM = "bits-per-dim"
    REJECTED = "rejected"  # share of the ID test images below their class's threshold
    ACCURACY_LEFT = "accuracy-left"  # on the others
    REJECTED_OOD = "rejected-ood"  # share of an OOD set below a class's threshold, mean over the classes
    ADVERSARIAL_ACCURACY = "adversarial-accuracy"
    FOOLED = "fooled"  # of the images that are right as they are: misclassified
    UNDETECTED = "undetected"  # of them: misclassified and accepted
    FOOLED_DETECTED = "fooled-detected"  # of the misclassified: rejected
    ACCEPTED_THROUGHOUT = "accepted-throughout"  # share of the ways between images of which every point is accepted
    ACCEPTED_HALFWAY = "accepted-halfway"
    MIDPOINT_AUROC = "midpoint-auroc"
    SCORE_HALFWAY = "score-halfway"  # mean score half-way less that of the ends, in IQRs of the clean scores


CLEAN = frozenset(
    {
        Figure.CLEAN_AUROC,
        Figure.ID_ACCURACY,
        Figure.BITS_PER_DIM,
        Figure.REJECTED,
        Figure.ACCURACY_LEFT,
        Figure.REJECTED_OOD,
    }
)
"""Figures that the clean cell has."""

FROM_SAMPLES = frozenset({Figure.MATCHED_AUROC})
"""Figures that need a cell's samples."""


@dataclass(frozen=True)
class Asked:
    """One figure of one cell.

    Attributes:
        figure: Which.
        set: Of which OOD set; None for the mean over the natural sets.
        within: Of side `fool`, the radius within which is counted; None for anywhere in the box.
        percentile: Of class thresholds.
    """

    figure: Figure
    set: str | None = None
    within: float | None = None
    percentile: float | None = None


def measured(asked: Asked, cell: Cell) -> Measured | None:
    """The figure of a cell; None where the cell has none, as a mean where no natural set was run.

    Args:
        asked: Which figure.
        cell: With its samples where `FROM_SAMPLES` holds the figure.
    """
    if asked.figure in FROM_SAMPLES:
        return _matched(asked, cell)
    return _OF[asked.figure](asked, cell.meta)


def _matched(asked: Asked, cell: Cell) -> Measured | None:
    def sample(name: str, column: str) -> "Scores":
        return scores.as_scores(cell.samples.loc[cell.samples["set"] == name, column].to_numpy())

    if asked.set is None or asked.set not in cell.meta.sets:
        return None
    found = metrics.delong(sample("test", "clean_score"), sample(asked.set, "last_score"), name=cell.meta.key[:12])
    return Measured(found.auroc, found.low, found.high)


def _metrics(asked: Asked, meta: CellMeta) -> SetMetrics | MeanMetrics | None:
    return meta.mean if asked.set is None else meta.sets.get(asked.set)


def _clean_auroc(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _metrics(asked, meta)
    return None if found is None else Measured(found.clean_auroc, found.clean_low, found.clean_high)


def _auroc(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _metrics(asked, meta)
    return None if found is None else Measured(found.auroc, found.low, found.high)


def _guaranteed(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _metrics(asked, meta)
    return None if found is None else _exact(found.guaranteed_auroc)


def _fpr95(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _metrics(asked, meta)
    if isinstance(found, SetMetrics):
        return _share(found.fpr95, found.n_ood)
    return None if found is None else _exact(found.fpr95)


def _detected(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _metrics(asked, meta)
    return _share(found.detection_rate, found.n_ood) if isinstance(found, SetMetrics) else None


def _mape(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _metrics(asked, meta)
    value = found.figures.get("mape") if isinstance(found, SetMetrics) else None
    return _exact(None if value is None else 100 * value)


def _id_accuracy(asked: Asked, meta: CellMeta) -> Measured | None:
    return None if meta.id_accuracy is None else _share(meta.id_accuracy, _images(meta))


def _bits_per_dim(asked: Asked, meta: CellMeta) -> Measured | None:
    return _exact(meta.bits_per_dim)


def _rejection(asked: Asked, meta: CellMeta) -> RejectionMetrics | None:
    return next((one for one in meta.rejection if asked.percentile in (None, one.percentile)), None)


def _rejected(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _rejection(asked, meta)
    return None if found is None else _share(found.rejection_rate, _images(meta))


def _accuracy_left(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _rejection(asked, meta)
    if found is None or found.accuracy is None:
        return None
    return _share(found.accuracy, round(_images(meta) * (1 - found.rejection_rate)))


def _rejected_ood(asked: Asked, meta: CellMeta) -> Measured | None:
    found = _rejection(asked, meta)
    if found is None or asked.set not in found.detection_rates:
        return None
    assert asked.set is not None
    return _share(found.detection_rates[asked.set], meta.sets[asked.set].n_ood)


def _fool(asked: Asked, meta: CellMeta) -> FoolAtEps | None:
    """Of the radius asked for; of an attack in a ball, its only one."""
    curve = meta.fool.curve if meta.fool is not None else ()
    if asked.within is None:
        return curve[-1] if curve else None
    return next((at for at in curve if at.eps is not None and math.isclose(at.eps, asked.within)), None)


def _adversarial_accuracy(asked: Asked, meta: CellMeta) -> Measured | None:
    at = _fool(asked, meta)
    return None if at is None or meta.fool is None else _share(at.adversarial_accuracy, meta.fool.n)


def _fooled(asked: Asked, meta: CellMeta) -> Measured | None:
    at = _fool(asked, meta)
    return None if at is None or meta.fool is None else _share(at.misclassified, meta.fool.attacked)


def _undetected_share(asked: Asked, at: FoolAtEps) -> float | None:
    return at.undetected if asked.percentile is None else at.by_percentile.get(f"{asked.percentile:g}")


def _undetected(asked: Asked, meta: CellMeta) -> Measured | None:
    at = _fool(asked, meta)
    share = None if at is None else _undetected_share(asked, at)
    return None if share is None or meta.fool is None else _share(share, meta.fool.attacked)


def _fooled_detected(asked: Asked, meta: CellMeta) -> Measured | None:
    """1 - undetected / fooled: the papers count among the successful, the cells among all that were attacked."""
    at = _fool(asked, meta)
    share = None if at is None else _undetected_share(asked, at)
    if at is None or share is None or meta.fool is None or at.misclassified == 0:
        return None
    return _share(1 - share / at.misclassified, round(at.misclassified * meta.fool.attacked))


def _accepted_throughout(asked: Asked, meta: CellMeta) -> Measured | None:
    return None if meta.between is None else _share(meta.between.accepted_throughout, meta.between.paths)


def _accepted_halfway(asked: Asked, meta: CellMeta) -> Measured | None:
    between = meta.between
    return None if between is None else _share(between.accepted[_middle(between.alphas)], between.paths)


def _midpoint_auroc(asked: Asked, meta: CellMeta) -> Measured | None:
    found = meta.between
    if found is None:
        return None
    low, high = found.midpoint_low, found.midpoint_high
    return Measured(
        found.midpoint_auroc,
        found.midpoint_auroc if low is None else low,
        found.midpoint_auroc if high is None else high,
    )


def _score_halfway(asked: Asked, meta: CellMeta) -> Measured | None:
    found = meta.between
    if found is None or meta.iqr <= 0:
        return None
    ends = (found.score[0] + found.score[-1]) / 2
    return _exact((found.score[_middle(found.alphas)] - ends) / meta.iqr)


def _middle(alphas: tuple[float, ...]) -> int:
    return min(range(len(alphas)), key=lambda i: abs(alphas[i] - 0.5))


def _images(meta: CellMeta) -> int:
    return next(iter(meta.sets.values())).n_id


def _exact(value: float | None) -> Measured | None:
    """A figure whose error is not known."""
    return None if value is None else Measured(value, value, value)


def _share(value: float, images: int) -> Measured:
    """A share of so many images, with the exact interval of Clopper and Pearson (1934)."""
    if images <= 0:
        return Measured(value, value, value)
    share = min(1.0, max(0.0, value))
    ends = stats.binomtest(round(share * images), images).proportion_ci()
    return Measured(share, min(share, float(ends.low)), max(share, float(ends.high)))


_OF: dict[Figure, Callable[[Asked, CellMeta], Measured | None]] = {
    Figure.CLEAN_AUROC: _clean_auroc,
    Figure.AUROC: _auroc,
    Figure.GUARANTEED_AUROC: _guaranteed,
    Figure.FPR95: _fpr95,
    Figure.DETECTED: _detected,
    Figure.MAPE: _mape,
    Figure.ID_ACCURACY: _id_accuracy,
    Figure.BITS_PER_DIM: _bits_per_dim,
    Figure.REJECTED: _rejected,
    Figure.ACCURACY_LEFT: _accuracy_left,
    Figure.REJECTED_OOD: _rejected_ood,
    Figure.ADVERSARIAL_ACCURACY: _adversarial_accuracy,
    Figure.FOOLED: _fooled,
    Figure.UNDETECTED: _undetected,
    Figure.FOOLED_DETECTED: _fooled_detected,
    Figure.ACCEPTED_THROUGHOUT: _accepted_throughout,
    Figure.ACCEPTED_HALFWAY: _accepted_halfway,
    Figure.MIDPOINT_AUROC: _midpoint_auroc,
    Figure.SCORE_HALFWAY: _score_halfway,
}
