"""For every class, the nearest to its own best: ascent of a class-conditional score class by class."""

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models import geometry
from bench.threat_models.ascent import ascend, ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat
from bench.threat_models.costs import Case, Cost
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import needed_class_scores
from bench.threat_models.pgd import Momentum, PGDParams, step_sizes


class EachClassParams(PGDParams):
    """Parameters of `EachClass`: those of `PGD`, for each of at most `classes` classes.

    Attributes:
        restarts: Starts of each class.
        classes: The classes with the largest scores of their own at the clean image are attacked.
    """

    restarts: int = Field(default=1, ge=1, le=1000)
    momentum: tuple[Momentum, ...] = Field(default=(0.9,), min_length=1, max_length=100)
    classes: int = Field(default=10, ge=1, le=1000)


class EachClass(Threat):
    """`PGD` towards each class in turn; of all iterates, the one that the score itself ranks best is kept.

    A score that looks at the nearest, or the predicted, class has a gradient for that class alone, and an ascent seldom
    leaves it. Where the score is that of the predicted class, the class is to be predicted first. The counterpart of
    attacks with many targets on classifiers (Gowal, Uesato, Qin, Huang, Mann and Kohli 2019, "An alternative surrogate
    loss for PGD-based adversarial testing"), of which APGD-T is one: here there are no wrong classes, so that all of
    them are targets.
    """

    params: EachClassParams

    def cost(self, case: Case) -> Cost:
        """An ascent for each class, and one query that ranks them."""
        towards = min(self.params.classes, case.classes)
        return Cost(towards * self.params.restarts * self.params.steps, 1 + towards * (1 + self.params.restarts))

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Every image towards every class, each pair as an image of its own.

        Raises:
            NotApplicableError: No class has a part in the detector's score.
        """
        ranked = self._ranked(detector, x, ids, context)
        count = ranked.shape[1]
        rows = torch.arange(len(x), device=x.device).repeat(count)

        def heard(share: float, scores: Tensor) -> None:
            best = (context.sign * scores).view(count, -1).amax(dim=0)
            context.progress(share, context.sign * best)

        pairs = replace(context.at(rows), classes=ranked.T.reshape(-1), progress=heard)
        reach = geometry.reach(x, *ball_of(budget))
        found = ascend(
            detector,
            x[rows],
            ids=ids[rows],
            budget=budget,
            context=pairs,
            momentum=self.params.momentum,
            sizes=tuple(reach * size for size in step_sizes(self.params)),
            restarts=self.params.restarts,
        )
        return best_of_each(found, len(x), context.sign)

    @torch.no_grad()
    def _ranked(self, detector: Detector, x: Tensor, ids: Tensor, context: Context) -> Tensor:
        """(N, classes) for every image its classes, those with the largest scores of their own first."""
        oracle = Oracle(detector, ids=ids, context=context)
        parts = [
            needed_class_scores(detector, oracle.pad(x[batch]))[0][: len(x[batch])] for batch in oracle.batches(len(x))
        ]
        scores = (context.sign * torch.cat(parts)).nan_to_num(nan=-torch.inf)
        return scores.argsort(dim=1, descending=True, stable=True)[:, : self.params.classes]


def best_of_each(found: AttackResult, count: int, sign: float) -> AttackResult:
    """Of several results for each image, the best by its final score; costs are summed.

    Args:
        found: One entry a pair, all images with their first result, then all with their second one, and so on.
        count: How many images there are.
        sign: +1 where the attacker wants the score high, -1 where low.
    """
    trace = (sign * found.score_trace).nan_to_num(nan=-torch.inf).view(-1, count, found.score_trace.shape[1])
    best = trace[:, :, -1].argmax(dim=0)
    chosen = best * count + torch.arange(count, device=best.device)
    reached = trace.amax(dim=0)
    return AttackResult(
        images=found.images[chosen],
        last_images=found.last_images[chosen],
        score_trace=torch.where(reached.isfinite(), sign * reached, torch.nan),
        gradients=found.gradients.view(-1, count).sum(dim=0),
        queries=found.queries.view(-1, count).sum(dim=0) + 1,
        norm=found.norm[chosen],
        status=[_together(found.status[image::count]) for image in range(count)],
    )


def _together(statuses: list[Status]) -> Status:
    """How the attack on one image ended, of which single ascents ended in these ways."""
    if Status.STOPPED in statuses:
        return Status.STOPPED
    if set(statuses) == {Status.FAILED}:
        return Status.FAILED
    if {Status.FAILED, Status.NON_FINITE} & set(statuses):
        return Status.NON_FINITE
    return Status.COMPLETED if Status.COMPLETED in statuses else Status.NO_GRADIENT
