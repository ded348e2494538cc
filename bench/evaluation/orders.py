"""What an attack on the images of a cell needs to know: which sets in which direction, with what, in which forms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cards.threat import Goal, Loss, Side
from bench.detectors.base import Detector
from bench.detectors.searching import Copy
from bench.evaluation.images import GALLERY, TEST, Images
from bench.evaluation.nesting import Points
from bench.evaluation.planned import PlannedCell
from bench.evaluation.scoring import device_of, draws_of
from bench.evaluation.spending import Evidence
from bench.evaluation.targets import Targets
from bench.metrics.scores import Scores
from bench.threat_models.base import Acceptance, Context, Threat


@dataclass(frozen=True)
class Run:
    """One direction in which some sets are attacked.

    Attributes:
        direction: `EVADE` or `ALARM`.
        names: The sets, in the order of their images.
        target: Where the attack may stop, if the cell allows it.
        before: The part of the whole attack that comes before it, in [0, 1].
        share: The part that it is.
    """

    direction: Side
    names: list[str]
    target: float | None
    before: float
    share: float


@dataclass(frozen=True)
class Order:
    """What an attack needs to know.

    Attributes:
        planned: The cell.
        detector: On the device on which to compute.
        threat: The attacker.
        images: The track's sets.
        clean: Clean scores by set.
        predicted: The classes of the clean images by set.
        targets: Where the attack may stop, if the cell allows it.
        watch: Hears (share done, AUROC so far).
        transferred: Images that were crafted on other detectors, (N, C, H, W) by detector and then by set.
        acceptance: The detector's thresholds.
        cheaper: The attacker with less to spend, the cheapest first; where there are any, an audit chooses.
        search: A copy that the first half of the steps may ask.
        points: Of a smaller radius, which count too, and from which the cheaper forms set out.
    """

    planned: PlannedCell
    detector: Detector
    threat: Threat
    images: Images
    clean: Mapping[str, Scores]
    predicted: Mapping[str, NDArray[np.int64]]
    targets: Targets
    watch: Callable[[float, float | None], None]
    transferred: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)
    acceptance: Acceptance | None = None
    cheaper: tuple[Threat, ...] = ()
    search: Copy | None = None
    points: Points | None = None

    @property
    def forms(self) -> tuple[Threat, ...]:
        """The attacker in all its forms, the one with the full budget last."""
        return (*self.cheaper, self.threat)

    @property
    def evidence(self) -> Evidence | None:
        """On what evidence images get less than the full budget; None where all of them get it."""
        asked = self.planned.ingredients.evidence
        if asked is None or not self.cheaper or self.threat.couples_images or self.detector.info.random:
            return None
        sizes = {name: len(self.images.sets()[name]) for run in runs_of(self) for name in run.names}
        return asked if asked.spares(sizes) else None


def runs_of(order: Order) -> list[Run]:
    """The directions of an attack, and the sets of each."""
    side = order.planned.ingredients.side
    asked: list[tuple[Side, list[str], float | None]] = []
    if side is not Side.ALARM:
        asked.append((Side.EVADE, list(order.images.ood), order.targets.high))
    if side is not Side.EVADE:
        asked.append((Side.ALARM, [TEST], order.targets.low))
    sizes = [sum(len(order.images.sets()[name]) for name in names) for _, names, _ in asked]
    return [
        Run(*run, before=sum(sizes[:number]) / sum(sizes), share=sizes[number] / sum(sizes))
        for number, run in enumerate(asked)
    ]


def context_of(order: Order, names: Sequence[str], direction: Side, target: float | None) -> Context:
    """What the attacker knows when it attacks these sets in this direction."""
    ingredients, device, images = order.planned.ingredients, device_of(order.detector), order.images
    pool = images.test if order.threat.reads_test else images.calibration
    chosen = [other for other in order.transferred if all(name in order.transferred[other] for name in names)]
    return Context(
        side=direction,
        seed=ingredients.seed,
        stop_target=target if ingredients.early_stop else None,
        labels=torch.cat([images.sets()[name].labels for name in names]).to(device),
        pool=pool.pixels().to(device),
        pool_labels=pool.labels.to(device),
        goal=ingredients.goal or Goal.MISCLASSIFY,
        loss=ingredients.loss or Loss.MARGIN,
        acceptance=order.acceptance,
        draws=draws_of(order.detector),
        transferred={
            other: torch.from_numpy(np.concatenate([order.transferred[other][name] for name in names]))
            for other in chosen
        },
        micro_batch=ingredients.micro_batch,
        precision=order.detector.precision,
        search=order.search,
    )


def context_at(context: Context, rows: slice | Tensor, device: torch.device) -> Context:
    """What the attacker knows of one piece of the images, on the device; nobody hears of its progress.

    Args:
        context: Of all images of a run; crafted images of other detectors may lie on the CPU.
        rows: The piece; positions on the CPU.
        device: Where the detector lies.
    """
    part = context.at(rows)
    return replace(part, transferred={name: images.to(device) for name, images in part.transferred.items()})


def keeps_every(planned: PlannedCell, detector: Detector) -> bool:
    """Whether a cell keeps all its attacked images: others can be made from them, or fresh draws need them."""
    return not planned.ingredients.early_stop or detector.info.random or bool(planned.ingredients.nested)


def kept_of(order: Order, images: int) -> int:
    """How many attacked images of so many in a set the cell keeps."""
    return images if keeps_every(order.planned, order.detector) else min(GALLERY, images)
