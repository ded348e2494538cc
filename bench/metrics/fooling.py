"""What came of fooling a classifier under the eyes of a detector: pure functions on the outcome of every image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.roc import AurocEstimate, delong
from bench.metrics.scores import MetricError


@dataclass(frozen=True)
class Outcomes:
    """One entry an ID test image, after an attack that tried to have it misclassified.

    Attributes:
        labels: True classes.
        clean_predicted: Classes predicted for the images as they are.
        clean_scores: Their scores.
        predicted: Classes predicted after the attack.
        scores: Scores after the attack.
        thresholds: The score below which the image after the attack is detected.
        norms: How far it was moved.
    """

    labels: NDArray[np.int64]
    clean_predicted: NDArray[np.int64]
    clean_scores: NDArray[np.floating]
    predicted: NDArray[np.int64]
    scores: NDArray[np.floating]
    thresholds: NDArray[np.float64]
    norms: NDArray[np.float32]


@dataclass(frozen=True)
class Fooled:
    """Shares of the images that the classifier gets right as they are, but for the adversarial accuracy.

    Attributes:
        adversarial_accuracy: Share of all images that are still classified correctly.
        misclassified: Share of those that are not.
        undetected: Share that is misclassified and accepted.
        detection_rate: Share of the misclassified ones that is detected; None without any.
        auroc: Clean, correctly classified images against the misclassified ones; None without any.
        median_norm: Of the misclassified ones; None without any.
    """

    adversarial_accuracy: float
    misclassified: float
    undetected: float
    detection_rate: float | None
    auroc: AurocEstimate | None
    median_norm: float | None


def wrong_within(outcomes: Outcomes, eps: float | None) -> NDArray[np.bool_]:
    """(N,) images that were right as they are, and are misclassified after a move of at most `eps`; None: of any."""
    right = outcomes.clean_predicted == outcomes.labels
    moved = np.ones_like(right) if eps is None else outcomes.norms <= eps * (1 + 1e-5) + 2.0**-23
    return np.asarray(right & moved & (outcomes.predicted != outcomes.labels))


def fooled_within(outcomes: Outcomes, eps: float | None, *, name: str = "scores") -> Fooled:
    """What the attack came to where every image that was moved farther than `eps` counts as it is.

    The share of the undetected, with that of the misclassified beside it, is what Table 2 of Fetaya et al. (2020,
    "Understanding the limitations of conditional generative models") shows; the adversarial accuracy is that of
    Figures 4 and 5 of "Reject illegal inputs: scaling generative classifiers with supervised deep infomax" (2020).

    Args:
        outcomes: One entry an image.
        eps: Radius in the norm of the outcomes; None for the whole box.
        name: Where the outcomes come from; error messages start with it.

    Raises:
        MetricError: No image is classified correctly as it is.
    """
    right = outcomes.clean_predicted == outcomes.labels
    if not right.any():
        raise MetricError(f"{name}: no ID test image is classified correctly, so there is nothing to fool.")
    wrong = wrong_within(outcomes, eps)
    accepted = outcomes.scores >= outcomes.thresholds
    count = int(right.sum())
    return Fooled(
        adversarial_accuracy=float(np.mean(right & ~wrong)),
        misclassified=float(wrong.sum()) / count,
        undetected=float((wrong & accepted).sum()) / count,
        detection_rate=float(np.mean(~accepted[wrong])) if wrong.any() else None,
        auroc=delong(outcomes.clean_scores[right], outcomes.scores[wrong], name=name) if wrong.any() else None,
        median_norm=float(np.median(outcomes.norms[wrong])) if wrong.any() else None,
    )
