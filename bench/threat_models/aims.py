"""Which class each restart of an ascent aims at, where a score has a part for each class."""

import torch
from torch import Tensor
from torch.nn import functional

from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.threat_models.base import Context
from bench.threat_models.gradient import Oracle

NONE = -1
"""In the place of a class: the detector's own objective directs."""


@torch.no_grad()
def aims_of(
    detector: Detector, x: Tensor, *, ids: Tensor, context: Context, restarts: int, smooth: bool = False
) -> Tensor | None:
    """(N, restarts) int64 classes, `NONE` where the detector's objective directs; None where that is everywhere.

    A score of the predicted class jumps where another class is predicted, and its gradient knows of no jump. So the
    first restart follows the objective, and the others aim at one class each, at the clean image the nearest to being
    predicted first; where there are no more classes they follow the objective too.

    A score that jumps nowhere, such as energy, may have a summit for each class all the same, and random starts seldom
    leave that of the class which is predicted. There restarts aim at classes only where `smooth` says so, and only to
    raise the score, since a score is low where all its classes are.

    Args:
        detector: Frozen, in evaluation mode.
        x: (N, C, H, W) clean images.
        ids: (N,) sample ids.
        context: The sides of the score alone have aims, and none where a class is given or the score is random.
        restarts: Number of starts.
        smooth: Also of a score of classes that asks for no prediction.
    """
    if context.side is Side.FOOL or context.classes is not None or context.draws > 0 or restarts < 2:
        return None
    oracle, found = Oracle(detector, ids=ids, context=context), []
    for batch in oracle.batches(len(x)):
        scores, margins = detector.class_scores_and_margins(oracle.pad(x[batch]))
        nearness = scores if margins is None and smooth and context.side is Side.EVADE else margins
        if nearness is None:
            return None
        found.append(nearness[: len(x[batch])])
    if not found:
        return None
    nearest = torch.cat(found).nan_to_num(nan=-torch.inf).argsort(dim=1, descending=True, stable=True)
    others = nearest[:, 1:restarts]  # the objective leads to the first already
    return functional.pad(others, (1, restarts - 1 - others.shape[1]), value=NONE)
