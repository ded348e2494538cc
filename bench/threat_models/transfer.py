"""Images that were crafted on other detectors: what an attacker does who cannot ask this one."""

from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker


class Transfer(Threat):
    """Transfer of adversarial examples (Papernot, McDaniel and Goodfellow 2016), the best of several surrogates.

    The harness crafts the images on the surrogates that the card names, with the card's budget and without early stop;
    here each is projected into ball and box, and the best by the attacked detector's own score is kept. Gradients are
    spent on the surrogates and are not counted here.
    """

    def cost(self, case: Case) -> Cost:
        """One query a source, and one for the clean image; what its images cost is counted with the sources."""
        return Cost(0, 1 + case.sources)

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """One query a surrogate, and one for the clean image.

        Raises:
            UsageError: There are no images of other detectors.
        """
        norm, eps = ball_of(budget, tuple(Norm))
        if not context.transferred:
            raise UsageError(
                "a transfer attack needs images that were crafted on other detectors; run it by its card's name, so "
                "that the harness crafts them."
            )
        tracker = Tracker(x, iterations=len(context.transferred) + 1, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        for iteration, images in enumerate(context.transferred.values(), start=1):
            left = (~tracker.past_target()).nonzero().flatten()
            for batch in oracle.batches(len(left)):
                samples = left[batch]
                padded = oracle.pad(samples)
                points = geometry.project(images[padded], x[padded], norm, eps)
                answers = (part[: len(samples)] for part in (*oracle.ask(points, padded), points))
                tracker.try_images(iteration, samples, *answers)
            tracker.report(iteration / len(context.transferred))
        return tracker.result(budget)
