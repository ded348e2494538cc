"""A threat of one's own: the whole image made brighter or darker."""

import torch
from pydantic import Field

from bench.cards.threat import Norm
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import Threat, ThreatParams
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker


class BrightnessParams(ThreatParams):
    """Parameters of `Brightness`: how many `levels` are tried."""

    levels: int = Field(default=20, ge=1, le=1000)


class Brightness(Threat):
    """The best of some levels of brightness, from as dark to as bright as the ball allows."""

    Params = BrightnessParams

    def attack(self, detector, x, *, ids, budget, context):
        norm, eps = ball_of(budget)
        size = eps if norm is Norm.LINF else eps / x.shape[1:].numel() ** 0.5
        levels = torch.linspace(-size, size, self.params.levels).tolist()
        tracker = Tracker(x, moments=len(levels) + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.judge(x))
        for turn, level in enumerate(levels, start=1):
            left = (~tracker.beyond()).nonzero().flatten()
            points = (x[left] + level).clamp(0, 1)
            tracker.try_images(turn, left, *oracle.judge(points, left), points)
            tracker.report(turn / len(levels))
        return tracker.result(budget)
