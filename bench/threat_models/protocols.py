"""The attacks that papers on robust OOD detection report, switch by switch, so that they can stand beside ours."""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector
from bench.detectors.logit import LogitDetector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import Objective
from bench.threat_models.tracking import Tracker

_REPORTS = 50
"""How often, about, progress is reported."""

_INSIDE = 1.0 - 1e-6
"""The share of a channel's radius that is used, so that float32 rounding leaves the norm below eps * (1 + 1e-5)."""


class Start(StrEnum):
    """Where the one start lies."""

    CLEAN = "clean"
    RANDOM = "random"  # uniform in the ball, clipped to the box


class Follow(StrEnum):
    """What is ascended on side evade, and descended on side alarm."""

    OBJECTIVE = "objective"  # the detector's own
    NOISELESS = "noiseless"  # the same of a random detector without its noise: blind to the randomness
    UNIFORM = "uniform"  # cross-entropy of the prediction to the uniform distribution
    NEGENTROPY = "negentropy"  # minus the entropy of the prediction
    CONFIDENCE = "confidence"  # the softmax maximum, saturated as float32 has it
    LOG_CONFIDENCE = "log-confidence"  # its logarithm


class Keep(StrEnum):
    """Which iterate is returned."""

    LAST = "last"
    BEST = "best"  # of each image, by what is followed; the clean image counts


class Rounding(StrEnum):
    """How perturbations are brought to multiples of 1/255, at the start and at the end."""

    NONE = "none"
    NEAREST = "nearest"
    TOWARD_ZERO = "toward-zero"


Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class ProtocolParams(ThreatParams):
    """Parameters of `Protocol`.

    Attributes:
        steps: Gradient steps from the one start.
        step_size: Length of every step in units of eps.
        start: Where the start lies.
        follow: What is followed.
        follow_alarm: What is followed on side alarm; None: the same.
        keep: Which iterate is returned.
        rounding: How perturbations are brought to multiples of 1/255.
        units: What one unit of eps is in pixels, for each channel: the standard deviations of a normalisation, where a
            paper measures its radius after it. Images with another number of channels take their mean. Empty: 1.
    """

    steps: int = Field(default=40, ge=1, le=100_000)
    step_size: float = Field(default=0.125, gt=0, le=100, allow_inf_nan=False)
    start: Start = Start.RANDOM
    follow: Follow = Follow.OBJECTIVE
    follow_alarm: Follow | None = None
    keep: Keep = Keep.LAST
    rounding: Rounding = Rounding.NONE
    units: tuple[Share, ...] = Field(default=(), max_length=64)


class Protocol(Threat):
    """Signed gradient steps from one start in the L-infinity ball, as a paper evaluated its detector.

        y_0 = x + u,  u uniform in the ball, or 0
        y_k+1 = clip(y_k + a sign(grad f(y_k)))      to |y - x| <= eps and to [0, 1]

    and y_K is the answer, or the y_k of the largest f. f is what the paper's code followed. A loss on logits is
    followed where the score is a function of the logits alone (`LogitDetector`); of any other detector it is its own
    objective, as the papers' code has it for scores that are not the classifier's confidence.

    Deviations: images stay in the box, also where a paper steps in normalised pixels without one. An image that ended
    worse than it began counts as the clean one, as the harness has it for every attack, so that no figure of a protocol
    exceeds the clean one. Nothing stops early.
    """

    params: ProtocolParams

    def cost(self, case: Case) -> Cost:
        """A gradient a step; queries: the clean image, the answer, and where the best is kept both ends."""
        return Cost(self.params.steps, 2 if self.params.keep is Keep.LAST else 4)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image from its one start.

        Raises:
            UsageError: The budget is not an L-infinity ball.
        """
        if budget.norm is not Norm.LINF or budget.eps is None:
            raise UsageError("a published protocol works in an L-infinity ball; give one, for example `--eps 8/255`.")
        oracle = Oracle(detector, ids=ids, context=context)
        tracker = Tracker(x, iterations=self.params.steps + 1, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        walk = _Walk(self, detector, x, ids, budget.eps, context, tracker)
        found = walk.ends()
        everyone = torch.arange(len(x), device=x.device)
        tracker.try_images(self.params.steps, everyone, *oracle.evaluate(found), found)
        tracker.report(1.0)
        return replace(tracker.result(budget), last_images=walk.y)

    def better(self, value: Tensor, best: Tensor) -> Tensor:
        """(N,) of which images this iterate is kept.

        Args:
            value: (N,) what is followed, at this iterate.
            best: (N,) the same at the iterate that is kept so far.
        """
        return value > best


class BatchProtocolParams(ProtocolParams):
    """Parameters of `BatchProtocol`.

    Attributes:
        keep: Always the best.
        batch: So many images, in the order in which they come, share one choice.
    """

    keep: Keep = Keep.BEST
    batch: int = Field(default=128, ge=1, le=100_000)


class BatchProtocol(Protocol):
    """The same, where a whole batch keeps the iterate of its best mean: a batch mate can keep a worse point."""

    params: BatchProtocolParams
    couples_images: ClassVar[bool] = True

    def better(self, value: Tensor, best: Tensor) -> Tensor:
        """(N,) the same answer for all images of a batch, by their means."""
        size = self.params.batch
        batches = [slice(first, first + size) for first in range(0, len(value), size)]
        kept = [(value[at].mean() > best[at].mean()).expand(len(value[at])) for at in batches]
        return torch.cat(kept) if kept else value > best


class _Walk:
    """The iterates of all images of one call."""

    def __init__(
        self,
        threat: Protocol,
        detector: Detector,
        x: Tensor,
        ids: Tensor,
        eps: float,
        context: Context,
        tracker: Tracker,
    ) -> None:
        params = threat.params
        self.threat, self.params, self.x, self.tracker = threat, params, x, tracker
        self.oracle = Oracle(detector, ids=ids, context=context, objective=_direction(params, detector, context))
        self.radius = _INSIDE * eps * _units(params.units, x)
        self.low, self.high = (x - self.radius).clamp_(min=0.0), (x + self.radius).clamp_(max=1.0)
        self.y = x.clone()
        if params.start is Start.RANDOM:
            offset = (context.uniform(ids, 2, tuple(x.shape[1:])) * 2.0 - 1.0) * self.radius
            self.y = self.rounded(self.inside(x + offset))

    def ends(self) -> Tensor:
        """(N, C, H, W) the answers of all images."""
        keep = self.params.keep is Keep.BEST
        best, value = self.x.clone(), self._values(self.x) if keep else self.tracker.score
        every = max(1, self.params.steps // _REPORTS)
        for step in range(self.params.steps):
            here = self._advance(best, value) if keep else self._advance(None, value)
            value = here if keep else value
            if step % every == 0:
                self.tracker.report((step + 1) / self.params.steps)
        if keep:
            self._choose(best, value, self.y, self._values(self.y))
        return self.rounded(best if keep else self.y)

    def _advance(self, best: Tensor | None, value: Tensor) -> Tensor:
        """One step of all images; what is followed at the iterates that are kept."""
        found, following = torch.empty_like(value), torch.empty_like(self.y)
        for batch in self.oracle.batches(len(self.x)):
            rows = torch.arange(batch.start, batch.stop, device=self.x.device)
            _, ahead, gradient = self.oracle.ascend(self.oracle.pad(self.y[batch]), self.oracle.pad(rows))
            found[batch], gradient = ahead[: len(rows)], gradient[: len(rows)]
            slope = geometry.dual_norm(gradient, Norm.LINF)
            self.tracker.flat[rows] += (slope == 0).long()
            self.tracker.non_finite[rows] += (~((found[batch].abs() < torch.inf) & (slope < torch.inf))).long()
            following[batch] = geometry.direction(gradient, Norm.LINF)
        self.tracker.gradients += 1
        if best is not None:
            value = self._choose(best, value, self.y, found)
        self.y = self.inside(self.y + self.params.step_size * self.radius * following)
        return value

    def _choose(self, best: Tensor, value: Tensor, images: Tensor, found: Tensor) -> Tensor:
        """Keep these images where they are better; what is followed at those that are kept."""
        better = self.threat.better(found, value)
        best[better] = images[better]
        return torch.where(better, found, value)

    def _values(self, images: Tensor) -> Tensor:
        """(N,) what is followed, without a gradient."""
        self.tracker.queries += 1
        return self.oracle.evaluate(images)[1]

    def inside(self, y: Tensor) -> Tensor:
        """The nearest points in ball and box."""
        return torch.clamp(y, self.low, self.high)

    def rounded(self, y: Tensor) -> Tensor:
        """The same points with perturbations that are multiples of 1/255, in ball and box."""
        if self.params.rounding is Rounding.NONE:
            return y
        steps = (y - self.x) * 255.0
        # What is a whole number but for float32 stays that number, rounded either way.
        whole = steps.round() if self.params.rounding is Rounding.NEAREST else (steps + steps.sign() * 1e-3).trunc()
        return self.inside(self.x + whole / 255.0)


def _units(units: tuple[float, ...], x: Tensor) -> Tensor:
    """(1, C, 1, 1), or (1, 1, 1, 1), what one unit of eps is in pixels."""
    chosen = torch.tensor(units or (1.0,), dtype=x.dtype, device=x.device)
    if len(units) not in (0, 1, x.shape[1]):
        chosen = chosen.mean()[None]
    return chosen.view(1, -1, 1, 1)


def _direction(params: ProtocolParams, detector: Detector, context: Context) -> Objective | None:
    """What is followed, from the attacker's side; None: what the side is after."""
    alarm = context.side is Side.ALARM
    follow = params.follow_alarm if alarm and params.follow_alarm is not None else params.follow
    if context.side is Side.FOOL or follow is Follow.OBJECTIVE:
        return None

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        if follow is Follow.NOISELESS:
            value = context.sign * detector.objective(x)
        else:
            assert isinstance(detector, LogitDetector)
            value = context.sign * followed(follow, detector.scored_logits(x))
        return value, value

    return objective if follow is Follow.NOISELESS or isinstance(detector, LogitDetector) else None


def followed(follow: Follow, logits: Tensor) -> Tensor:
    """(N, K) logits -> (N,) what some papers ascend to make an OOD image look ID, in float32.

    With p = softmax(logits): `uniform` is -mean_k log p_k, `negentropy` sum_k p_k log p_k, `confidence` max_k p_k, and
    `log-confidence` its logarithm.

    Args:
        follow: One of these four.
        logits: Any.
    """
    log_p = logits.log_softmax(dim=1)
    if follow is Follow.UNIFORM:
        return -log_p.mean(dim=1)
    if follow is Follow.NEGENTROPY:
        return (log_p.exp() * log_p).sum(dim=1)
    top = log_p.amax(dim=1)
    return top if follow is Follow.LOG_CONFIDENCE else logits.softmax(dim=1).amax(dim=1)
