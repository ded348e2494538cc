"""From the scores of one cell to its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.evaluation.results import MeanMetrics, SetMetrics
from bench.evaluation.targets import Targets
from bench.evaluation.thresholds import TPR, Thresholds
from bench.metrics.scores import Scores


@dataclass(frozen=True)
class SetScores:
    """Scores of one set before and after the attack, the same images in the same order."""

    clean: Scores
    attacked: Scores


@dataclass(frozen=True)
class OodScores(SetScores):
    """An OOD set's scores, and what else its figures need.

    Attributes:
        predicted: (N,) classes that the detector predicts for the attacked images; -1 without a classifier.
        counts: Whether the set enters the mean.
        gradients: Spent on the set.
        queries: Spent on the set.
        distances: (N,) to the nearest ID calibration image in the budget's norm; None where no ceiling is asked for.
        bounds: (N,) certified upper bounds of the attacked scores; None without a certificate.
        bits: (N,) bits per dimension of the clean images; None without a density.
        figures: Means of what else the threat measured.
    """

    predicted: NDArray[np.int64]
    counts: bool
    gradients: int = 0
    queries: int = 0
    distances: NDArray[np.float64] | None = None
    bounds: Scores | None = None
    bits: Scores | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


def set_metrics(
    in_distribution: SetScores,
    ood: OodScores,
    *,
    targets: Targets,
    thresholds: Thresholds,
    eps: float | None,
    name: str,
) -> SetMetrics:
    """Figures of one OOD set.

    Attacked scores beyond an early-stop target are set to it first, whether or not the run stopped early, so that
    both give the same figures.

    Args:
        in_distribution: The ID test images.
        ood: The OOD set.
        targets: The cell's early-stop targets.
        thresholds: Below which images are detected.
        eps: Radius in the norm of the distances.
        name: The cell, for errors.
    """
    id_scores = metrics.clip_beyond_targets(in_distribution.attacked, targets.low, targets.high, name=name)
    ood_scores = metrics.clip_beyond_targets(ood.attacked, targets.low, targets.high, name=name)
    clean = metrics.delong(in_distribution.clean, ood.clean, name=name)
    attacked = metrics.delong(id_scores, ood_scores, name=name)
    reachable = ceiling = None
    if ood.distances is not None and eps is not None:
        found = metrics.ceiling_at(ood.distances, eps)
        reachable, ceiling = found.reachable, found.auroc
    return SetMetrics(
        n_id=len(id_scores),
        n_ood=len(ood_scores),
        clean_auroc=clean.auroc,
        clean_se=clean.se,
        clean_low=clean.low,
        clean_high=clean.high,
        auroc=attacked.auroc,
        se=attacked.se,
        low=attacked.low,
        high=attacked.high,
        conservative_auroc=metrics.conservative_auroc(id_scores, ood_scores, name=name),
        aupr_in=metrics.aupr_in(id_scores, ood_scores, name=name),
        aupr_out=metrics.aupr_out(id_scores, ood_scores, name=name),
        fpr95=metrics.fpr_at_tpr(id_scores, ood_scores, TPR, name=name),
        clean_fpr95=metrics.fpr_at_tpr(in_distribution.clean, ood.clean, TPR, name=name),
        detection_rate=thresholds.detection_rate(ood_scores, ood.predicted, label=name),
        ceiling=ceiling,
        reachable=reachable,
        guaranteed_auroc=None if ood.bounds is None else metrics.auroc(in_distribution.clean, ood.bounds, name=name),
        bits_per_dim=mean_bits(ood.bits),
        counts=ood.counts,
        gradients=ood.gradients,
        queries=ood.queries,
        figures=dict(ood.figures),
    )


def mean_metrics(
    in_distribution: SetScores,
    sides: Mapping[str, OodScores],
    figures: Mapping[str, SetMetrics],
    *,
    targets: Targets,
    name: str,
) -> MeanMetrics | None:
    """Mean over the sets that count; None where none does. Arguments as in `set_metrics`."""
    chosen = [set_name for set_name, side in sides.items() if side.counts]
    return _mean_over(chosen, in_distribution, sides, figures, targets, name) if chosen else None


def group_means(
    groups: Mapping[str, Sequence[str]],
    in_distribution: SetScores,
    sides: Mapping[str, OodScores],
    figures: Mapping[str, SetMetrics],
    *,
    targets: Targets,
    name: str,
) -> dict[str, MeanMetrics]:
    """Mean over each group: over its sets that count, or over all of them where none does.

    Args:
        groups: The sets of each group.
        in_distribution: The ID test images.
        sides: The OOD sets.
        figures: Their figures.
        targets: The cell's early-stop targets.
        name: The cell, for errors.
    """
    found = {}
    for group, members in groups.items():
        chosen = [member for member in members if sides[member].counts] or list(members)
        found[group] = _mean_over(chosen, in_distribution, sides, figures, targets, name)
    return found


def _mean_over(
    chosen: Sequence[str],
    in_distribution: SetScores,
    sides: Mapping[str, OodScores],
    figures: Mapping[str, SetMetrics],
    targets: Targets,
    name: str,
) -> MeanMetrics:

    def clip(scores: Scores) -> NDArray[np.float64]:
        return metrics.clip_beyond_targets(scores, targets.low, targets.high, name=name)

    clean = metrics.mean_over_sets(in_distribution.clean, [sides[c].clean for c in chosen], name=name)
    attacked = metrics.mean_over_sets(
        clip(in_distribution.attacked), [clip(sides[c].attacked) for c in chosen], name=name
    )
    return MeanMetrics(
        sets=tuple(chosen),
        clean_auroc=clean.auroc,
        clean_se=clean.se,
        clean_low=clean.low,
        clean_high=clean.high,
        auroc=attacked.auroc,
        se=attacked.se,
        low=attacked.low,
        high=attacked.high,
        fpr95=float(np.mean([figures[c].fpr95 for c in chosen])),
        ceiling=_mean([figures[c].ceiling for c in chosen]),
        reachable=_mean([figures[c].reachable for c in chosen]),
        guaranteed_auroc=_mean([figures[c].guaranteed_auroc for c in chosen]),
    )


def mean_bits(bits: Scores | None) -> float | None:
    """Their mean; None without a density."""
    return None if bits is None else float(np.mean(bits, dtype=np.float64))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
