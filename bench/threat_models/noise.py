"""The best of some random points in the ball: what any attack with gradients has to beat."""

from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models import geometry
from bench.threat_models.base import Context
from bench.threat_models.trials import Trials


class Noise(Trials):
    """Best of `points` points uniform in the volume of the ball, clipped to the box; the clean image counts too."""

    def point(self, x: Tensor, number: int, *, norm: Norm, eps: float, ids: Tensor, context: Context) -> Tensor:
        """Another draw at each turn."""
        return geometry.uniform_in_ball(x, norm, eps, ids=ids, draw=number, context=context)
