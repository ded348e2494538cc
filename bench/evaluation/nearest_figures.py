"""What came of looking for the nearest image across a detector's threshold: shares by radius, and the median radius."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.cards.threat import Side, ThreatCard
from bench.evaluation.attacked_sets import AttackedSets
from bench.evaluation.images import TEST, Images
from bench.evaluation.planned import PlannedCell
from bench.evaluation.results import NearestAtEps, NearestFigures, NearestMetrics
from bench.evaluation.thresholds import Thresholds
from bench.metrics.scores import Scores


def has_radii(card: ThreatCard, side: Side) -> bool:
    """Whether an attack's figures are radii of images, in place of AUROCs of scores."""
    return card.min_norm and side in (Side.EVADE, Side.ALARM)


def nearest_metrics(
    planned: PlannedCell,
    images: Images,
    clean: Mapping[str, Scores],
    predicted: Mapping[str, NDArray[np.int64]],
    attacks: AttackedSets,
    thresholds: Thresholds,
) -> NearestMetrics:
    """Figures of every attacked set.

    An image counts as across where its score, asked for afresh, is: of OOD images accepted, at its threshold or above
    it, of ID images rejected, strictly below it.

    Args:
        planned: The cell.
        images: The track's sets.
        clean: Scores of the images as they are, by set.
        predicted: Their classes.
        attacks: What came of the attack.
        thresholds: Of the detector.
    """
    side, radii = planned.ingredients.side, (*planned.ingredients.radii, None)
    names = [TEST] if side is Side.ALARM else list(images.ood)
    found = {}
    for name in names:
        across = _across(attacks.scores[name], attacks.predicted[name], thresholds, side)
        already = _across(clean[name], predicted[name], thresholds, side)
        label = f"{planned.label}, '{name}'"
        own = metrics.radii_across(np.where(already, 0.0, attacks.norm[name]), across | already)
        found[name] = NearestFigures(
            n=len(own),
            counts=side is Side.ALARM or planned.track.ood[name].counts,
            across=float(already.mean()),
            median_radius=metrics.median_radius(own, name=label),
            curve=tuple(NearestAtEps(eps=e, across=metrics.share_within(own, e, name=label)) for e in radii),
            gradients=int(attacks.gradients[name].sum()),
            queries=int(attacks.queries[name].sum()),
        )
    counting = [figures for figures in found.values() if figures.counts]
    return NearestMetrics(threshold=thresholds.name, sets=found, mean=_mean(counting) if counting else None)


def _across(scores: Scores, predicted: NDArray[np.int64], thresholds: Thresholds, side: Side) -> NDArray[np.bool_]:
    lines = np.array([thresholds.by_class.get(int(c), thresholds.overall) for c in predicted], dtype=np.float64)
    return np.asarray(scores < lines if side is Side.ALARM else scores >= lines)


def _mean(sets: Sequence[NearestFigures]) -> NearestFigures:
    """Every set weighs the same; the median is the mean of their medians, None where one of them has none."""
    medians = [figures.median_radius for figures in sets]
    known = [median for median in medians if median is not None]
    return NearestFigures(
        n=sum(figures.n for figures in sets),
        counts=True,
        across=float(np.mean([figures.across for figures in sets])),
        median_radius=float(np.mean(known)) if len(known) == len(medians) else None,
        curve=tuple(
            NearestAtEps(eps=points[0].eps, across=float(np.mean([point.across for point in points])))
            for points in zip(*(figures.curve for figures in sets), strict=True)
        ),
        gradients=sum(figures.gradients for figures in sets),
        queries=sum(figures.queries for figures in sets),
    )
