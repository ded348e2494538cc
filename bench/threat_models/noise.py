"""The best of some random points in the ball: what any attack with gradients has to beat."""

from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker

_REPORTS = 50
"""How often, about, progress is reported."""


class NoiseParams(ThreatParams):
    """Parameters of `Noise`.

    Attributes:
        points: Points drawn in the ball of every image.
    """

    points: int = Field(default=100, ge=1, le=1_000_000)


class Noise(Threat):
    """Best of `points` points uniform in the volume of the ball, clipped to the box; the clean image counts too."""

    Params = NoiseParams
    params: NoiseParams

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query a point, and one for the clean image."""
        norm, eps = ball_of(budget)
        tracker = Tracker(x, moments=self.params.points + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.judge(x))
        every = max(1, self.params.points // _REPORTS)
        for draw in range(self.params.points):
            left = (~tracker.beyond()).nonzero().flatten()
            for batch in oracle.batches(len(left)):
                samples = left[batch]
                padded = oracle.pad(samples)
                points = geometry.uniform_in_ball(x[padded], norm, eps, ids=ids[padded], draw=draw, context=context)
                answers = (part[: len(samples)] for part in (*oracle.ask(points, padded), points))
                tracker.try_images(draw + 1, samples, *answers)
            if draw % every == 0:
                tracker.report((draw + 1) / self.params.points)
        tracker.report(1.0)
        return tracker.result(budget)
