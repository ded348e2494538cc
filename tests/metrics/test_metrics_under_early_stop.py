"""An attack that stops once a sample is beyond every opponent leaves these figures bit-equal to the full attack's."""

import numpy as np
import pytest

from bench.metrics import (
    aupr_in,
    aupr_out,
    auroc,
    clip_beyond_targets,
    conservative_auroc,
    delong,
    detection_rate,
    fpr_at_tpr,
    iqr,
    threshold_at_tpr,
)

FIGURES = {
    "auroc": auroc,
    "conservative": conservative_auroc,
    "delong": delong,
    "fpr": fpr_at_tpr,
    "aupr_in": aupr_in,
    "aupr_out": aupr_out,
}
EXACT_UNDER_EVASION = ["auroc", "conservative", "delong", "fpr", "aupr_in"]
EXACT_UNDER_ALARM = ["auroc", "conservative", "delong", "fpr", "aupr_out"]


def attacked(seed, side, share):
    """Clean opponents, the full attack's scores, the stopped attack's scores, and the target; with ties."""
    rng = np.random.default_rng(seed)
    opponents = rng.normal(size=120).round(1)
    sign = 1.0 if side == "evade" else -1.0
    target = sign * ((sign * opponents).max() + 1e-3 * iqr(opponents))
    full = rng.normal(size=150).round(1)
    beyond = rng.random(150) < share
    full[beyond] = target + sign * (0.1 + rng.random(beyond.sum()) * 5).round(1)
    full = np.where(beyond, full, sign * np.minimum(sign * full, (sign * opponents).max()))
    stopped = full.copy()
    stopped[beyond] = target + sign * rng.random(beyond.sum())
    assert np.any(stopped != full)
    return opponents, full, stopped, target


@pytest.mark.parametrize("figure", EXACT_UNDER_EVASION)
@pytest.mark.parametrize("share", [0.04, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_stopping_raised_ood_scores_beyond_the_target_changes_nothing(figure, share, seed):
    id_scores, full, stopped, _ = attacked(seed, "evade", share)
    assert FIGURES[figure](id_scores, full) == FIGURES[figure](id_scores, stopped)


@pytest.mark.parametrize("figure", EXACT_UNDER_ALARM)
@pytest.mark.parametrize("share", [0.04, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_stopping_lowered_id_scores_beyond_the_target_changes_nothing(figure, share, seed):
    ood_scores, full, stopped, _ = attacked(seed, "alarm", share)
    assert FIGURES[figure](full, ood_scores) == FIGURES[figure](stopped, ood_scores)


@pytest.mark.parametrize("figure", FIGURES)
def test_after_clipping_every_figure_is_the_same_on_both_sides(figure):
    id_scores, full, stopped, target = attacked(0, "evade", 0.5)
    full, stopped = (clip_beyond_targets(s, None, target) for s in (full, stopped))
    assert FIGURES[figure](id_scores, full) == FIGURES[figure](id_scores, stopped)

    ood_scores, full, stopped, target = attacked(0, "alarm", 0.5)
    full, stopped = (clip_beyond_targets(s, target, None) for s in (full, stopped))
    assert FIGURES[figure](full, ood_scores) == FIGURES[figure](stopped, ood_scores)


def test_clipping_leaves_the_ranks_against_the_opponents():
    id_scores, full, _, target = attacked(1, "evade", 0.5)
    for figure in EXACT_UNDER_EVASION:
        assert FIGURES[figure](id_scores, clip_beyond_targets(full, None, target)) == FIGURES[figure](id_scores, full)


def test_detection_at_a_threshold_below_the_target_is_the_same():
    id_scores, full, stopped, target = attacked(2, "evade", 0.5)
    threshold = threshold_at_tpr(id_scores)
    assert threshold < target
    assert detection_rate(full, threshold) == detection_rate(stopped, threshold)


def test_without_clipping_the_order_within_the_attacked_side_shows_in_the_precision():
    """Ties among the stopped scores: the reason for clipping."""
    id_scores = np.array([0.0, 1.0])
    full, stopped = np.array([2.0, 2.0, 2.0]), np.array([2.0, 3.0, 4.0])
    assert aupr_out(id_scores, full) != aupr_out(id_scores, stopped)
