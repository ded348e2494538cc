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

    Deviations: the line is a threshold of the score; on side `fool` it is the paper's margin of logits, and the class
    directs that is nearest in pixels at the clean image. Until the line is crossed, the radius is that of twice its
    distance: on curved scores the walk then comes from farther out, and ends up to 1 % nearer. The answer is moved back
    along its segment. Steps are L2 lengths in pixel units, as in the paper.
    """

    overshoot = 2.0
    norms = (Norm.LINF,)

    def unit_of_steps(self, eps: Tensor) -> Tensor:
        """(B,) ones: steps are as long whatever the radius is."""
        return torch.ones_like(eps)

    def project(self, moved: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        """Every pixel within the radius and the box."""
        reach = eps.view(-1, *(1,) * (x.ndim - 1))
        return (x + torch.minimum(torch.maximum(moved, -reach), reach)).clamp_(0.0, 1.0)
