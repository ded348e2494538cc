"""The checks of an attack on decisions: how many ID images hold, in the place of an AUROC."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.detectors.untouched import untouched
from bench.errors import CellError
from bench.evaluation.crafting import Crafted, attempt_attack
from bench.evaluation.images import TEST
from bench.evaluation.orders import context_of
from bench.evaluation.results import Cell
from bench.evaluation.scoring import device_of, draws_of
from bench.evaluation.stage import Stage
from bench.metrics.scores import Scores
from bench.soundness.lab import Lab
from bench.soundness.view import BySet, View, flat, split
from bench.threat_models.base import Budget, Context, Threat
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import FoolObjective


class FoolView(View):
    """ID test images that are classified correctly as they are; scores are the criterion of `FoolObjective`.

    An image is fooled where its criterion is above 0: misclassified, and accepted where that is the goal. The figure is
    the share of images that hold, which an attack lowers as it lowers an AUROC.
    """

    @property
    def unit(self) -> str:
        """What the figure is, in words."""
        return "share that holds"

    def auroc(self, scores: BySet | None = None) -> float:
        """The share of images that hold with these criteria; None takes the cell's own."""
        return float(np.mean(self._holds(scores)))

    def conservative_auroc(self) -> float:
        """The same: there are no ties."""
        return self.auroc()

    def compare(self, scores: BySet) -> metrics.Difference:
        """The share with these criteria less the cell's own, with the paired error."""
        moved = self._holds(scores).astype(np.float64) - self._holds(None)
        se = float(np.std(moved) / np.sqrt(len(moved)))
        return metrics.Difference(difference=float(np.mean(moved)), se=se, p_value=1.0)

    def error(self, difference: metrics.Difference) -> float:
        """Two standard errors of a difference; without a spread the rule of three."""
        return 2.0 * difference.se if difference.se > 0 else min(1.0, 3.0 / self.count)

    def _holds(self, scores: BySet | None) -> NDArray[np.bool_]:
        return flat(self.attacked if scores is None else scores) <= 0


class FoolLab(Lab):
    """The fixed images of a cell of side `fool`."""

    def attack(
        self,
        threat: Threat,
        *,
        eps: float | None = None,
        stop: bool = True,
        seed: int | None = None,
        detector: Detector | None = None,
    ) -> Crafted:
        """As `Lab.attack`; nothing stops early, and no image is given back for its score."""
        chosen = self.detector if detector is None else detector
        context = replace(self.context, seed=self.context.seed if seed is None else seed, draws=draws_of(chosen))
        budget = self.budget if eps is None else Budget(self.budget.norm, eps)
        done = attempt_attack(chosen, threat, self.x, ids=self.ids, budget=budget, context=context)
        self.allowance.spend(gradients=int(done.gradients.sum()), queries=int(done.queries.sum()) + len(self.x))
        return done

    def scores(self, done: Crafted) -> Mapping[str, NDArray[np.floating]]:
        """The criteria of attacked images."""
        return split(self.score(done.images), self.view)

    def score(self, images: Tensor, detector: Detector | None = None, *, fresh: int = 1) -> Scores:
        """(N,) criteria of as many images as there are fixed ones."""
        self.allowance.spend(queries=len(images))
        return judged(self.detector if detector is None else detector, images, self.ids, self.context)


def judged(detector: Detector, images: Tensor, ids: Tensor, context: Context) -> Scores:
    """(N,) by how much each image is fooled, below 0 where it is not; see `FoolObjective`."""
    objective = FoolObjective(detector, ids, context)
    with untouched(detector):
        found, _ = Oracle(detector, ids=ids, context=context, objective=objective).evaluate(images)
    values: Scores = found.cpu().numpy()
    return values


def fool_views(cell: Cell, stage: Stage, threat: Threat) -> Sequence[FoolView]:
    """The one attacked side of a cell of side `fool`, judged anew from its images.

    Raises:
        CellError: The cell does not hold all images, or a criterion is not finite.
    """
    test, device = stage.images.test, device_of(stage.detector)
    rows = np.flatnonzero(stage.before.predicted[TEST] == test.labels.numpy())
    chosen = torch.from_numpy(rows)
    context = context_of(stage.order(threat), [TEST], Side.FOOL, None).at(chosen.to(device))
    ids = test.ids[chosen].to(device)
    attacked = torch.from_numpy(_images_of(cell, rows)).to(device)
    before, after = (judged(stage.detector, x, ids, context) for x in (test.pixels(chosen).to(device), attacked))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise CellError(f"{stage.planned.label}: the decision on some images is not finite.")
    return [
        FoolView(
            side=Side.FOOL,
            rows={TEST: rows},
            clean={TEST: before},
            attacked={TEST: after},
            opponents=(),
            target=None,
            iqr=metrics.iqr(before) or 1.0,
        )
    ]


def _images_of(cell: Cell, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The attacked images at these positions of the test set."""
    first = np.flatnonzero(cell.samples["set"].to_numpy() == TEST)[rows]
    at = {int(row): position for position, row in enumerate(cell.arrays.get("image_rows", ()))}
    if any(int(row) not in at for row in first):
        raise CellError(f"cell {cell.meta.key[:12]} does not hold all its images; run it again.")
    images: NDArray[np.float32] = np.ascontiguousarray(cell.arrays["images"][[at[int(row)] for row in first]])
    return images
