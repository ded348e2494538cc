"""What every cell of an attack begins with: the detector, the images, and the clean cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.detectors.base import Detector
from bench.detectors.searching import Copy
from bench.errors import CellError
from bench.evaluation.assembly import Before
from bench.evaluation.gate import identity_problem
from bench.evaluation.images import TEST, Images
from bench.evaluation.nesting import Points
from bench.evaluation.orders import Order
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.targets import Targets, stop_targets
from bench.evaluation.thresholds import Thresholds
from bench.evaluation.transferring import transferred_images
from bench.threat_models.base import Acceptance, Threat

Watcher = Callable[[float, float | None], None]
"""Called with (share done in [0, 1], AUROC so far or None)."""


@dataclass(frozen=True)
class Stage:
    """Everything but the attacker.

    Attributes:
        planned: The cell to compute.
        detector: On the device on which to compute.
        images: The track's sets.
        clean: The clean cell of the same detector, track and limit.
        watch: Hears of the progress.
        transferred: Images crafted on other detectors, (N, C, H, W) by detector and then by set.
        search: A copy of the detector that the first half of the steps may ask.
        points: Of a smaller radius, from which the attack goes on.
    """

    planned: PlannedCell
    detector: Detector
    images: Images
    clean: Cell
    watch: Watcher
    transferred: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)
    search: Copy | None = None
    points: Points | None = None

    def check_identity(self) -> None:
        """Raise unless the clean figures are those that the detector's card records.

        Raises:
            CellError: Weights or data are not those of the card.
        """
        if problem := identity_problem(self.planned, self.clean.meta):
            raise CellError(f"{self.planned.label}: {problem}")

    def made_from(self, cells: Sequence[Cell]) -> "Stage":
        """The same with what it takes from other cells: images of other detectors, or points of a smaller radius."""
        if not self.planned.ingredients.nested:
            return replace(self, transferred=transferred_images(cells, self.images))
        return replace(self, points=Points.of(cells[0], self.images)) if cells else self

    @cached_property
    def before(self) -> Before:
        """Scores and classes of the images as they are."""
        return Before.read(self.clean, self.images)

    @cached_property
    def thresholds(self) -> Thresholds:
        """Below which images are detected."""
        return Thresholds.read(self.planned.detector.thresholds, self.clean.meta.thresholds)

    @cached_property
    def acceptance(self) -> Acceptance:
        """The same, as attackers take it."""
        return Acceptance(self.thresholds.overall, self.thresholds.by_class, scale=self.clean.meta.iqr or 1.0)

    @cached_property
    def targets(self) -> Targets:
        """Where an attack on the score may stop."""
        ood = [self.before.scores[name] for name in self.images.ood]
        own = self.thresholds.named().values()
        return stop_targets(self.planned.ingredients.side, self.before.scores[TEST], ood, own)

    def order(self, threat: Threat, cheaper: tuple[Threat, ...] = ()) -> Order:
        """What an attack needs to know.

        Args:
            threat: The attacker.
            cheaper: The same with less to spend, the cheapest first.
        """
        return Order(
            self.planned,
            self.detector,
            threat,
            self.images,
            self.before.scores,
            self.before.predicted,
            self.targets,
            self.watch,
            self.transferred,
            self.acceptance,
            cheaper,
            self.search,
            self.points,
        )
