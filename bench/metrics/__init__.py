"""Pure functions on score arrays: higher score = more in-distribution, and ID is the positive class."""

from bench.metrics.ceiling import Ceiling, ceiling_at, distance_ceiling, nearest_distances, radii_for_reach
from bench.metrics.differences import (
    Difference,
    paired_difference,
    paired_mean_difference,
    unpaired_mean_difference,
)
from bench.metrics.fooling import Fooled, Outcomes, fooled_within, wrong_within
from bench.metrics.multiple import holm
from bench.metrics.precision_recall import aupr_in, aupr_out
from bench.metrics.radii import median_radius, radii_across, share_within
from bench.metrics.rejection import Rejection, class_percentiles, class_wise_detection_rate, rejection
from bench.metrics.roc import (
    AurocEstimate,
    auroc,
    conservative_auroc,
    delong,
    delong_components,
    mean_over_sets,
)
from bench.metrics.scores import MetricError, clip_beyond_targets, iqr
from bench.metrics.shares import paired_share_difference, unpaired_share_difference
from bench.metrics.thresholds import (
    detection_rate,
    detection_rate_by_class,
    fpr_at_tpr,
    threshold_at_tpr,
    thresholds_by_class,
)

__all__ = [
    "AurocEstimate",
    "Ceiling",
    "Difference",
    "Fooled",
    "MetricError",
    "Outcomes",
    "Rejection",
    "aupr_in",
    "aupr_out",
    "auroc",
    "ceiling_at",
    "class_percentiles",
    "class_wise_detection_rate",
    "clip_beyond_targets",
    "conservative_auroc",
    "delong",
    "delong_components",
    "detection_rate",
    "detection_rate_by_class",
    "distance_ceiling",
    "fooled_within",
    "fpr_at_tpr",
    "holm",
    "iqr",
    "mean_over_sets",
    "median_radius",
    "nearest_distances",
    "paired_difference",
    "paired_mean_difference",
    "paired_share_difference",
    "radii_across",
    "radii_for_reach",
    "rejection",
    "share_within",
    "threshold_at_tpr",
    "thresholds_by_class",
    "unpaired_mean_difference",
    "unpaired_share_difference",
    "wrong_within",
]
