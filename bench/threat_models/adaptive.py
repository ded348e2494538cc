"""What an attacker tries who suspects that a gradient is masked: several directions, and more of what works."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.errors import NotApplicableError
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of, climb
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.each_class import EachClass, EachClassParams
from bench.threat_models.gradient import Oracle
from bench.threat_models.guides import nearest_guides
from bench.threat_models.interpolation import on_the_way
from bench.threat_models.pgd import PGDParams, step_sizes
from bench.threat_models.stepping import ByteSteps, ScheduledSteps
from bench.threat_models.surrogates import (
    GUIDES,
    Differences,
    FreshNoise,
    LowPass,
    Plain,
    Smoothed,
    Straight,
    Surrogate,
    Undefended,
    smooth_part,
)
from bench.threat_models.tracking import Tracker


class AdaptiveParams(ThreatParams):
    """Parameters of `Adaptive`.

    Attributes:
        steps: Of each direction's trial.
        longer: How many times as many the second round has, for the direction that did best.
        draws: Points whose gradients a smoothed step averages.
        pairs: Directions that a step by differences tries forth and back.
        guides: Nearest ID images to whose sides the search sets out.
        points: Points on the way to each.
        classes: Of a score that compares images with classes, each of so many is aimed at in turn.
    """

    steps: int = Field(default=20, ge=1, le=100_000)
    longer: int = Field(default=5, ge=1, le=1000)
    draws: int = Field(default=4, ge=1, le=1000)
    pairs: int = Field(default=8, ge=1, le=10_000)
    guides: int = Field(default=3, ge=1, le=1000)
    points: int = Field(default=4, ge=1, le=1000)
    classes: int = Field(default=10, ge=1, le=1000)


@dataclass(frozen=True)
class _Way:
    """One direction from one start.

    Attributes:
        surrogate: What directs.
        from_elsewhere: It starts on the way to an ID image or to its own smooth part, in place of the clean image.
        first_step: Length of the first step, in units of eps.
        bytes: Every iterate is an image of 8 bits a channel.
    """

    surrogate: Surrogate
    from_elsewhere: bool = False
    first_step: float = 1.0
    bytes: bool = False


class Adaptive(Threat):
    """Repairs of a masked gradient, tried on every image; what repairs it is given more steps (Tramer et al. 2020).

    The trial: a short ascent each by the objective, by the objective from the best point on the ways to in-distribution
    images and to the image's own smooth part, by a backward pass that goes straight through what has no gradient, by
    the same from image of bytes to image of bytes and, from both starts, without the fine part of the gradient, by
    gradients averaged over a neighbourhood, by differences of scores, and by two undefended scores of the same
    network's logits; of a random detector also by fresh noise, and of a class-conditional score towards every class in
    turn (`EachClass`). The score itself judges every iterate. An image that something lifts clearly higher than the
    plain objective did goes on with that from its best point; for the others `PGD` spends its steps better, and a suite
    has it too.

    Each image decides by itself, so that its result does not depend on the others.
    """

    params: AdaptiveParams

    def cost(self, case: Case) -> Cost:
        """The trial of every way, and the second round of the dearest one."""
        p = self.params
        once, each = Cost(0, 1 + len(_SMOOTH) + p.guides * p.points), _PASSES
        steps = [(1, 0)] * 2 + [(1, 1)] * 6 + [(p.draws, 1), (GUIDES, 2 * (p.pairs + GUIDES) + 1)]
        trial = Cost(sum(g for g, _ in steps) * p.steps, sum(q * p.steps + each for _, q in steps))
        towards = EachClass(EachClassParams(steps=p.steps, classes=p.classes)).cost(case)
        gradients, queries = (p.longer * p.steps * max(way[i] for way in steps) for i in (0, 1))
        return Cost(
            once.gradients + trial.gradients + towards.gradients + gradients,
            once.queries + trial.queries + towards.queries + queries + each,
        )

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image by every way, then each by its best one."""
        ball_of(budget)
        search = _Search(self.params, detector, x, ids, budget, replace(context, search=None))
        return search.run()


_CLEARLY = 0.02
"""By what share of the plain ascent's gain another way has to be better, before more is spent on it."""

_NEAREST = 3
"""Classes, those with the largest scores of their own, that the second round aims at."""

_SMOOTH = (0.75, 0.5, 0.35, 0.25)
"""Into how many blocks a side is cut for an image's smooth parts, as a share of its pixels."""

_PASSES = 3
"""Queries of an ascent beside its steps: the clean image, the start, and the last iterate."""


class _Search:
    def __init__(
        self, params: AdaptiveParams, detector: Detector, x: Tensor, ids: Tensor, budget: Budget, context: Context
    ) -> None:
        self.params, self.detector, self.x, self.ids = params, detector, x, ids
        self.budget, self.context = budget, context
        self.norm, self.eps = ball_of(budget)
        self.count = len(self._ways(torch.arange(len(x), device=x.device)))  # of ways; one more goes by classes
        self.tracker = Tracker(x, iterations=2 * self.count + 4, context=context)
        self.iteration = 1
        self.flat = torch.zeros(len(x), dtype=torch.bool, device=x.device)  # nothing but zero gradients, by some way

    def run(self) -> AttackResult:
        """Both rounds."""
        oracle, tracker = Oracle(self.detector, ids=self.ids, context=self.context), self.tracker
        tracker.try_clean(*oracle.evaluate(self.x))
        clean = tracker.score.clone()
        everyone = torch.arange(len(self.x), device=self.x.device)
        starts = self._elsewhere(oracle)
        reached = clean.new_full((self.count + 1, len(self.x)), -torch.inf)
        for number in range(self.count):
            left = everyone[~tracker.past_target()]
            way = self._ways(left)[number]
            begin = starts[left] if way.from_elsewhere else self.x[left]
            reached[number, left] = self._climb(way, left, begin, self.params.steps)
            tracker.report((number + 1) / (2 * self.count))
        reached[self.count] = self._by_class(everyone[~tracker.past_target()], self.params.steps, self.params.classes)
        best = reached.argmax(dim=0)
        gain = reached.gather(0, best[None]).squeeze(0) - reached[0]
        needed = _CLEARLY * (reached[0] - clean).nan_to_num(0.0, 0.0, 0.0).abs()
        chosen = torch.where(gain > needed, best, 0)
        for number in range(1, self.count):
            rows = everyone[(chosen == number) & ~tracker.past_target()]
            way = self._ways(rows)[number]
            self._climb(way, rows, tracker.images[rows], self.params.longer * self.params.steps)
            tracker.report(0.5 + (number + 1) / (2 * self.count))
        rows = everyone[(chosen == self.count) & ~tracker.past_target()]
        self._by_class(rows, self.params.longer * self.params.steps, min(_NEAREST, self.params.classes))
        unmoved = self.flat & (tracker.score <= clean)
        tracker.flat.copy_(torch.where(unmoved, tracker.gradients, 0))
        tracker.report(1.0)
        return tracker.result(self.budget)

    def _ways(self, rows: Tensor) -> list[_Way]:
        """The plain one first where there is a gradient; those of these images, by the same numbers always."""
        p = self.params
        of = (self.detector, self.ids[rows], self.context.at(rows), self.norm, self.eps)
        if not self.detector.info.differentiable:
            alone = Differences(*of, pairs=p.pairs, guided=False)
            return [_Way(alone), _Way(alone, from_elsewhere=True), _Way(alone, bytes=True)]
        ways = [
            _Way(Plain(*of), first_step=2.0),
            _Way(Plain(*of), from_elsewhere=True, first_step=0.5),
            _Way(Straight(*of), first_step=2.0),
            _Way(Straight(*of), first_step=2.0, bytes=True),
            _Way(LowPass(*of), first_step=2.0),
            _Way(LowPass(*of), from_elsewhere=True, first_step=0.5),
            _Way(Smoothed(*of, draws=p.draws)),
            _Way(Differences(*of, pairs=p.pairs)),
            _Way(Undefended(*of), first_step=2.0),
            _Way(Undefended(*of, margin=True), first_step=2.0),
        ]
        return [*ways, _Way(FreshNoise(*of))] if self.context.draws else ways

    def _by_class(self, rows: Tensor, steps: int, classes: int) -> Tensor:
        """(N,) the best signed score that an ascent towards each class found, -inf where none was made."""
        self.iteration += 1
        reached = self.tracker.score.new_full((len(self.x),), -torch.inf)
        if len(rows) == 0 or self.context.draws or not self.detector.info.differentiable:
            return reached
        try:
            found = EachClass(EachClassParams(steps=steps, classes=classes)).attack(
                self.detector, self.x[rows], ids=self.ids[rows], budget=self.budget, context=self.context.at(rows)
            )
        except NotApplicableError:  # its score is of no single class
            return reached
        reached[rows] = self._noted(found, rows)
        return reached

    def _climb(self, way: _Way, rows: Tensor, start: Tensor, steps: int) -> Tensor:
        """(rows,) the best signed score that a way found; everything it found is noted."""
        self.iteration += 1
        if len(rows) == 0:
            return self.x.new_zeros(0)
        schedule = step_sizes(PGDParams(steps=steps, step_size=way.first_step))
        reach = geometry.reach(self.x[rows], self.norm, self.eps)
        sizes, momentum = tuple(reach * size for size in schedule), (0.75,)
        rule = (
            ByteSteps(self.norm, self.eps, sizes, momentum, self.x[rows])
            if way.bytes
            else ScheduledSteps(self.norm, self.eps, sizes, momentum)
        )
        context = replace(self.context.at(rows), earlier=start, onward=True)
        found = climb(
            self.detector,
            self.x[rows],
            ids=self.ids[rows],
            budget=self.budget,
            context=context,
            rule=rule,
            restarts=1,
            objective=way.surrogate,
        )
        gradients, queries = way.surrogate.gradients, way.surrogate.queries
        spent = found.gradients
        return self._noted(replace(found, gradients=spent * gradients, queries=found.queries + spent * queries), rows)

    def _noted(self, found: AttackResult, rows: Tensor) -> Tensor:
        """Keep what an attack on these images found; (rows,) its signed scores."""
        signed = (self.context.sign * found.score_trace[:, -1]).nan_to_num(nan=-torch.inf)
        tracker = self.tracker
        tracker.gradients[rows] += found.gradients
        tracker.queries[rows] += found.queries
        tracker.non_finite[rows] += torch.tensor([status is Status.NON_FINITE for status in found.status]).to(rows)
        self.flat[rows] |= torch.tensor([status is Status.NO_GRADIENT for status in found.status]).to(rows.device)
        tracker.offer(rows, signed, signed, found.images, found.last_images)
        tracker.record(self.iteration, rows, signed)
        return signed

    def _elsewhere(self, oracle: Oracle) -> Tensor:
        """(N, C, H, W) the best points by the score on the ways to the nearest ID images and to the smooth parts."""
        starts = self.x.clone()
        best = self.tracker.score.new_full((len(self.x),), -torch.inf)
        samples = torch.arange(len(self.x), device=self.x.device)
        for points in self._tried():
            score, objective = oracle.evaluate(points)
            self.tracker.try_images(1, samples, score, objective, points)
            score = score.nan_to_num(nan=-torch.inf)
            better = score > best
            geometry.choose(better, points, starts, out=starts)
            best = torch.where(better, score, best)
        return starts

    def _tried(self) -> Iterator[Tensor]:
        """(N, C, H, W) each: where a gate may be open that is closed at the image."""
        pool, p = self.context.pool, self.params
        for share in _SMOOTH:
            yield geometry.project(smooth_part(self.x, share), self.x, self.norm, self.eps)
        if pool is None or len(pool) == 0:
            return
        guides = nearest_guides(self.x, pool, self.norm, p.guides)
        for turn in range(guides.shape[1]):
            for step in range(p.points):
                share = (p.points - step) / p.points
                yield on_the_way(self.x, pool[guides[:, turn]], share, self.norm, self.eps)
