"""Carlini and Wagner's L2 attack: the nearest image that is misclassified with some confidence (and accepted)."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.cw_hinge import Hinge, Rejection, pixel_units
from bench.threat_models.decisions import wrong_classes
from bench.threat_models.gradient import Oracle
from bench.threat_models.nearest import Nearest, labels_to_fool, shrink
from bench.threat_models.objectives import FoolObjective


class Target(StrEnum):
    """Which class the image is to be taken for."""

    NONE = "none"  # any wrong one
    NEXT = "next"  # the one after the true class, and the first one after the last
    LEAST_LIKELY = "least-likely"  # the one with the smallest logit of the clean image
    RANDOM = "random"  # a wrong one, all alike


class CWParams(ThreatParams):
    """Parameters of `CarliniWagner`.

    Attributes:
        targeted: Which class the image is to be taken for.
        confidence: By how much the logit of the wrong class has to exceed all others, in units of logits: kappa.
        binary_search_steps: How many constants c are tried for each image.
        max_iterations: Steps of Adam for each constant.
        learning_rate: The most of the first step of Adam, in the space of w: one that leads farther than half the
            distance of the nearest class, told by the gradients of the clean image, is made shorter. It falls to about
            zero along a cosine.
        initial_const: The first constant c; an image on the boundary at a distance of d pixels needs about 2 d.
        rejection: When max(0, t - s(x')) counts, where acceptance is asked for.
        candidates: How many wrong classes direct an attack without a target, the most likely ones of the clean image.
        abort_early: Whether an image's descent ends once its own loss no longer falls.
        shrink_steps: Bisections of the segment from the clean image to the best one found.
    """

    targeted: Target = Target.NONE
    confidence: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    binary_search_steps: int = Field(default=6, ge=1, le=100)
    max_iterations: int = Field(default=200, ge=1, le=100_000)
    learning_rate: float = Field(default=0.07, gt=0, le=10, allow_inf_nan=False)
    initial_const: float = Field(default=1.0, gt=0, le=1e10, allow_inf_nan=False)
    rejection: Rejection = Rejection.ONCE_MISCLASSIFIED
    candidates: int = Field(default=9, ge=1, le=100_000)
    abort_early: bool = True
    shrink_steps: int = Field(default=10, ge=0, le=100)


class CarliniWagner(Threat):
    """The L2 attack of Carlini and Wagner (2017, "Towards Evaluating the Robustness of Neural Networks", section VI).

    Adam descends ||x' - x||^2 + c f(x') over w, x' = (tanh(w) + 1) / 2, with f(x') = max(max_{i != t} Z_i - Z_t,
    -kappa) for a target t, and max(Z_y - max_{i != y} Z_i, -kappa) without one; c is found by binary search for each
    image, times 10 while it is too small. Where the goal asks for acceptance by the detector, c also weighs
    max(0, t - s(x')), t the threshold of the predicted class, in units of the clean scores' interquartile range
    (Fetaya et al. 2020, section 4.3): added to f, since a factor on the logits changes its meaning with their sign. By
    default only once the image is misclassified: many scores fall towards every decision boundary and rise again
    behind it, so that a term that always counts holds the image back on its own side.

    The answer is the nearest image found that reaches the goal with the confidence, the clean one where none was found,
    and where the clean image is misclassified as it is. No image feels its batch mates.

    Figures: "const", the last constant that led to a nearer image, in the paper's units of the most likely wrong class
    or of the target; NaN where none was found.

    Deviations: without a target, the margins of the wrong classes are compared in pixels, by how far the nearest image
    in the box is at which each would be reached if it went on as at the clean image: the largest logit need not be the
    nearest class, and the descent does not turn back. c weighs those pixels, so that it suits logits of any scale;
    kappa is in logits. The learning rate falls along a cosine from a first one that suits the distance, and the image
    found is moved back along the segment to the clean one as far as it still reaches the goal: so six constants of 200
    steps (about 1,100 gradients; the paper has 10,000 for each constant) come within 2 % of the closed-form minimal
    norm of linear and quadratic classifiers. tanh is stretched by a fifth, and w is kept where the image is in the box:
    a pixel on a wall starts there and can leave, which tanh's vanishing slope denies it otherwise. Whether the loss
    still falls is asked for each image by itself, of its lowest loss.
    """

    follows_loss = False
    params: CWParams

    def cost(self, case: Case) -> Cost:
        """A gradient a step for each constant, and one for each class at the clean image."""
        targets = min(self.params.candidates, case.classes - 1) if self.params.targeted is Target.NONE else 1
        steps = self.params.binary_search_steps * self.params.max_iterations
        return Cost(steps + targets + 1, 1 + self.params.shrink_steps)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """At most binary_search_steps * max_iterations + candidates + 1 gradients and shrink_steps + 1 queries."""
        labels = labels_to_fool("cw", context)
        params = self.params
        iterations = params.binary_search_steps * params.max_iterations + 2
        tracker = Nearest(x, iterations=iterations, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        left = tracker.begin(oracle)
        classes = self._classes(oracle, x, labels, ids, context)
        boundaries = torch.cat([labels[:, None], classes], dim=1)
        units, distances = pixel_units(oracle, tracker, left, boundaries, params.confidence)
        targeted = params.targeted is not Target.NONE
        hinge = Hinge(
            FoolObjective(detector, ids, context), classes, units, params.confidence, targeted, params.rejection
        )
        asked = Oracle(detector, ids=ids, context=context, objective=hinge)
        search = _Search(asked, tracker, distances, params)
        search.over_constants(left)
        shrink(asked, tracker, Norm.L2, steps=params.shrink_steps, iteration=iterations - 1)
        tracker.report(1.0)
        return replace(tracker.result(budget), figures={"const": search.best_const * units[:, 0]})

    def _classes(self, oracle: Oracle, x: Tensor, labels: Tensor, ids: Tensor, context: Context) -> Tensor:
        """(N, k) classes to be taken for: one target, or the candidates, the most likely first."""
        others = wrong_classes(oracle.detector, oracle, x, labels)
        if self.params.targeted is Target.NONE:
            return others[:, : self.params.candidates]
        if self.params.targeted is Target.LEAST_LIKELY:
            return others[:, -1:]
        count = others.shape[1]
        if self.params.targeted is Target.NEXT:
            return ((labels + 1) % (count + 1))[:, None]
        drawn = (context.uniform(ids, 0, (1,)) * count).long().clamp(max=count - 1)
        return others.sort(dim=1).values.gather(1, drawn)


_STRETCH = 1.2
"""tanh is stretched to reach past the walls of the box, at which it then still has a slope."""

_FIRST_STEP = 0.5
"""The longest first step, in units of how far the nearest class seems to be."""

_WALL = math.atanh(1.0 / _STRETCH)

_CHECKS = 5
"""How often in a descent it is asked whether the loss still falls: more often, and large first steps look hopeless."""

_FALLING = 0.9999
"""The share of the lowest loss so far that has to be undercut until the next check, as in Carlini's code."""

_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8


def _slope(bent: Tensor) -> Tensor:
    """The derivative of the image with respect to w, where tanh(w) is `bent`."""
    return 0.5 * _STRETCH * (1.0 - bent.square())


@dataclass
class _Descent:
    """Images under way with one constant, one a row."""

    sample: Tensor  # (R,) position of the image in x
    w: Tensor  # (R, C, H, W)
    mean: Tensor  # (R, C, H, W) Adam's first moment
    square: Tensor  # (R, C, H, W) Adam's second moment
    lowest: Tensor  # (R,) loss so far
    before: Tensor  # (R,) and until the last check
    non_finite: Tensor  # (R,) something was not finite

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, keep: Tensor) -> "_Descent":
        return replace(self, **{name: value[keep] for name, value in vars(self).items()})


class _Search:
    """Descents with one constant after the other, and what came of them."""

    def __init__(self, oracle: Oracle, tracker: Nearest, distances: Tensor, params: CWParams) -> None:
        self.oracle = oracle
        self.tracker = tracker
        self.params = params
        # The first step of Adam has the same length in every coordinate of w, whatever the gradient.
        bent = (tracker.clean * 2.0 - 1.0) / _STRETCH
        moves = torch.linalg.vector_norm(_slope(bent).flatten(1).double(), dim=1).float()
        self.rate = (_FIRST_STEP * distances / moves).clamp(max=params.learning_rate)
        self.const = torch.full_like(tracker.score, params.initial_const)
        self.best_const = torch.full_like(tracker.score, torch.nan)
        self.reached = torch.zeros_like(tracker.score, dtype=torch.bool)  # with the constant at hand

    def over_constants(self, rows: Tensor) -> None:
        """The binary search over c: halved between bounds, times 10 while there is no upper one."""
        lower, upper = torch.zeros_like(self.const), torch.full_like(self.const, torch.inf)
        for turn in range(self.params.binary_search_steps):
            self.reached[:] = False
            best = self.tracker.score.clone()
            self._descend(rows, turn)
            nearer = self.tracker.score > best
            self.best_const = torch.where(nearer, self.const, self.best_const)
            upper = torch.where(self.reached, torch.minimum(upper, self.const), upper)
            lower = torch.where(self.reached, lower, torch.maximum(lower, self.const))
            self.rate = torch.where(torch.isfinite(upper), self.rate, self.rate * 3).clamp(
                max=self.params.learning_rate
            )
            self.const = torch.where(torch.isfinite(upper), (lower + upper) / 2, self.const * 10).clamp(max=1e10)

    def _descend(self, rows: Tensor, turn: int) -> None:
        start = torch.empty_like(self.tracker.clean[rows])
        for batch in self.oracle.batches(len(rows)):
            padded = self.oracle.pad(self.tracker.clean[rows[batch]])
            bent = (padded * 2.0 - 1.0) / _STRETCH
            # torch.atanh rounds by where in the batch an image lies; logarithms do not.
            start[batch] = (((1.0 + bent).log() - (1.0 - bent).log()) / 2.0)[: len(rows[batch])]
        endless = start.new_full((len(rows),), torch.inf)
        under_way = _Descent(
            rows,
            start,
            torch.zeros_like(start),
            torch.zeros_like(start),
            endless,
            endless.clone(),
            torch.zeros_like(rows, dtype=torch.bool),
        )
        steps = self.params.max_iterations
        period = max(1, steps // _CHECKS)
        for step in range(steps):
            for batch in self.oracle.batches(len(under_way)):
                self._step(under_way, batch, step, turn)
            done = under_way.non_finite
            if self.params.abort_early and (step + 1) % period == 0:
                done = done | ~(under_way.lowest < _FALLING * under_way.before)
                under_way.before = under_way.lowest.clone()
            if bool(done.any()):
                under_way = under_way.choose(~done)
            if (step + 1) % period == 0:
                self.tracker.report((turn + (step + 1) / steps) / self.params.binary_search_steps)
            if len(under_way) == 0:
                break

    def _step(self, rows: _Descent, batch: slice, step: int, turn: int) -> None:
        """Judge the images of one micro-batch and move their w by one step of Adam."""
        samples, tracker = rows.sample[batch], self.tracker
        count, padded, w = len(samples), self.oracle.pad(samples), self.oracle.pad(rows.w[batch])
        bent = torch.tanh(w)
        y = ((bent * _STRETCH + 1.0) / 2.0).clamp_(0.0, 1.0)
        away = y - tracker.clean[padded]
        criterion, direction, ascent = self.oracle.ascend(y, padded)
        distance = geometry.distance(y, tracker.clean[padded], Norm.L2)
        const = self.const[padded]
        loss = distance.square() - const * direction
        gradient = (2.0 * away - const.view(-1, 1, 1, 1) * ascent) * _slope(bent)
        slope = geometry.magnitude(ascent)
        finite = torch.isfinite(criterion) & torch.isfinite(loss) & torch.isfinite(slope)
        reached = finite & (criterion > 0)
        tracker.gradients[samples] += 1
        tracker.non_finite[samples] += (~finite)[:count].long()
        tracker.flat[samples] += (finite & ~reached & (slope == 0))[:count].long()
        iteration = turn * self.params.max_iterations + step + 1
        tracker.found(iteration, samples, *(part[:count] for part in (reached, distance, criterion, y)))
        self.reached[samples] |= reached[:count]
        rows.non_finite[batch] |= ~finite[:count]
        rows.lowest[batch] = torch.minimum(rows.lowest[batch], loss[:count])
        share = 0.5 * (1.0 + math.cos(math.pi * step / self.params.max_iterations))
        rate = (self.rate[padded] * share).view(-1, 1, 1, 1)
        self._move(rows, batch, w, torch.where(finite.view(-1, 1, 1, 1), gradient, 0.0), step, rate)

    def _move(self, rows: _Descent, batch: slice, w: Tensor, gradient: Tensor, step: int, rate: Tensor) -> None:
        """Adam (Kingma and Ba 2015, algorithm 1), in the padded shape, so that rounding is the same in any batch."""
        pad, count = self.oracle.pad, batch.stop - batch.start
        first, second = _BETAS
        mean = pad(rows.mean[batch]) * first + gradient * (1.0 - first)
        square = pad(rows.square[batch]) * second + gradient.square() * (1.0 - second)
        scale = (square / (1.0 - second ** (step + 1))).sqrt() + _ADAM_EPS
        w = (w - rate * (mean / (1.0 - first ** (step + 1))) / scale).clamp_(-_WALL, _WALL)
        rows.w[batch], rows.mean[batch], rows.square[batch] = w[:count], mean[:count], square[:count]
