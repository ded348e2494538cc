"""What certificates say of balls in other norms than their own."""

import math

from bench.cards.threat import Norm


def l2_radius(norm: Norm, eps: float, values: int) -> float:
    """The radius of an L2 ball that holds what a ball of another norm has in common with the box [0, 1].

    An L1 norm is never below the L2 norm; of k values that change, none changes by more than 1.

    Args:
        norm: Of the ball.
        eps: Its radius.
        values: Of an image.

    >>> [l2_radius(norm, 4.0, 9) for norm in (Norm.L2, Norm.L1, Norm.LINF, Norm.L0)]
    [4.0, 3.0, 3.0, 2.0]
    """
    by_norm = {
        Norm.L2: eps,
        Norm.L1: min(eps, math.sqrt(values)),
        Norm.LINF: min(eps, 1.0) * math.sqrt(values),
        Norm.L0: math.sqrt(min(eps, values)),
    }
    return by_norm[norm]
