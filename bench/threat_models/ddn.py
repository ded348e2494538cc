"""Decoupled direction and norm: the nearest image in L2 past a threshold or a decision."""

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models.min_norm import MinNorm


class DDN(MinNorm):
    """DDN (Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, algorithm 1) on the score or the classifier.

        argmin ||y - x||_2  with  s(y) > t,  y in [0, 1]

    The point after a step along the gradient is moved along the ray from the clean image to the sphere of the radius
    at hand, which shrinks past the line and grows before it.

    Deviations: the line is a threshold of the score, and on side `fool` the margin of the class that is nearest in
    pixels directs instead of cross-entropy, whose gradient vanishes for images that are classified with certainty. The
    first radius is how far
    the line seems to be, where the paper has 1; steps are in units of the radius; gamma falls from the paper's 0.05 to
    0.001, as in FMN; the answer is moved back along its segment; nothing is rounded to 8 bits.
    """

    norms = (Norm.L2,)

    def project(self, moved: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        """Along the ray, clipped to the box, until the clipped point is that far away, or nearly."""
        shape = (-1, *(1,) * (x.ndim - 1))
        t = eps / _length(moved)
        for _ in range(_TURNS):
            y = torch.addcmul(x, moved, t.view(shape)).clamp_(0.0, 1.0)
            t = t * (eps / _length(y - x))
        return torch.addcmul(x, moved, t.view(shape)).clamp_(0.0, 1.0)


_TURNS = 3
"""How often the ray is lengthened by what clipping took away."""


def _length(moved: Tensor) -> Tensor:
    """(B,) L2 norms, above 0."""
    length: Tensor = torch.linalg.vector_norm(moved.flatten(1), dim=1)
    return length.clamp_min_(1e-30)
