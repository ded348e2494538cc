"""On the straight way to in-distribution images: what an attacker reaches without asking for a gradient."""

import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.guides import drawn_guides, nearest_guides, needed_pool
from bench.threat_models.tracking import Tracker


class InterpolationParams(ThreatParams):
    """Parameters of `Interpolation`.

    Attributes:
        nearest: Ways to so many of the nearest ID images.
        drawn: Ways to so many ID images that are drawn by the seed.
        points: Points on each way, at even distances; the last one is the ID image, or where the way leaves the ball.
    """

    nearest: int = Field(default=5, ge=0, le=1000)
    drawn: int = Field(default=5, ge=0, le=1000)
    points: int = Field(default=10, ge=1, le=1000)


class Interpolation(Threat):
    """The best point on straight ways to ID images, as far as the ball reaches; the image itself counts too.

    A bound by construction: an ID image that lies inside the ball is reached exactly, so that no gradient that is
    masked, and no landscape that is rough, makes a detector look better than this.
    """

    params: InterpolationParams

    def cost(self, case: Case) -> Cost:
        """A query a point, and one for the image itself."""
        return Cost(0, 1 + (self.params.nearest + self.params.drawn) * self.params.points)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query a point, and one for the clean image."""
        norm, eps = ball_of(budget, tuple(Norm))
        pool = needed_pool(context)
        guides = self._guides(x, ids, pool, norm, context)
        total = guides.shape[1] * self.params.points
        tracker = Tracker(x, iterations=total + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        for turn in range(guides.shape[1]):
            for step in range(self.params.points):
                # From the far end back: what is nearest to the ID image is the likeliest to stop the walk.
                share = (self.params.points - step) / self.params.points
                iteration = turn * self.params.points + step + 1
                self._try(tracker, oracle, pool[guides[:, turn]], share, iteration, norm=norm, eps=eps)
            tracker.report((turn + 1) / guides.shape[1])
        tracker.report(1.0)
        return tracker.result(budget)

    def _guides(self, x: Tensor, ids: Tensor, pool: Tensor, norm: Norm, context: Context) -> Tensor:
        """(N, G) rows of the pool; one that is both near and drawn is walked to twice."""
        parts = []
        if self.params.nearest:
            parts.append(nearest_guides(x, pool, norm, self.params.nearest))
        if self.params.drawn:
            parts.append(drawn_guides(ids, self.params.drawn, pool=len(pool), draw=0, context=context))
        if not parts:
            raise UsageError("nearest and drawn are both 0, so there is nowhere to walk to; give one of them.")
        return torch.cat(parts, dim=1)

    def _try(
        self, tracker: Tracker, oracle: Oracle, guides: Tensor, share: float, iteration: int, *, norm: Norm, eps: float
    ) -> None:
        """One point on the way of every sample that is still under way."""
        left = (~tracker.past_target()).nonzero().flatten()
        for batch in oracle.batches(len(left)):
            samples = left[batch]
            points = on_the_way(tracker.clean[samples], guides[samples], share, norm, eps)
            judged, directed = oracle.ask(oracle.pad(points), oracle.pad(samples))
            tracker.try_images(iteration, samples, judged[: len(samples)], directed[: len(samples)], points)


def on_the_way(x: Tensor, guides: Tensor, share: float, norm: Norm, eps: float) -> Tensor:
    """(N, C, H, W) points on the straight ways from images to guides.

    Args:
        x: (N, C, H, W) in [0, 1].
        guides: (N, C, H, W) in [0, 1].
        share: How far along that part of the way that lies inside the ball, in [0, 1]; 1 is the guide itself, bit for
            bit, where the ball reaches it.
        norm: L2 or L-infinity.
        eps: Radius of the ball around `x`.
    """
    if norm is Norm.L0:  # a way changes all values at once; here it changes one after the other, the largest first
        return geometry.project(guides, x, norm, max(1.0, share * eps))
    length = geometry.distance(guides, x, norm)
    reach = torch.where(length > eps, eps / length.clamp_min(torch.finfo(length.dtype).tiny), 1.0)
    far = (share * reach).view(-1, *(1,) * (x.ndim - 1))
    points = geometry.project(torch.lerp(x, guides, far), x, norm, eps)
    return torch.where(far >= 1.0, guides, points)


class BetweenParams(ThreatParams):
    """Parameters of `Between`.

    Attributes:
        pairs: Pairs of ID images of different classes, at most.
        points: Values of alpha on each way, both ends among them.
    """

    pairs: int = Field(default=1000, ge=1, le=1_000_000)
    points: int = Field(default=100, ge=2, le=10_000)


class Between(Threat):
    """Straight ways between accepted, correctly classified ID images of different classes.

    "Conditional generative models are not robust" (2020), section 4.4: a detector that knows its classes should not
    accept everything that lies between them. Nothing is optimised and there is no budget; what is measured along the
    ways is `bench.evaluation.between`'s.
    """

    params: BetweenParams

    def cost(self, case: Case) -> Cost:
        """A query a point of each way, shared among the images that may be ends."""
        return Cost(0, self.params.pairs * self.params.points / case.images)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Not on the side of the score: ways between images have no attacked image.

        Raises:
            UsageError: Always.
        """
        raise UsageError("this threat walks between ID images and attacks none of them; run it with --side between.")
