"""Projected ascent of the detector's objective with restarts: the core of every gradient threat."""

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
from bench.threat_models.stepping import Rows, ScheduledSteps, StepRule, Stop
from bench.threat_models.tracking import Tracker

_HELD_BYTES = 64 * 2**20
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
    detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context, rule: StepRule, restarts: int
) -> AttackResult:
    """Attack every image from one or more starts; the score chooses, the objective directs, the rule steps.

    Restart 0 starts at the clean image, since noise of the whole radius leads some detectors' scores so far down that
    no budget makes up for it; the others start uniformly in the volume of the ball. Restart 0 of all samples runs
    first; then the other restarts of those samples that it did not bring beyond the stop target, all at once: a
    sample's restarts go in step, and stop together as soon as one of them is beyond the target. A stop target therefore
    cuts trajectories short but never changes them, and no sample's result depends on which others are present.

    Where the score is that of the predicted class, the restarts but the first aim at the other classes, one each; see
    `bench.threat_models.aims`. The score chooses among what they find as always.

    A point whose score or gradient is not finite is counted and never kept. A restart that its rule calls stuck ends
    there.

    Args:
        detector: Frozen, in evaluation mode.
        x: (N, C, H, W) float32 images in [0, 1].
        ids: (N,) int64 sample ids.
        budget: Norm and radius, both given.
        context: Side, seed, stop target, batch shape.
        rule: How each restart gets from one iterate to the next, and in how many steps.
        restarts: Number of starts, the clean image among them.

    Returns:
        Gradients: one a step and restart; queries: one for the clean image, one for its aims where there are any, one
        a restart for its last iterate.

    Raises:
        UsageError: The budget has no norm or no radius.
    """
    norm, eps = ball_of(budget)
    tracker = Tracker(x, moments=rule.steps + 1, context=context)
    oracle = Oracle(detector, ids=ids, context=context)
    aims = aims_of(detector, x, ids=ids, context=context, restarts=restarts)
    if aims is not None:
        tracker.queries += 1
        starts = torch.arange(len(x), device=x.device).repeat(restarts)
        aimed = replace(context.at(starts), classes=aims.T.reshape(-1))
        oracle = Oracle(detector, ids=ids[starts], context=aimed)
    search = _Search(oracle, tracker, x, ids, norm, eps, context, rule, aimed=aims is not None)
    everyone = torch.arange(len(x), device=x.device)
    tracker.try_clean(*oracle.judge(x))
    search.wave(everyone[~tracker.beyond()], range(1), later=restarts - 1)
    if restarts > 1:
        search.wave(everyone[~tracker.beyond()], range(1, restarts), later=0)
    tracker.report(1.0)
    return tracker.result(budget)


def ball_of(budget: Budget) -> tuple[Norm, float]:
    """Norm and radius of a budget that needs both.

    Raises:
        UsageError: One of them is missing.
    """
    if budget.norm is None or budget.eps is None:
        raise UsageError("this threat needs a norm and an eps; give one, for example `--eps l2:1`.")
    return budget.norm, budget.eps


@dataclass
class _Search:
    oracle: Oracle
    tracker: Tracker
    x: Tensor
    ids: Tensor
    norm: Norm
    eps: float
    context: Context
    rule: StepRule
    aimed: bool  # the oracle is asked of starts: those of restart r are r N + sample
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
        sample = samples.repeat(len(restarts))
        restart = torch.tensor(restarts, device=samples.device).repeat_interleave(len(samples))
        best = self.x[sample]
        start = best.clone()
        for batch in self.oracle.batches(len(samples)):
            padded = self.oracle.pad(samples[batch])
            for turn, draw in enumerate(restarts):
                if draw == 0:
                    continue
                drawn = geometry.uniform_in_ball(
                    self.x[padded], self.norm, self.eps, ids=self.ids[padded], draw=draw, context=self.context
                )  # fmt: skip
                first = turn * len(samples)
                start[first + batch.start : first + batch.stop] = drawn[: batch.stop - batch.start]
        none = self.tracker.score.new_full((len(sample),), -torch.inf)
        stuck = torch.zeros_like(sample, dtype=torch.bool)
        return Rows(sample, restart, start, best, none, none.clone(), stuck, self.rule.memory(start))

    def _climb(self, rows: Rows, *, waiting: int, later: int) -> None:
        """All steps of these rows in step with each other; rows that are done leave, the rest closes ranks."""
        tracker, last = self.tracker, self.rule.steps
        every = max(1, last // _REPORTS)
        for moment in range(last + 1):
            for batch in self.oracle.batches(len(rows)):
                self._advance(rows, batch, moment)
            self.spent += len(rows)
            tracker.saw(moment, rows.sample, rows.score)
            beyond = tracker.beyond()
            done = rows.stuck | beyond[rows.sample] if moment < last else torch.ones_like(rows.stuck)
            if bool(done.any()):
                self._retire(rows.choose(done), stopped=beyond)
                rows = rows.choose(~done)
            if moment % every == 0:
                ahead = len(rows) * (last - moment) + (waiting + later * int((~beyond).sum())) * (last + 1)
                tracker.report(self.spent / max(1, self.spent + ahead))
            if len(rows) == 0:
                break

    def _advance(self, rows: Rows, batch: slice, moment: int) -> None:
        """Judge the iterates of one micro-batch and, unless they are the last ones, take the next step."""
        count, samples = batch.stop - batch.start, rows.sample[batch]
        y, whose = self.oracle.pad(rows.y[batch]), self.oracle.pad(samples)
        asked = whose + len(self.x) * self.oracle.pad(rows.restart[batch]) if self.aimed else whose
        moves = moment < self.rule.steps
        if moves:
            score, objective, gradient = self.oracle.ascend(y, asked)
        else:
            score, objective = self.oracle.ask(y, asked)
        score, objective = score[:count], objective[:count]
        finite = torch.isfinite(score) & torch.isfinite(objective)
        better = self._keep_best(rows, batch, score, objective, finite)
        if not moves:
            self._count(samples, queries=True, non_finite=~finite)
            return
        slope = geometry.magnitude(gradient)[:count]
        lost, flat = ~(finite & torch.isfinite(slope)), slope == 0
        self._count(samples, non_finite=lost, flat=flat)
        rows.y[batch] = self.rule.move(
            rows, Stop(moment, batch, y, self.x[whose], gradient, objective, better, lost, flat, self.oracle.pad)
        )

    def _keep_best(self, rows: Rows, batch: slice, score: Tensor, objective: Tensor, finite: Tensor) -> Tensor:
        """(M,) which rows of the batch are at their best iterate so far."""
        old, tie_break = rows.score[batch], rows.objective[batch]
        better = finite & ((score > old) | ((score == old) & (objective > tie_break)))
        if bool(better.all()):
            rows.best[batch] = rows.y[batch]
        else:
            rows.best[batch][better] = rows.y[batch][better]
        rows.score[batch] = torch.where(better, score, old)
        rows.objective[batch] = torch.where(better, objective, tie_break)
        return better

    def _count(self, samples: Tensor, *, non_finite: Tensor, flat: Tensor | None = None, queries: bool = False) -> None:
        tracker, ones = self.tracker, torch.ones_like(samples)
        (tracker.queries if queries else tracker.gradients).index_add_(0, samples, ones)
        if bool(non_finite.any()):
            tracker.non_finite.index_add_(0, samples, non_finite.long())
        if flat is not None and bool(flat.any()):
            tracker.flat.index_add_(0, samples, flat.long())

    def _retire(self, rows: Rows, *, stopped: Tensor) -> None:
        """Hand over what these rows found, restart by restart, so that samples are distinct in every offer."""
        # A restart that passed the target has already taken its next step; where it stopped is its best iterate.
        gone = stopped[rows.sample].view(-1, *(1,) * (rows.y.ndim - 1))
        ends = torch.where(gone, rows.best, rows.y)
        for restart in sorted(set(rows.restart.tolist())):
            turn = rows.restart == restart
            self.tracker.offer(
                rows.sample[turn], rows.score[turn], rows.objective[turn], rows.best[turn], ends[turn]
            )  # fmt: skip
