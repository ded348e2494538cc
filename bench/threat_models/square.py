"""Square Attack: random search by localised squares, which asks for scores alone."""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models import geometry, square_moves
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10,000 queries the share of pixels is halved; other numbers of queries are scaled to these."""

_REPORTS = 50
"""How often, about, progress is reported."""


class SquareParams(ThreatParams):
    """Parameters of `Square`.

    Attributes:
        queries: Scores asked for in each restart, beside that of the clean image.
        restarts: Searches, each with random numbers of its own.
        p_init: Share of the image's pixels that a square covers at first.
    """

    queries: int = Field(default=2000, ge=1, le=1_000_000)
    restarts: int = Field(default=1, ge=1, le=1000)
    p_init: float = Field(default=0.8, gt=0, le=1, allow_inf_nan=False)


class Square(Threat):
    """Square Attack (Andriushchenko et al. 2020, Algorithms 1 to 3), by the score alone.

    A square of pixels, its side along the paper's schedule, gets a new perturbation of the full radius; it stays where
    the score is better for it. The share of pixels is halved when the authors' code does so.

    Deviations: a search begins at the better one of the paper's start (stripes, tiles) and the clean image, since on
    some detectors noise of the whole radius leads the score further down than the search makes up for. Every sample
    draws its own squares. Scores that tie are told apart by the objective, as in every threat here.
    """

    Params = SquareParams
    params: SquareParams

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query for the clean image, and `queries` a restart."""
        norm, eps = ball_of(budget)
        queries, rounds = self.params.queries, self.params.queries * self.params.restarts
        tracker = Tracker(x, moments=rounds + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        moves = square_moves.Moves(norm, geometry.reach(x, norm, eps), tuple(x.shape[1:]))
        tracker.try_clean(*oracle.judge(x))
        clean = tracker.images.clone(), tracker.score.clone(), tracker.objective.clone()
        every = max(1, rounds // _REPORTS)
        for turn in range(rounds):
            query = turn % queries
            if query == 0:
                here, score, objective = (part.clone() for part in clean)
            left = (~tracker.beyond()).nonzero().flatten()
            for batch in oracle.batches(len(left)):
                samples = left[batch]
                padded = oracle.pad(samples)
                numbers = context.uniform(ids[padded], turn, (moves.numbers(start=query == 0),))
                if query == 0:
                    points = moves.start(x[padded], numbers)
                else:
                    side = moves.side(self.params.p_init * share(query, queries))
                    points = moves.step(x[padded], here[padded], numbers, side=side)
                answers = [part[: len(samples)] for part in (*oracle.ask(points, padded), points)]
                tracker.try_images(turn + 1, samples, *answers)
                _keep_better(samples, (score, objective, here), answers)
            if turn % every == 0:
                tracker.report((turn + 1) / rounds)
        tracker.report(1.0)
        return tracker.result(budget)


def share(query: int, queries: int) -> float:
    """What is left of the first share of pixels at one of so many queries."""
    scaled = query * 10_000 // queries
    return math.ldexp(1.0, -sum(scaled > moment for moment in _HALVINGS))


def _keep_better(samples: Tensor, current: tuple[Tensor, Tensor, Tensor], offered: list[Tensor]) -> None:
    """Where the search of each of these samples stands: (score, objective, image), written in place."""
    score, objective, images = offered
    finite = torch.isfinite(score) & torch.isfinite(objective)
    old, tie_break = current[0][samples], current[1][samples]
    better = finite & ((score > old) | ((score == old) & (objective > tie_break)))
    for kept, new in zip(current, (score, objective, images), strict=True):
        kept[samples[better]] = new[better]
