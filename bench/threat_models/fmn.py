"""Fast minimum norm: the nearest image in L-infinity past a threshold or a decision."""

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models.min_norm import MinNorm


class FMN(MinNorm):
    """FMN (Pintor, Roli, Brendel and Biggio 2021, algorithm 1) in L-infinity, on the score or the classifier.

        argmin ||y - x||_inf  with  s(y) > t,  y in [0, 1]

    The point after a step along the gradient is projected onto the ball of the radius at hand, which shrinks past the
    line and grows before it.

    Deviations: the line is a threshold of the score, and on side `fool` it is the paper's margin of logits. Steps are
    in units of the radius; the answer is moved back along its segment.
    """

    norms = (Norm.LINF,)

    def bring(self, moved: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        """Every pixel within the radius and the box."""
        reach = eps.view(-1, *(1,) * (x.ndim - 1))
        return (x + torch.minimum(torch.maximum(moved, -reach), reach)).clamp_(0.0, 1.0)
