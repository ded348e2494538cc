"""Feature matching: give an OOD image the features of an in-distribution image, and with them its score."""

from dataclasses import replace
from enum import StrEnum
from typing import Literal

from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector, DetectorInfo
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import AttackResult, Budget, Context, Threat, ThreatParams
from bench.threat_models.costs import Case, Cost
from bench.threat_models.guides import drawn_guides, needed_pool, ordered_guides
from bench.threat_models.matching import Matching, Plan, Update
from bench.threat_models.pgd import PGDParams, Schedule, step_sizes

TEST_GUIDES = "ID test images led the attack, which copies their scores: a reproduction, and nothing to rank."


_SEEN = {
    "logits": ("classifier", "features", "members", "preprocessing"),
    "penultimate": ("features", "encoder"),
    "all": ("classifier", "features", "members", "preprocessing", "encoder"),
}
"""The components of detectors that features at a place depend on; the score depends on all."""


class Guides(StrEnum):
    """Whose features are matched: those of calibration images, or, as in the paper, of ID test images."""

    CALIBRATION = "calibration"
    TEST = "test"


class Pairing(StrEnum):
    """Which guide an image gets: one that the seed draws, or the one at the image's own position in its set."""

    DRAWN = "drawn"
    IN_ORDER = "in-order"


class FeatureMatchingParams(ThreatParams):
    """Parameters of `FeatureMatching`.

    Attributes:
        match: The features f; `auto` takes those that the paper matched for the detector (`DetectorInfo.matched`).
        guides: Where the guides come from. `test` reproduces the paper, but lets the attack copy the score of a test
            image; nothing that is ranked may use it.
        pairing: Which guide each image gets.
        guides_per_image: Guides that each image is led by, one after the other.
        restarts: Starts for each guide.
        steps: Gradient steps of each start: N, which the paper sets to 100, 1,000 or 10,000, by detector.
        step_size: alpha, in units of eps.
        schedule: `constant` keeps the step, as the paper does; `cosine` shrinks it to about zero.
        update: `adamax` as in the paper's implementation, `plain` as in its Algorithm 1.
        noise: Radius of the ball of the initial noise, in units of eps; at 0 every start is the image itself.
    """

    match: Literal["auto", "score", "logits", "penultimate", "all"] = "auto"
    guides: Guides = Guides.CALIBRATION
    pairing: Pairing = Pairing.DRAWN
    guides_per_image: int = Field(default=1, ge=1, le=1000)
    restarts: int = Field(default=1, ge=1, le=1000)
    steps: int = Field(default=1000, ge=1, le=100_000)
    step_size: float = Field(default=0.01, gt=0, le=100, allow_inf_nan=False)
    schedule: Schedule = Schedule.CONSTANT
    update: Update = Update.ADAMAX
    noise: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)


class FeatureMatching(Threat):
    """Out-of-distribution attack on an encoder (Liang, Ma, Qian and Chen 2020), Algorithm 1.

    `feature_matching` of tests/threat_models/naive.py has it in full, and finds the same images bit for bit.

    From x' plus random noise, N steps x <- clip(x - alpha h(dJ/dx)) down J(x) = ||f(x) - f(x_in)||^2, where x_in is an
    ID image (the guide), h makes the gradient a unit one (L2) or takes its sign (L-infinity), and clip keeps x within
    eps of x' and in [0, 1]. With `adamax` (Kingma and Ba 2015, Algorithm 2) the step is that optimiser's on h(dJ/dx),
    as in the authors' code.

    The figure `mape` is the paper's MAPE as a fraction, mean|f(x) - f(x_in)| / max|f(x_in)|, of the closest match that
    was seen, over all guides and starts of an image; 0.01 is the paper's 1 %.

    Deviations: the score, not the end of the steps, chooses the image, among all iterates and the clean image;
    `last_images` holds the closest match (the iterate with the least J) of the start that gave the image, which is the
    paper's x_out, but for steps after it that only led away. The projection is onto ball and box together. The noise
    is uniform in the ball's volume, where the authors' code clips uniform pixels to the sphere. A guide whose features
    are not finite leads nobody.
    """

    params: FeatureMatchingParams

    @property
    def reads_test(self) -> bool:
        """Whether the guides are ID test images."""
        return self.params.guides is Guides.TEST

    def leaves_out(self, info: DetectorInfo, context: Context) -> tuple[str, ...]:
        """Also the components on which the matched features do not depend."""
        seen = _SEEN.get(self._place(info))
        return super().leaves_out(info, context) + tuple(c for c in info.components if seen and c not in seen)

    def _place(self, info: DetectorInfo) -> str:
        return info.matched if self.params.match == "auto" else self.params.match

    def cost(self, case: Case) -> Cost:
        """A gradient and at most one query a step, and one query for each end."""
        starts = self.params.guides_per_image * self.params.restarts
        return Cost(starts * self.params.steps, 1 + starts * (self.params.steps + 1))

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """A gradient a step, and a query where the features are not the score itself; one more query for each end."""
        norm, eps = ball_of(budget)
        pool, params = needed_pool(context), self.params
        if params.pairing is Pairing.IN_ORDER:
            guides = ordered_guides(ids, params.guides_per_image, pool=len(pool))
        else:
            # Draws from 0 on are those of the starting points.
            guides = drawn_guides(ids, params.guides_per_image, pool=len(pool), draw=-1, context=context)
        steps = PGDParams(steps=params.steps, step_size=params.step_size, schedule=params.schedule)
        plan = Plan(
            at=self._place(detector.info),
            norm=norm,
            eps=eps,
            sizes=tuple(eps * size for size in step_sizes(steps)),
            restarts=params.restarts,
            update=params.update,
            noise=params.noise,
        )
        result = Matching(detector, x, ids=ids, pool=pool, guides=guides, plan=plan, context=context).run(budget)
        return replace(result, notes=(TEST_GUIDES,)) if self.reads_test else result
