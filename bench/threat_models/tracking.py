"""What an attack has found so far, sample by sample."""

from bisect import bisect_left

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models import geometry
from bench.threat_models.base import TRACE_LENGTH, AttackResult, Budget, Context, Status


class Tracker:
    """Best image, score trace, costs and troubles of every sample; scores are signed, higher = better for the attack.

    Args:
        x: (N, C, H, W) clean images, the answer for a sample until something better is offered.
        iterations: How many iterations (steps, rounds) the attack has; the trace holds at most TRACE_LENGTH of them.
        context: Side and stop target.
    """

    def __init__(self, x: Tensor, *, iterations: int, context: Context) -> None:
        count = len(x)
        self.clean = x
        self.context = context
        self.images, self.last_images = x.clone(), x.clone()
        self.score = x.new_full((count,), -torch.inf, dtype=context.held(x))  # of `images`
        self.objective = self.score.clone()
        self.live = self.score.clone()  # best score so far, also of rows that are still under way
        self.gradients = torch.zeros(count, dtype=torch.int64, device=x.device)
        self.queries = torch.zeros_like(self.gradients)
        self.non_finite = torch.zeros_like(self.gradients)  # points whose score or gradient was not finite
        self.flat = torch.zeros_like(self.gradients)  # points whose gradient was zero
        self._points = torch.linspace(0, iterations - 1, min(TRACE_LENGTH, iterations)).round().long().tolist()
        self._trace = self.score.new_full((count, len(self._points)), -torch.inf)

    def past_target(self) -> Tensor:
        """(N,) whether a sample needs no further step."""
        if self.context.stop_target is None:
            return torch.zeros_like(self.score, dtype=torch.bool)
        return self.live > self.context.sign * self.context.stop_target

    def record(self, iteration: int, samples: Tensor, score: Tensor) -> None:
        """Note the best scores (rows,) that these samples (rows,), each once or often, have reached at an iteration."""
        self.live.scatter_reduce_(0, samples, score, "amax")
        column = bisect_left(self._points, iteration)  # the first point of the trace that is not earlier
        self._trace[:, column].scatter_reduce_(0, samples, score, "amax")

    def offer(self, samples: Tensor, score: Tensor, objective: Tensor, images: Tensor, last: Tensor) -> None:
        """Keep what is strictly better: by score, then by objective; `samples` are distinct."""
        old, tie_break = self.score[samples], self.objective[samples]
        better = (score > old) | ((score == old) & (objective > tie_break))
        rows = better.nonzero().flatten()
        self._keep(samples[rows], score[rows], objective[rows], images[rows], last[rows])

    def offer_rows(self, samples: Tensor, score: Tensor, objective: Tensor, images: Tensor, last: Tensor) -> None:
        """The same where a sample may have several rows: as if they were offered one after the other."""
        rows, count = torch.arange(len(samples), device=samples.device), len(samples)
        none = self.score.new_full(self.score.shape, -torch.inf)
        top = none.scatter_reduce(0, samples, score, "amax")
        first = score == top[samples]
        tie_break = none.scatter_reduce(0, samples, torch.where(first, objective, -torch.inf), "amax")
        first &= objective == tie_break[samples]
        row = torch.full_like(self.gradients, count).scatter_reduce_(0, samples, rows.where(first, count), "amin")
        better = (top > self.score) | ((top == self.score) & (tie_break > self.objective))
        chosen = (better & (row < count)).nonzero().flatten()
        taken = row[chosen]
        self._keep(chosen, score[taken], objective[taken], images[taken], last[taken])

    def _keep(self, samples: Tensor, score: Tensor, objective: Tensor, images: Tensor, last: Tensor) -> None:
        self.score[samples], self.objective[samples] = score, objective
        self.images[samples], self.last_images[samples] = images, last

    def try_images(self, iteration: int, samples: Tensor, score: Tensor, objective: Tensor, images: Tensor) -> None:
        """One query for each of these distinct samples: count it, skip what is not finite, keep what is better."""
        finite = torch.isfinite(score) & torch.isfinite(objective)
        signed = torch.where(finite, score, -torch.inf)
        self.queries[samples] += 1
        self.non_finite[samples] += (~finite).long()
        self.offer(samples, signed, torch.where(finite, objective, -torch.inf), images, images)
        self.record(iteration, samples, signed)

    def try_clean(self, score: Tensor, objective: Tensor) -> None:
        """One query for the clean image of every sample, before anything else."""
        self.try_images(0, torch.arange(len(self.clean), device=self.clean.device), score, objective, self.clean)

    def report(self, share: float) -> None:
        """Tell the harness how far the attack is."""
        self.context.progress(min(share, 1.0), self.context.sign * self.live)

    def result(self, budget: Budget) -> AttackResult:
        """Everything found, in the detector's sign; a score that was never finite is NaN in the trace."""
        trace = self._trace.cummax(dim=1).values
        trace = torch.where(torch.isfinite(trace), self.context.sign * trace, torch.nan)
        norm = geometry.distance(self.images, self.clean, budget.norm or Norm.L2)
        return AttackResult(
            images=self.images,
            last_images=self.last_images,
            score_trace=trace,
            gradients=self.gradients,
            queries=self.queries,
            norm=norm,
            status=self._statuses(),
        )

    def _statuses(self) -> list[Status]:
        flat = (self.gradients > 0) & (self.flat == self.gradients)
        kind = torch.zeros_like(self.gradients)
        later_ones_win = (
            (flat, Status.NO_GRADIENT),
            (self.non_finite > 0, Status.NON_FINITE),
            (~torch.isfinite(self.score), Status.FAILED),
            (self.past_target(), Status.STOPPED),
        )
        for number, (mask, _) in enumerate(later_ones_win, start=1):
            kind = torch.where(mask, number, kind)
        names = [Status.COMPLETED, *(status for _, status in later_ones_win)]
        return [names[number] for number in kind.tolist()]
