"""Certified upper bounds of the score, held against what an attack reached."""

from collections.abc import Mapping

import numpy as np

from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.errors import CellError
from bench.evaluation.images import Images
from bench.evaluation.pixels import Pixels
from bench.evaluation.plan import PlannedCell
from bench.evaluation.scoring import device_of, score_bounds
from bench.metrics.scores import Scores

_OF_IQR = 1e-3  # a rise of the score that counts as none, as wherever scores are compared
_OF_MAGNITUDE = 1e-5  # float32 sums: a score far from 0 is rounded by more than its spread would tell


def certified_bounds(
    planned: PlannedCell, detector: Detector, images: Images, attacked: Mapping[str, Scores], *, iqr: float
) -> dict[str, Scores]:
    """Upper bounds of the OOD images' scores in the cell's ball, by set.

    A score that lies above its bound by a rounding takes the bound's place, so that no attacked AUROC is below the
    guaranteed one.

    Args:
        planned: The cell.
        detector: On the device on which to compute.
        images: The track's sets.
        attacked: Scores after the attack, by set.
        iqr: Interquartile range of the clean scores of the ID test images.

    Returns:
        Set -> (N,) bounds; empty without a certificate, without a radius, and where ID images are attacked.

    Raises:
        CellError: A bound is no number, or an attack went above it: the certificate is wrong.
    """
    norm, eps, size = planned.ingredients.norm, planned.ingredients.eps, planned.ingredients.micro_batch
    if norm is None or eps is None or planned.ingredients.side is not Side.EVADE:
        return {}
    found = {}
    for name, chosen in images.ood.items():
        pixels = Pixels([chosen], device_of(detector))
        bounds = score_bounds(detector, pixels, size, norm=norm, eps=eps)
        if bounds is None:
            return {}
        if missing := int(np.isnan(bounds).sum()):
            raise CellError(f"the bound of {missing} of {len(bounds)} images of '{name}' is NaN; +inf means no bound.")
        scores = attacked[name]
        slack = _OF_IQR * iqr + _OF_MAGNITUDE * np.abs(scores)
        if above := int(np.sum(scores > bounds + slack)):
            raise CellError(
                f"an attack went below the guarantee: {above} of {len(scores)} images of '{name}' score above their "
                f"certified bound at {norm} {eps:g}, so the certificate is wrong; mend the detector's bound."
            )
        found[name] = np.maximum(bounds, scores)
    return found
