"""Classification with rejection, from the class-conditional scores of one clean cell."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.cards.detector import ThresholdSpec
from bench.evaluation.results import RejectionMetrics
from bench.evaluation.scoring import Logits


def rejection_metrics(
    spec: ThresholdSpec,
    logits: Mapping[str, Logits],
    labels: Mapping[str, NDArray[np.int64]],
    *,
    fitted: str,
    test: str,
    ood: tuple[str, ...],
    label: str,
) -> tuple[RejectionMetrics, ...]:
    """The figures at every percentile that the card asks for.

    Args:
        spec: The percentiles, and of which images they are.
        logits: (N, K) class-conditional scores by set.
        labels: (N,) true classes by set.
        fitted: The set from which the thresholds come.
        test: The ID test set.
        ood: The OOD sets.
        label: The cell, for errors.

    Raises:
        MetricError: No class has a threshold.
    """
    figures = []
    for percentile in spec.percentiles:
        thresholds = metrics.class_percentiles(
            logits[fitted], labels[fitted], percentile, correct_only=spec.correct_only, name=label
        )
        kept = metrics.rejection(logits[test], labels[test], thresholds, name=label)
        rates = {name: metrics.class_wise_detection_rate(logits[name], thresholds, name=label) for name in ood}
        figures.append(
            RejectionMetrics(
                percentile=percentile,
                source=spec.source,
                correct_only=spec.correct_only,
                thresholds=thresholds,
                rejection_rate=kept.rate,
                accuracy=kept.accuracy,
                detection_rates=rates,
            )
        )
    return tuple(figures)


def missing_classes(figures: tuple[RejectionMetrics, ...], classes: int) -> list[str]:
    """The sentence that names the classes without a threshold; empty where each has one."""
    missing = sorted(set(range(classes)) - set(figures[0].thresholds)) if figures else []
    if not missing:
        return []
    which = "correctly classified image" if figures[0].correct_only else "image"
    named = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return [
        f"no {figures[0].source} {which} is of class {named}, so every image that is predicted to be of it is rejected."
    ]
