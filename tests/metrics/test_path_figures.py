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


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (np.zeros((0, 3)), r"have shape \(0, 3\); allowed is \(paths, points\), with at least one of each\."),
        (np.zeros(3), r"have shape \(3,\); allowed is \(paths, points\), with at least one of each\."),
        ([[np.nan]], "hold numbers that are not finite; a detector must give a finite one for each image."),
    ],
)
def test_what_are_no_paths_is_one_sentence_that_says_what_is_allowed(scores, sentence) -> None:
    with pytest.raises(MetricError, match=f"^the scores of paths {sentence}$"):
        path_figures(scores, 0.0)


@pytest.mark.parametrize("which", ["confidence_from", "confidence_to"])
def test_probabilities_of_another_shape_than_the_scores_are_one_sentence_that_says_which_is_theirs(which) -> None:
    with pytest.raises(MetricError, match=r"probabilities of lines have shape \(1, 1\); allowed is \(1, 2\),"):
        path_figures([[1.0, 2.0]], 0.0, **{which: [[0.5]]}, name="lines")
