"""A threat of one's own: the whole image made brighter or darker."""

import torch

from bench.cards.threat import Norm
from bench.threat_models.trials import Trials


class Brightness(Trials):
    """The best of some levels of brightness, from as dark to as bright as the ball allows."""

    def point(self, x, number, *, norm, eps, ids, context):
        size = eps if norm is Norm.LINF else eps / x.shape[1:].numel() ** 0.5
        level = float(torch.linspace(-size, size, self.params.points)[number])
        return (x + level).clamp(0, 1)
