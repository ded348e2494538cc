"""The descent of feature matching: from one start after the other towards the features of a guide."""

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker

_HELD_BYTES = 64 * 2**20
"""Images are led together as long as one tensor of them, or of their guides' features, stays within this size."""

_REPORTS = 50
"""How often, about, one start reports its progress."""

_BETA_1, _BETA_2, _TINY = 0.9, 0.999, 1e-8  # Adamax's own defaults


class Update(StrEnum):
    """How a gradient becomes a step."""

    ADAMAX = "adamax"
    PLAIN = "plain"


@dataclass(frozen=True)
class Plan:
    """How every image is led.

    Attributes:
        at: The features that are matched, as `Detector.features` names them.
        norm: Of ball and steps.
        eps: Radius.
        sizes: Length of every step, in pixel units.
        restarts: Starts for each guide.
        update: How a gradient becomes a step.
        noise: Radius of the ball of the initial noise, in units of eps.
    """

    at: str
    norm: Norm
    eps: float
    sizes: tuple[float, ...]
    restarts: int
    update: Update
    noise: float


class Matching:
    """One run over a batch: every guide and start of all images in turn, as long as an image is not beyond the target.

    Args:
        detector: Frozen, in evaluation mode.
        x: (N, C, H, W) images.
        ids: (N,) sample ids.
        pool: (M, C, H, W) ID images.
        guides: (N, G) int64, the rows of the pool that lead each image.
        plan: How.
        context: Side, seed, stop target, batch shape.
    """

    def __init__(
        self, detector: Detector, x: Tensor, *, ids: Tensor, pool: Tensor, guides: Tensor, plan: Plan, context: Context
    ) -> None:
        self.detector, self.x, self.ids, self.pool, self.guides = detector, x, ids, pool, guides
        self.plan, self.context = plan, context
        self.turns = guides.shape[1] * plan.restarts
        self.oracle = Oracle(detector, ids=ids, context=context)
        self.tracker = Tracker(x, iterations=self.turns * (len(plan.sizes) + 1) + 1, context=context)
        self.mape = x.new_full((len(x),), torch.nan)  # of the closest match so far
        # Where features, criterion and direction are the same number, one look tells all three.
        self.score_is_feature = (
            plan.at == "score" and context.draws == 0 and type(detector).objective is Detector.objective
        )

    def run(self, budget: Budget) -> AttackResult:
        """Lead every image; the figure `mape` comes with the result."""
        self.tracker.try_clean(*self.oracle.evaluate(self.x))
        for turn in range(self.turns):
            left = (~self.tracker.past_target()).nonzero().flatten()
            if len(left) == 0:
                break
            width = self._features(self.oracle.pad(self.pool[:1])).shape[1]
            held = _HELD_BYTES // (4 * max(width, self.x[0].numel()))
            per_chunk = max(self.context.micro_batch, held)
            for start in range(0, len(left), per_chunk):
                share = (turn + start / len(left)) / self.turns, min(per_chunk / len(left), 1.0) / self.turns
                self._descend(self._start(left[start : start + per_chunk], turn), turn, share)
        self.tracker.report(1.0)
        return replace(self.tracker.result(budget), figures={"mape": self.mape})

    def _start(self, samples: Tensor, turn: int) -> "_Rows":
        """Starting points, and what is to be matched; a guide whose features are not finite leads nobody."""
        plan, guides = self.plan, self.guides[samples, turn // self.plan.restarts]
        starts, targets = [], []
        for batch in self.oracle.batches(len(samples)):
            whose, count = self.oracle.pad(samples[batch]), batch.stop - batch.start
            targets.append(self._features(self.oracle.pad(self.pool[guides[batch]]))[:count])
            start = self.x[whose]
            if plan.noise > 0:
                start = geometry.uniform_in_ball(
                    start, plan.norm, plan.eps * plan.noise, ids=self.ids[whose], draw=turn, context=self.context
                )
            starts.append(start[:count])
        y, target = torch.cat(starts), torch.cat(targets)
        sound = torch.isfinite(target).all(dim=1)
        self.tracker.non_finite[samples] += (~sound).long()
        zeros, none = torch.zeros_like(y), y.new_full((len(y),), torch.inf)
        rows = _Rows(
            sample=samples,
            y=y,
            target=target,
            mean=zeros,
            largest=zeros.clone(),
            closest=self.x[samples],
            loss=none,
            mape=torch.full_like(none, torch.nan),
            gave=torch.zeros_like(sound),
            stuck=torch.zeros_like(sound),
        )
        return rows.choose(sound)

    @torch.no_grad()
    def _features(self, x: Tensor) -> Tensor:
        return self.detector.features(x, self.plan.at)

    def _descend(self, rows: "_Rows", turn: int, share: tuple[float, float]) -> None:
        """All steps of one start; `share` is where it begins in the whole attack, and the part of it that it is."""
        last, tracker = len(self.plan.sizes), self.tracker
        every = max(1, last // _REPORTS)
        for step in range(last + 1):
            if len(rows) == 0:
                break
            for batch in self.oracle.batches(len(rows)):
                self._advance(rows, batch, turn, step)
            done = rows.stuck | tracker.past_target()[rows.sample] if step < last else torch.ones_like(rows.stuck)
            if bool(done.any()):
                self._finish(rows.choose(done))
                rows = rows.choose(~done)
            if step % every == 0:
                tracker.report(share[0] + share[1] * step / (last + 1))

    def _advance(self, rows: "_Rows", batch: slice, turn: int, step: int) -> None:
        """Judge the iterates of one micro-batch and, unless they are the last ones, take the next step."""
        count, samples, tracker = batch.stop - batch.start, rows.sample[batch], self.tracker
        y, whose, target = (self.oracle.pad(part[batch]) for part in (rows.y, rows.sample, rows.target))
        moves = step < len(self.plan.sizes)
        features, gradient = self._look(y, target, moves=moves)
        if self.score_is_feature:
            criterion = direction = self.context.sign * features[:, 0]
        else:
            criterion, direction = self.oracle.ask(y, whose)
        loss = (features - target).square().sum(dim=1)[:count]
        criterion, direction = criterion[:count], direction[:count]
        seen = torch.isfinite(criterion) & torch.isfinite(direction)
        self._offer(rows, batch, turn * (len(self.plan.sizes) + 1) + step + 1, seen, criterion, direction)
        self._keep_closest(rows, batch, loss, features[:count])
        tracker.gradients[samples] += int(moves)
        tracker.queries[samples] += int(not (moves and self.score_is_feature))
        non_finite = ~(torch.isfinite(loss) & torch.isfinite(geometry.magnitude(gradient)[:count]))
        tracker.non_finite[samples] += (non_finite | ~seen).long()
        if moves:
            flat = (geometry.magnitude(gradient)[:count] == 0) & ~non_finite
            rows.stuck[batch] = flat
            tracker.flat[samples] += flat.long()
            self._step(rows, batch, self._found_again(rows, batch, y, gradient, non_finite), gradient, step)

    def _look(self, y: Tensor, target: Tensor, *, moves: bool) -> tuple[Tensor, Tensor]:
        """Features of a full batch, and the gradient of J at it (zeros where it is not needed)."""
        if not moves:
            return self._features(y), torch.zeros_like(y)
        gradient = None
        with torch.enable_grad():
            leaf = y.detach().requires_grad_(True)
            features = self.detector.features(leaf, self.plan.at)
            loss = (features - target).square().sum(dim=1)
            if loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss), allow_unused=True)
        return features.detach(), torch.zeros_like(y) if gradient is None else gradient

    def _offer(
        self, rows: "_Rows", batch: slice, iteration: int, seen: Tensor, criterion: Tensor, direction: Tensor
    ) -> None:
        """Let the criterion choose among the iterates, and remember whose image this start has given."""
        tracker, samples, y = self.tracker, rows.sample[batch], rows.y[batch]
        before = tracker.score[samples], tracker.objective[samples]
        score = torch.where(seen, criterion, -torch.inf)
        tracker.offer(samples, score, torch.where(seen, direction, -torch.inf), y, y)
        tracker.record(iteration, samples, score)
        rows.gave[batch] |= (tracker.score[samples] != before[0]) | (tracker.objective[samples] != before[1])

    def _keep_closest(self, rows: "_Rows", batch: slice, loss: Tensor, features: Tensor) -> None:
        closer = loss < rows.loss[batch]  # false for NaN
        target = rows.target[batch]
        rows.closest[batch][closer] = rows.y[batch][closer]
        rows.loss[batch] = torch.where(closer, loss, rows.loss[batch])
        rows.mape[batch] = torch.where(closer, relative_error(features, target), rows.mape[batch])

    def _found_again(self, rows: "_Rows", batch: slice, y: Tensor, gradient: Tensor, non_finite: Tensor) -> Tensor:
        """Put iterates that are not finite back to their closest match, and forget how they came there."""
        if not bool(non_finite.any()):
            return y
        y, count = y.clone(), len(non_finite)
        y[:count][non_finite] = rows.closest[batch][non_finite]
        gradient[:count][non_finite] = 0.0
        rows.mean[batch][non_finite] = 0.0
        rows.largest[batch][non_finite] = 0.0
        return y

    def _step(self, rows: "_Rows", batch: slice, y: Tensor, gradient: Tensor, step: int) -> None:
        """One step down J of a padded micro-batch, and back into ball and box."""
        count, pad = batch.stop - batch.start, self.oracle.pad
        down = geometry.direction(gradient, self.plan.norm)
        if self.plan.update is Update.ADAMAX:
            mean = _BETA_1 * pad(rows.mean[batch]) + (1.0 - _BETA_1) * down
            largest = torch.maximum(_BETA_2 * pad(rows.largest[batch]), down.abs() + _TINY)
            rows.mean[batch], rows.largest[batch] = mean[:count], largest[:count]
            down = mean / (largest * (1.0 - _BETA_1 ** (step + 1)))
        ahead = torch.sub(y, down, alpha=self.plan.sizes[step])
        rows.y[batch] = geometry.project(ahead, self.x[pad(rows.sample[batch])], self.plan.norm, self.plan.eps)[:count]

    def _finish(self, rows: "_Rows") -> None:
        """A start has ended: its closest match stands beside the image that it gave."""
        self.tracker.last_images[rows.sample[rows.gave]] = rows.closest[rows.gave]
        self.mape[rows.sample] = torch.fmin(self.mape[rows.sample], rows.mape)


@dataclass
class _Rows:
    """One start of some images under way."""

    sample: Tensor  # (R,) position of the image in x, distinct
    y: Tensor  # (R, C, H, W) current iterate
    target: Tensor  # (R, D) features of the guide
    mean: Tensor  # (R, C, H, W) Adamax's running mean of the directions
    largest: Tensor  # (R, C, H, W) Adamax's decaying maximum of their sizes
    closest: Tensor  # (R, C, H, W) iterate with the least J, the image itself before there is one
    loss: Tensor  # (R,) J of `closest`
    mape: Tensor  # (R,) of `closest`
    gave: Tensor  # (R,) whether this start has given the best image so far
    stuck: Tensor  # (R,) its gradient was zero

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, keep: Tensor) -> "_Rows":
        return replace(self, **{name: value[keep] for name, value in vars(self).items()})


def relative_error(features: Tensor, target: Tensor) -> Tensor:
    """(N,) mean|z - z_in| / max|z_in| of (N, D) features, the paper's MAPE as a fraction; NaN where z_in is zero."""
    largest = target.abs().amax(dim=1)
    return (features - target).abs().mean(dim=1) / torch.where(largest > 0, largest, torch.nan)
