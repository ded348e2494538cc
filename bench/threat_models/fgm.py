"""One step of full size: the fast gradient method, the sign method where the norm is L-infinity."""

from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models.ascent import ascend, ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat
from bench.threat_models.costs import Case, Cost


class FGM(Threat):
    """FGSM (Goodfellow et al. 2015, section 4) and its L2 form, directed at the detector's objective.

    One step of length eps from the clean image along the unit gradient (L2) or its sign (L-infinity), clipped to the
    box. Deviation: where the step makes matters worse for the attacker, the clean image stays.
    """

    def cost(self, case: Case) -> Cost:
        """One gradient, and two queries."""
        return Cost(1, 2)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One gradient and two queries an image: the clean one and the one after the step."""
        _, eps = ball_of(budget)
        return ascend(detector, x, ids=ids, budget=budget, context=context, sizes=(eps,))
