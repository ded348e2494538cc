"""Attackers that try points of the ball, one after the other: a subclass says which."""

from abc import abstractmethod

from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker

_REPORTS = 50
"""How often, about, progress is reported."""


class TrialParams(ThreatParams):
    """Parameters of every such attacker.

    Attributes:
        points: Points of the ball that are tried for every image.
    """

    points: int = Field(default=100, ge=1, le=1_000_000)


class Trials(Threat):
    """The best of some points of the ball; the clean image counts too. Subclasses implement `point`.

    An image that no further point could move past the others is tried no more.
    """

    params: TrialParams

    @abstractmethod
    def point(self, x: Tensor, number: int, *, norm: Norm, eps: float, ids: Tensor, context: Context) -> Tensor:
        """(N, C, H, W) the point that is tried at this turn, in the ball of each image and within [0, 1].

        Args:
            x: (N, C, H, W) the images, some of those that are attacked.
            number: Of the turn, from 0 to one less than `points`.
            norm: Of the ball.
            eps: Its radius.
            ids: (N,) the images' sample ids, for random numbers of `context`.
            context: Of the attack.
        """

    def cost(self, case: Case) -> Cost:
        """One query a point, and one for the clean image."""
        return Cost(0, 1 + self.params.points)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query a point, and one for the clean image."""
        norm, eps = ball_of(budget, tuple(Norm))
        tracker = Tracker(x, iterations=self.params.points + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        every = max(1, self.params.points // _REPORTS)
        for number in range(self.params.points):
            left = (~tracker.past_target()).nonzero().flatten()
            for batch in oracle.batches(len(left)):
                samples = left[batch]
                padded = oracle.pad(samples)
                points = self.point(x[padded], number, norm=norm, eps=eps, ids=ids[padded], context=context)
                answers = (part[: len(samples)] for part in (*oracle.ask(points, padded), points))
                tracker.try_images(number + 1, samples, *answers)
            if number % every == 0:
                tracker.report((number + 1) / self.params.points)
        tracker.report(1.0)
        return tracker.result(budget)
