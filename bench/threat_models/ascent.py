"""Projected ascent of the detector's objective with restarts: the core of every gradient threat."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.aims import aims_of
from bench.threat_models.base import AttackResult, Budget, Context
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import Objective
from bench.threat_models.stepping import Found, Rows, ScheduledSteps, StepRule
from bench.threat_models.tracking import Tracker

_HELD_BYTES = 8 * 2**20
"""Rows are attacked together as long as one tensor of them stays within this size."""

_REPORTS = 50
"""How often, about, a chunk of rows reports its progress."""


def ascend(
    detector: Detector,
    x: Tensor,
    *,
    ids: Tensor,
    budget: Budget,
    context: Context,
    sizes: tuple[float, ...],
    momentum: tuple[float, ...] = (0.0,),
    restarts: int = 1,
) -> AttackResult:
    """Steepest ascent, with or without momentum, by steps of lengths that are set beforehand; see `climb`.

    Args:
        detector: Frozen, in evaluation mode.
        x: (N, C, H, W) float32 images in [0, 1].
        ids: (N,) int64 sample ids.
        budget: Norm and radius, both given.
        context: Side, seed, stop target, batch shape.
        sizes: Length of every step in the budget's norm, in pixel units: of a step that goes on in the direction of
            those before it; the running mean makes it shorter where they disagree, and the first ones.
        momentum: Share of the earlier steps' direction in the next one, in [0, 1), for each restart in turn: a step
            goes along the running mean of the unit directions of ascent, which cancels where they turn back and forth.
        restarts: Number of starts, the clean image among them.

    Raises:
        UsageError: The budget has no norm or no radius.
    """
    rule = ScheduledSteps(*ball_of(budget), sizes, momentum)
    return climb(detector, x, ids=ids, budget=budget, context=context, rule=rule, restarts=restarts)


def climb(
    detector: Detector,
    x: Tensor,
    *,
    ids: Tensor,
    budget: Budget,
    context: Context,
    rule: StepRule,
    restarts: int,
    objective: Objective | None = None,
    by_class: bool = False,
) -> AttackResult:
    """Attack every image from one or more starts; the score chooses, the objective directs, the rule steps.

    Restart 0 starts at the clean image, since noise of the whole radius leads some detectors' scores so far down that
    no budget makes up for it; the others start uniformly in the volume of the ball. Restart 0 of all samples runs
    first; then the other restarts of those samples that it did not bring beyond the stop target, all at once: a
    sample's restarts go in step, and stop together as soon as one of them is beyond the target. A stop target therefore
    cuts trajectories short but never changes them, and no sample's result depends on which others are present.

    A point that is known earlier counts before anything else, and where `onward` asks for it, restart 0 starts there.

    Where the score is that of the predicted class, the restarts but the first aim at the other classes, one each; see
    `bench.threat_models.aims`. The score chooses among what they find as always.

    A point whose score or gradient is not finite is counted and never kept. A restart that its rule calls stuck ends
    there.

    Nothing waits for the device between two steps. Rows that are done stay in their batch, where nothing is kept or
    counted of them any more; now and then it is asked how many are left, and rows are brought together where that
    saves a whole batch.

    Args:
        detector: Frozen, in evaluation mode.
        x: (N, C, H, W) float32 images in [0, 1].
        ids: (N,) int64 sample ids.
        budget: Norm and radius, both given.
        context: Side, seed, stop target, batch shape.
        rule: How each restart gets from one iterate to the next, and in how many steps.
        restarts: Number of starts, the clean image among them; 1 where an objective is given.
        objective: What is evaluated and followed in place of what the side is after.
        by_class: Restarts aim at classes also where the score has a part for each and asks for no prediction.

    Returns:
        Gradients: one a step and restart; queries: one for the clean image, one for the point that is known earlier and
        one for its aims where there are any, one a restart for its last iterate.

    Raises:
        UsageError: The budget has no norm or no radius.
    """
    norm, eps = ball_of(budget, (rule.norm,))
    tracker = Tracker(x, iterations=rule.steps + 1, context=context)
    oracle = Oracle(detector, ids=ids, context=context, objective=objective)
    aims = aims_of(detector, x, ids=ids, context=context, restarts=restarts, smooth=by_class)
    search = _Search(oracle, oracle.on_copy(ids=ids, context=context), tracker, x, ids, norm, eps, context, rule)
    everyone = torch.arange(len(x), device=x.device)
    tracker.try_clean(*oracle.evaluate(x))
    if context.earlier is not None:
        tracker.try_images(0, everyone, *oracle.evaluate(context.earlier), context.earlier)
    search.wave(everyone[~tracker.past_target()], range(1), later=restarts - 1)
    if aims is not None:
        tracker.queries += 1
        starts = everyone.repeat(restarts - 1)
        aimed = replace(context.at(starts), classes=aims[:, 1:].T.reshape(-1))  # the first has none
        search.oracle, search.aimed = Oracle(detector, ids=ids[starts], context=aimed), True
        search.copy = search.oracle.on_copy(ids=ids[starts], context=aimed)
    if restarts > 1:
        search.wave(everyone[~tracker.past_target()], range(1, restarts), later=0)
    tracker.report(1.0)
    return tracker.result(budget)


def ball_of(budget: Budget, norms: tuple[Norm, ...] = (Norm.L2, Norm.LINF)) -> tuple[Norm, float]:
    """Norm and radius of a budget that needs both.

    Args:
        budget: Of the attack.
        norms: In which the threat works; `tuple(Norm)` for all of them.

    Raises:
        UsageError: One of them is missing, or the norm is another one.
    """
    if budget.norm is None or budget.eps is None:
        raise UsageError("this threat needs a norm and an eps; give one, for example `--eps l2:1`.")
    if budget.norm not in norms:
        raise UsageError(
            f"this threat works in {' or '.join(norms)}, and its card says {budget.norm}; choose apgd-l1 or sigma-zero "
            "for l1 or l0, or another norm."
        )
    return budget.norm, budget.eps


@dataclass
class _Search:
    oracle: Oracle
    copy: Oracle | None
    tracker: Tracker
    x: Tensor
    ids: Tensor
    norm: Norm
    eps: float
    context: Context
    rule: StepRule
    aimed: bool = False  # the oracle is asked of starts: those of restart r are (r - 1) N + sample
    spent: int = 0  # rows times steps, to tell how far the attack is

    def wave(self, samples: Tensor, restarts: range, *, later: int) -> None:
        """Run these restarts of these samples, as many rows at once as memory allows."""
        rows_held = max(self.context.micro_batch, _HELD_BYTES // (4 * max(1, self.x[0].numel() if len(self.x) else 1)))
        per_chunk = max(1, rows_held // len(restarts))
        for start in range(0, len(samples), per_chunk):
            chunk = samples[start : start + per_chunk]
            waiting = (len(samples) - start - len(chunk)) * (len(restarts) + later)
            self._climb(self._start(chunk, restarts), waiting=waiting, later=later)

    def _start(self, samples: Tensor, restarts: range) -> Rows:
        micro_batch, rows = self.oracle.micro_batch, len(samples) * len(restarts)
        missing = -rows % micro_batch
        sample = self.oracle.fill(samples.repeat(len(restarts)), missing)
        restart = torch.arange(restarts.start, restarts.stop, device=samples.device).repeat_interleave(len(samples))
        restart = self.oracle.fill(restart, missing)
        clean = self.x[sample]
        best, start = clean.clone(), clean.clone()
        if restarts.start == 0 and self.context.onward and self.context.earlier is not None:
            begins = restart == 0
            start[begins] = self.context.earlier[sample[begins]]
        for batch in self.oracle.batches(len(samples)):
            padded = self.oracle.pad(samples[batch])
            for turn, draw in enumerate(restarts):
                if draw == 0:
                    continue
                drawn = geometry.uniform_in_ball(
                    self.x[padded], self.norm, self.eps, ids=self.ids[padded], draw=draw, context=self.context
                )
                first = turn * len(samples)
                start[first + batch.start : first + batch.stop] = drawn[: batch.stop - batch.start]
        none = self.tracker.score.new_full((len(sample),), -torch.inf)
        real = torch.arange(len(sample), device=sample.device) < rows
        count = torch.zeros_like(sample)
        asked = sample + len(self.x) * (restart - 1) if self.aimed else sample
        return Rows(
            sample=sample,
            asked=asked,
            real=real,
            ball_bounds=geometry.ball_bounds(clean, self.norm, self.eps),
            y=start,
            best=best,
            score=none,
            objective=none.clone(),
            stuck=~real,
            live=real.clone(),
            gradients=count,
            non_finite=count.clone(),
            flat=count.clone(),
            memory=self.rule.memory(start, restart),
        )

    def _climb(self, rows: Rows, *, waiting: int, later: int) -> None:
        """All steps of these rows in step with each other; rows that are done leave as soon as that saves a batch."""
        tracker, last, left, open_ = self.tracker, self.rule.steps, len(rows), len(self.x)
        stoppable = self.context.stop_target is not None
        every, asked = max(1, last // _REPORTS), _iterations_to_check(last, often=stoppable)
        begin = 0
        if self.copy is not None and last > 1:
            begin = last // 2
            self._search_on_copy(rows, begin, self.copy)
            left = int(rows.live.sum())
            if left <= len(rows) - self.oracle.micro_batch:
                rows = self._compact(rows, left)
            if left == 0:
                return
        batches = [rows.choose(batch) for batch in self.oracle.batches(len(rows))]
        for iteration in range(begin, last + 1):
            for batch in batches:
                self._advance(batch, iteration, self.oracle)
            self.spent += left
            tracker.record(iteration, rows.sample, rows.score)
            over = rows.stuck | tracker.past_target()[rows.sample] if stoppable else rows.stuck
            torch.logical_not(over, out=rows.live)
            if iteration in asked:
                left, open_ = torch.stack([rows.live.sum(), (~tracker.past_target()).sum()]).tolist()
                if left <= len(rows) - self.oracle.micro_batch:
                    rows = self._compact(rows, left)
                    batches = [rows.choose(batch) for batch in self.oracle.batches(len(rows))]
            if iteration % every == 0:
                ahead = left * (last - iteration) + (waiting + later * open_) * (last + 1)
                tracker.report(self.spent / max(1, self.spent + ahead))
            if left == 0:
                return
        self._finish(rows, rows.real, ended=rows.live)

    def _search_on_copy(self, rows: Rows, steps: int, copy: Oracle) -> None:
        """The first steps of these rows, on the copy; then the detector itself scores what they found.

        The copy's scores compare iterates with each other alone. Rows that it sees beyond the target, or stuck, wait
        and go on where the detector sees them elsewhere. They leave after set steps, whatever that saves: what a row
        goes on with must not depend on the others.
        """
        tracker, target, asked = self.tracker, self.context.stop_target, _iterations_to_check(steps, often=True)
        bound = math.inf if target is None else self.context.sign * target
        places, under_way = torch.arange(len(rows), device=rows.sample.device), rows
        batches = [rows.choose(batch) for batch in copy.batches(len(rows))]
        for iteration in range(steps):
            for batch in batches:
                self._advance(batch, iteration, copy)
            self.spent += len(places)
            if iteration not in asked:
                continue
            going = under_way.live & ~under_way.stuck & (under_way.score <= bound)
            if (left := int(going.sum())) == int(under_way.live.sum()):
                continue
            rows.put(places, under_way)
            chosen = going.nonzero().flatten()
            places = places[chosen]
            if left == 0:
                break
            under_way = under_way.choose(copy.fill(chosen, -left % copy.micro_batch))
            under_way.live = torch.arange(len(under_way), device=places.device) < left
            batches = [under_way.choose(batch) for batch in copy.batches(len(under_way))]
        rows.put(places, under_way)
        for batch in [rows.choose(batch) for batch in self.oracle.batches(len(rows))]:
            self._rescore(batch)
        tracker.queries.index_add_(0, rows.sample, rows.real.long())
        tracker.record(steps, rows.sample, rows.score)
        torch.logical_and(rows.real, ~tracker.past_target()[rows.sample], out=rows.live)
        torch.logical_not(rows.real, out=rows.stuck)

    def _rescore(self, rows: Rows) -> None:
        """The best iterates of one micro-batch as the detector itself scores them."""
        score, objective = self.oracle.ask(rows.best, rows.asked)
        # Where the copy knew of no score there is no best iterate yet, and the next one is it.
        finite = (score.abs() < math.inf) & (objective.abs() < math.inf) & (rows.score > -math.inf) & rows.real
        rows.score.copy_(torch.where(finite, score, -math.inf))
        rows.objective.copy_(torch.where(finite, objective, -math.inf))

    def _advance(self, rows: Rows, iteration: int, oracle: Oracle) -> None:
        """Judge the iterates of one micro-batch and, unless they are the last ones, take the next step."""
        if iteration == self.rule.steps:
            score, objective = oracle.ask(rows.y, rows.asked)
            _, finite = self._keep_best(rows, score, objective)
            self.tracker.queries.index_add_(0, rows.sample, rows.live.long())
            rows.non_finite += rows.live & ~finite
            return
        score, objective, gradient = oracle.ascend(rows.y, rows.asked)
        better, finite = self._keep_best(rows, score, objective)
        slope = geometry.dual_norm(gradient, self.norm)
        non_finite, flat = ~(finite & (slope < math.inf)), slope == 0
        rows.gradients += rows.live
        rows.non_finite += rows.live & non_finite
        rows.flat += rows.live & flat
        slope = slope.masked_fill(non_finite, math.inf)
        self.rule.move(rows, Found(iteration, gradient, slope, objective, better, non_finite, flat))

    def _keep_best(self, rows: Rows, score: Tensor, objective: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) which rows are at their best iterate so far, and which have a finite score and objective."""
        finite = score.abs() < math.inf
        better = score > rows.score
        if objective is not score:
            finite &= objective.abs() < math.inf
            better |= (score == rows.score) & (objective > rows.objective)
        better &= finite
        better &= rows.live
        geometry.choose(better, rows.y, rows.best, out=rows.best)
        torch.where(better, score, rows.score, out=rows.score)
        torch.where(better, objective, rows.objective, out=rows.objective)
        return better, finite

    def _compact(self, rows: Rows, left: int) -> Rows:
        """The rows that are under way, in fewer batches; the others are handed over."""
        self._finish(rows, rows.real & ~rows.live, ended=rows.live)
        missing = -left % self.oracle.micro_batch
        order = self.oracle.fill(rows.live.nonzero().flatten(), missing) if left else rows.sample[:0]
        rows = rows.choose(order)
        copies = torch.arange(len(rows), device=order.device) >= left
        rows.real, rows.live = ~copies, ~copies
        rows.stuck = rows.stuck | copies
        return rows

    def _finish(self, rows: Rows, which: Tensor, *, ended: Tensor) -> None:
        """Hand over what some rows found; a row that did not end where it stands (stopped, stuck) ended at its best."""
        tracker, chosen = self.tracker, which.nonzero().flatten()
        rows, ended = rows.choose(chosen), ended[chosen]
        tracker.gradients.index_add_(0, rows.sample, rows.gradients)
        tracker.non_finite.index_add_(0, rows.sample, rows.non_finite)
        tracker.flat.index_add_(0, rows.sample, rows.flat)
        ends = geometry.choose(ended, rows.y, rows.best, out=rows.y)
        tracker.offer_rows(rows.sample, rows.score, rows.objective, rows.best, ends)


def _iterations_to_check(last: int, *, often: bool) -> set[int]:
    """After which steps it is asked how many rows are left: ever more seldom, since those that go early go first."""
    share, found = 3 if often else 1, [0]
    while found[-1] < last:
        found.append(found[-1] + max(1, found[-1] // share))
    return set(found[:-1])
