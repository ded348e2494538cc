"""The attacker who does nothing: what every other threat is compared with."""

from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models.base import AttackResult, Budget, Context, Threat
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker


class Clean(Threat):
    """Returns the images as they are, with one query each for the score trace."""

    def cost(self, case: Case) -> Cost:
        """One query."""
        return Cost(0, 1)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query an image; any budget is left unspent."""
        tracker = Tracker(x, iterations=1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        tracker.report(1.0)
        return tracker.result(budget)
