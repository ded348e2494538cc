"""Figures of stored cells, by hand from what the cells hold."""

import numpy as np
import pandas as pd
import pytest

from bench import metrics
from bench.cards.threat import Goal, Loss, Norm, Side
from bench.evaluation.results import (
    BetweenMetrics,
    Cell,
    CellMeta,
    FoolAtEps,
    FoolMetrics,
    MeanMetrics,
    RejectionMetrics,
    SetMetrics,
)
from bench.repro.figures import CLEAN, Asked, Figure, measured

AUROCS = {
    "clean_auroc": 0.95, "clean_se": 0.01, "clean_low": 0.92, "clean_high": 0.97,
    "auroc": 0.7, "se": 0.02, "low": 0.66, "high": 0.74,
}  # fmt: skip
NEAR = SetMetrics(
    **AUROCS, n_id=10, n_ood=20, conservative_auroc=0.7, aupr_in=0.5, aupr_out=0.5, fpr95=0.25, clean_fpr95=0.1,
    detection_rate=0.4, ceiling=None, reachable=None, guaranteed_auroc=0.3, counts=True, gradients=0, queries=0,
    figures={"mape": 0.012},
)  # fmt: skip
MEAN = MeanMetrics(**{**AUROCS, "auroc": 0.71}, sets=("near",), fpr95=0.3, ceiling=None, reachable=None)
REJECTION = tuple(
    RejectionMetrics(
        percentile=p,
        source="train",
        correct_only=True,
        thresholds={0: 0.0},
        rejection_rate=0.1 * p,
        accuracy=0.5,
        detection_rates={"near": 0.3 * p},
    )
    for p in (1.0, 2.0)
)
AT = {"auroc": None, "se": None, "median_norm": 1.0, "adversarial_accuracy": 0.2, "detection_rate": 0.5}
FOOL = FoolMetrics(
    goal=Goal.MISCLASSIFY,
    loss=Loss.MARGIN,
    n=10,
    attacked=8,
    curve=(
        FoolAtEps(eps=1.5, misclassified=0.5, undetected=0.25, by_percentile={"1": 0.125}, **AT),
        FoolAtEps(eps=None, misclassified=1.0, undetected=0.5, by_percentile={"1": 0.25}, **AT),
    ),
)
BETWEEN = BetweenMetrics(
    paths=40, alphas=(0.0, 0.4, 1.0), score=(2.0, 1.0, 4.0), accepted=(1.0, 0.25, 1.0), confidence_from=(),
    confidence_to=(), accepted_throughout=0.1, midpoint_auroc=0.8, midpoint_se=0.1, midpoint_low=0.7, midpoint_high=0.9,
)  # fmt: skip
META = CellMeta(
    key="0" * 64, detector="d", detector_hash="", weights_sha256=(), threat="t", source_hash="", threat_hash="",
    threat_params={}, norm=Norm.L2, eps=1.0, side=Side.EVADE, track="digits", track_hash="", set_digests={}, limit=None,
    seed=0, micro_batch=1, early_stop=True, id_accuracy=0.9, bits_per_dim=1.5, iqr=4.0, stop_high=None, stop_low=None,
    thresholds={}, sets={"near": NEAR}, mean=MEAN, rejection=REJECTION, fool=FOOL, between=BETWEEN, statuses={},
    gradients=0, queries=0, seconds=1.0, device="cpu", versions={},
)  # fmt: skip
SAMPLES = pd.DataFrame(
    {
        "set": ["test"] * 3 + ["near"] * 3,
        "clean_score": np.array([3.0, 2.0, 1.0, 0.0, 0.0, 0.0], np.float32),
        "score": np.array([3.0, 2.0, 1.0, 9.0, 9.0, 9.0], np.float32),
        "last_score": np.array([9.0, 9.0, 9.0, 2.5, 1.5, 0.5], np.float32),
    }
)


def value(name, **asked):
    found = measured(Asked(Figure(name), **asked), Cell(META, SAMPLES))
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("clean-auroc", {"set": "near"}, 0.95),
        ("auroc", {"set": "near"}, 0.7),
        ("auroc", {}, 0.71),
        ("auroc", {"set": "far"}, None),
        ("guaranteed-auroc", {"set": "near"}, 0.3),
        ("fpr95", {"set": "near"}, 0.25),
        ("fpr95", {}, 0.3),
        ("detected", {"set": "near"}, 0.4),
        ("mape", {"set": "near"}, 1.2),
        ("id-accuracy", {}, 0.9),
        ("bits-per-dim", {}, 1.5),
        ("rejected", {"percentile": 2}, 0.2),
        ("accuracy-left", {"percentile": 1}, 0.5),
        ("rejected-ood", {"percentile": 2, "set": "near"}, 0.6),
        ("rejected-ood", {"percentile": 5, "set": "near"}, None),
        ("adversarial-accuracy", {}, 0.2),
        ("fooled", {}, 1.0),
        ("fooled", {"within": 1.5}, 0.5),
        ("fooled", {"within": 2.0}, None),
        ("undetected", {"within": 1.5}, 0.25),
        ("undetected", {"within": 1.5, "percentile": 1}, 0.125),
        ("fooled-detected", {"within": 1.5}, 0.5),
        ("fooled-detected", {"percentile": 1}, 0.75),
        ("accepted-throughout", {}, 0.1),
        ("accepted-halfway", {}, 0.25),
        ("midpoint-auroc", {}, 0.8),
        ("score-halfway", {}, -0.5),
    ],
)
def test_a_figure_is_what_the_cell_holds(name, asked, expected):
    assert value(name, **asked) == (None if expected is None else pytest.approx(expected))


def test_every_figure_can_be_asked_for():
    for figure in Figure:
        assert measured(Asked(figure, set="near" if figure not in {"rejected"} else None), Cell(META, SAMPLES)), figure
    assert set(Figure) > CLEAN


def test_the_matched_auroc_is_of_what_the_attack_ended_with():
    expected = metrics.delong([3.0, 2.0, 1.0], [2.5, 1.5, 0.5])
    found = measured(Asked(Figure.MATCHED_AUROC, set="near"), Cell(META, SAMPLES))
    assert (found.value, found.low, found.high) == (expected.auroc, expected.low, expected.high)


def test_a_share_has_the_exact_interval_of_its_images():
    found = measured(Asked(Figure.FOOLED, within=1.5), Cell(META, SAMPLES))  # 4 of 8
    assert (found.low, found.high) == pytest.approx((0.157, 0.843), abs=5e-4)  # Clopper and Pearson
