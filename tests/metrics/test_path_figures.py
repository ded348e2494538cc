"""Mean curves along paths, against loops over paths and points."""

import numpy as np
import pytest

from bench.metrics.paths import path_figures
from bench.metrics.scores import MetricError


def test_curves_are_means_over_paths_and_acceptance_is_counted_by_hand() -> None:
    rng = np.random.default_rng(0)
    scores, limits = rng.normal(size=(40, 6)), rng.normal(size=(40, 6)) - 1.5
    start, end = rng.uniform(size=(2, 40, 6))
    found = path_figures(scores, limits, confidence_from=start, confidence_to=end)
    stays = [all(scores[p, a] >= limits[p, a] for a in range(6)) for p in range(40)]
    assert found.accepted_throughout == sum(stays) / 40
    assert 0 < sum(stays) < 40
    for a in range(6):
        assert found.score[a] == pytest.approx(sum(scores[:, a]) / 40)
        assert found.accepted[a] == sum(scores[p, a] >= limits[p, a] for p in range(40)) / 40
        assert found.confidence_from is not None and found.confidence_from[a] == pytest.approx(sum(start[:, a]) / 40)
        assert found.confidence_to is not None and found.confidence_to[a] == pytest.approx(sum(end[:, a]) / 40)


def test_a_score_at_the_threshold_is_accepted() -> None:
    assert path_figures([[1.0, 2.0]], 1.0).accepted_throughout == 1.0


def test_without_classes_there_are_no_confidences() -> None:
    found = path_figures([[1.0]], 0.0)
    assert found.confidence_from is None and found.confidence_to is None


@pytest.mark.parametrize("scores", [np.zeros((0, 3)), np.zeros(3), [[np.nan]]])
def test_what_are_no_paths_is_one_sentence(scores) -> None:
    with pytest.raises(MetricError, match="of paths"):
        path_figures(scores, 0.0)


def test_probabilities_of_another_shape_are_one_sentence() -> None:
    with pytest.raises(MetricError, match="probabilities"):
        path_figures([[1.0, 2.0]], 0.0, confidence_from=[[0.5]])
