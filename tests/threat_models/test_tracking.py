"""What counts as found: finite in score and objective; and what is heard of an attack under way."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.testing.classifiers import LinearClassifier
from bench.testing.fool_threats import FoolSetting, fool_context, true_labels
from bench.testing.threats import images, pool
from bench.threat_models.base import TRACE_LENGTH, Budget, Context
from bench.threat_models.boundary import Boundary, BoundaryParams
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.square import Square, SquareParams
from bench.threat_models.tracking import Tracker

NAN = float("nan")


def test_an_image_counts_only_where_score_and_objective_are_numbers() -> None:
    x, everyone = torch.zeros(4, 1, 2, 2), torch.arange(4)
    tracker = Tracker(x, iterations=3, context=Context(Side.EVADE))
    tracker.try_clean(torch.zeros(4), torch.zeros(4))
    score, objective = torch.tensor([1.0, NAN, 1.0, NAN]), torch.tensor([1.0, 1.0, NAN, NAN])
    tracker.try_images(1, everyone, score, objective, x + 0.5)
    result = tracker.result(Budget(Norm.L2, 1.0))
    assert result.images.flatten(1)[:, 0].tolist() == [0.5, 0.0, 0.0, 0.0]
    assert result.score_trace[:, -1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert tracker.non_finite.tolist() == [0, 1, 1, 1]
    assert tracker.queries.tolist() == [2] * 4


@pytest.mark.parametrize(
    "threat",
    [Boundary(BoundaryParams(steps=40)), PGD(PGDParams(steps=10, restarts=2)), Square(SquareParams(queries=30))],
    ids=lambda threat: type(threat).__name__,
)
def test_progress_rises_to_one_in_many_pieces(threat) -> None:
    detector, told = LinearClassifier(), []
    setting = FoolSetting(Norm.L2, None if isinstance(threat, Boundary) else 0.5)
    context = replace(
        fool_context(detector, setting, true_labels(detector)), progress=lambda share, _: told.append(share)
    )
    x, ids = images()
    threat.run(detector, x, ids=ids, budget=setting.budget, context=replace(context, pool=pool()))
    assert told == sorted(told)
    assert 0 <= told[0] < 0.5
    assert told[-1] == 1.0
    assert len({round(share, 3) for share in told}) >= 10


@pytest.mark.parametrize("iterations", [5, 150])
def test_a_trace_shows_the_best_scores_at_moments_from_the_first_to_the_last(iterations: int) -> None:
    tracker = Tracker(torch.zeros(1, 1, 2, 2), iterations=iterations, context=Context(Side.EVADE))
    tracker.try_clean(torch.zeros(1), torch.zeros(1))
    for iteration in range(iterations):
        tracker.record(iteration, torch.arange(1), torch.tensor([float(iteration)]))
    seen = tracker.result(Budget(Norm.L2, 1.0)).score_trace[0].tolist()
    points = torch.linspace(0, iterations - 1, len(seen)).round().tolist()
    assert len(seen) == min(iterations, TRACE_LENGTH) and seen[:-1] == points[:-1]
