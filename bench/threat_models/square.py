"""Square Attack: random search by localised squares, which asks for scores alone."""

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models import geometry, square_moves
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10,000 queries the share of pixels is halved; other numbers of queries are scaled to these."""

_DRAWN_TOGETHER = 16
"""Queries whose random numbers are drawn at once, and after which it is asked how many searches are left."""

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

    `square` of tests/threat_models/naive.py has it as plain loops, and finds the same images bit for bit.

    A square of pixels, its side along the paper's schedule, gets a new perturbation of the full radius; it stays where
    the score is better for it. The share of pixels is halved when the authors' code does so.

    Deviations: a search begins at the better one of the paper's start (stripes, tiles) and the clean image, since on
    some detectors noise of the whole radius leads the score further down than the search makes up for. Every sample
    draws its own squares. Scores that tie are told apart by the objective, as in every threat here.
    """

    params: SquareParams

    def cost(self, case: Case) -> Cost:
        """One query for the clean image, and `queries` a restart."""
        return Cost(0, 1 + self.params.queries * self.params.restarts)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query for the clean image, and `queries` a restart."""
        norm, eps = ball_of(budget)
        queries, rounds = self.params.queries, self.params.queries * self.params.restarts
        tracker = Tracker(x, iterations=rounds + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        search = _Search(
            self.params,
            oracle,
            tracker,
            x,
            ids,
            context,
            square_moves.Moves(norm, geometry.reach(x, norm, eps), tuple(x.shape[1:])),
        )
        tracker.try_clean(*oracle.evaluate(x))
        clean = tracker.images.clone(), tracker.score.clone(), tracker.objective.clone()
        for first in range(0, rounds, queries):
            search.run(first, *clean)
        tracker.report(1.0)
        return tracker.result(budget)


@dataclass
class _Searches:
    """Searches under way, one a row; whole micro-batches of them, the last one filled with copies that count nothing.

    Attributes:
        sample: (R,) position of the image in x.
        real: (R,) it is no copy.
        live: (R,) neither a copy nor beyond the target: what is found counts.
        center: (R, C, H, W) clean images.
        here: (R, C, H, W) where the search stands, the best it has found.
        score: (R,) of that.
        objective: (R,) of that.
        queries: (R,) int64 asked.
        non_finite: (R,) int64 answers that were not finite.
    """

    sample: Tensor
    real: Tensor
    live: Tensor
    center: Tensor
    here: Tensor
    score: Tensor
    objective: Tensor
    queries: Tensor
    non_finite: Tensor

    def choose(self, rows: Tensor | slice) -> "_Searches":
        """Some of the rows, in this order; of a slice, views in which may be written."""
        return _Searches(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class _Search:
    params: SquareParams
    oracle: Oracle
    tracker: Tracker
    x: Tensor
    ids: Tensor
    context: Context
    moves: square_moves.Moves

    def run(self, first: int, images: Tensor, score: Tensor, objective: Tensor) -> None:
        """One restart, whose first query has this number, of all samples that are not beyond the target.

        Nothing waits for the device between two queries: it is asked now and then how many searches are left, and a
        search that is over stays in its batch until that saves a batch.
        """
        rows = self._begin((~self.tracker.past_target()).nonzero().flatten(), images, score, objective)
        queries, rounds = self.params.queries, self.params.queries * self.params.restarts
        every, stoppable = max(1, rounds // _REPORTS), self.context.stop_target is not None
        batches, numbers = self._batches(rows), dict[int, Tensor]()
        for turn in range(first, first + queries if len(rows.sample) else first):
            query = turn - first
            if turn not in numbers:
                numbers = self._numbers(rows, turn, query)
            for place, batch in batches:
                self._ask(batch, numbers[turn][place], query)
            self.tracker.record(turn + 1, rows.sample, rows.score)
            if stoppable:
                torch.logical_and(rows.real, ~self.tracker.past_target()[rows.sample], out=rows.live)
                if query % _DRAWN_TOGETHER == 0:
                    left = int(rows.live.sum())
                    if left <= len(rows.sample) - self.oracle.micro_batch:
                        self._finish(rows.choose((rows.real & ~rows.live).nonzero().flatten()))
                        rows = self._compact(rows, left)
                        batches, numbers = self._batches(rows), {}
                        if left == 0:
                            return
            if turn % every == 0:
                self.tracker.report((turn + 1) / rounds)
        self._finish(rows.choose(rows.real.nonzero().flatten()))

    def _begin(self, samples: Tensor, images: Tensor, score: Tensor, objective: Tensor) -> _Searches:
        missing = -len(samples) % self.oracle.micro_batch
        sample = self.oracle.fill(samples, missing)
        real = torch.arange(len(sample), device=sample.device) < len(samples)
        count = torch.zeros_like(sample)
        return _Searches(
            sample,
            real,
            real.clone(),
            self.x[sample],
            images[sample],
            score[sample],
            objective[sample],
            count,
            count.clone(),
        )

    def _batches(self, rows: _Searches) -> list[tuple[slice, _Searches]]:
        return [(batch, rows.choose(batch)) for batch in self.oracle.batches(len(rows.sample))]

    def _numbers(self, rows: _Searches, turn: int, query: int) -> dict[int, Tensor]:
        """Uniform numbers of all rows for this turn and those that follow it, by turn: drawn together to save time."""
        turns = range(turn, turn + (1 if query == 0 else _DRAWN_TOGETHER))  # a start takes other numbers than a move
        shape = (self.moves.numbers(start=query == 0),)
        return dict(zip(turns, self.context.uniform_draws(self.ids[rows.sample], turns, shape), strict=True))

    def _ask(self, rows: _Searches, numbers: Tensor, query: int) -> None:
        """Try one point more for each search of a batch, and stay where it is not better."""
        if query == 0:
            points = self.moves.start(rows.center, numbers)
            better = self._judge(rows, *self.oracle.ask(points, rows.sample))
            geometry.choose(better, points, rows.here, out=rows.here)
            return
        side = self.moves.side(self.params.p_init * share(query, self.params.queries))
        undo = self.moves.move(rows.center, rows.here, numbers, side=side)
        better = self._judge(rows, *self.oracle.ask(rows.here, rows.sample))
        undo.where(~better)

    def _judge(self, rows: _Searches, score: Tensor, objective: Tensor) -> Tensor:
        """(B,) where the answer is better, by score and then by objective; it is kept there."""
        finite = (score.abs() < math.inf) & (objective.abs() < math.inf)
        better = (score > rows.score) | ((score == rows.score) & (objective > rows.objective))
        better &= finite & rows.live
        torch.where(better, score, rows.score, out=rows.score)
        torch.where(better, objective, rows.objective, out=rows.objective)
        rows.queries += rows.live
        rows.non_finite += rows.live & ~finite
        return better

    def _compact(self, rows: _Searches, left: int) -> _Searches:
        """The searches that are under way, in fewer batches."""
        order = rows.live.nonzero().flatten()
        rows = rows.choose(self.oracle.fill(order, -left % self.oracle.micro_batch) if left else order)
        rows.real = torch.arange(len(rows.sample), device=order.device) < left
        rows.live = rows.real.clone()
        return rows

    def _finish(self, rows: _Searches) -> None:
        """Hand over what some searches found."""
        tracker = self.tracker
        tracker.queries[rows.sample] += rows.queries
        tracker.non_finite[rows.sample] += rows.non_finite
        tracker.offer(rows.sample, rows.score, rows.objective, rows.here, rows.here)


def share(query: int, queries: int) -> float:
    """What is left of the first share of pixels at one of so many queries."""
    scaled = query * 10_000 // queries
    return math.ldexp(1.0, -sum(scaled > iteration for iteration in _HALVINGS))
