"""Which images are attacked in which direction, and what came of it, set by set."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.datasets.base import ImageSet
from bench.detectors.base import Detector
from bench.evaluation.crafting import craft
from bench.evaluation.images import TEST, Images
from bench.evaluation.plan import PlannedCell
from bench.evaluation.scoring import Scores, device_of, predict_classes
from bench.evaluation.targets import Targets
from bench.specs import Side
from bench.threat_models.base import Budget, Context, Threat

_SECONDS_BETWEEN_FIGURES = 0.5


@dataclass
class Assault:
    """Attacked scores and costs by set; sets that were not attacked have their clean scores and an empty status.

    `predicted` holds the classes of the clean images, and of the attacked OOD images where thresholds go by class.
    """

    scores: dict[str, Scores]
    predicted: dict[str, NDArray[np.int64]]
    norm: dict[str, Scores]
    gradients: dict[str, NDArray[np.int64]]
    queries: dict[str, NDArray[np.int64]]
    status: dict[str, NDArray[np.object_]]
    notes: list[str] = field(default_factory=list)


def untouched_assault(clean: Mapping[str, Scores], predicted: Mapping[str, NDArray[np.int64]]) -> Assault:
    """No attack at all."""
    return Assault(
        scores=dict(clean),
        predicted=dict(predicted),
        norm={name: np.zeros(len(scores), np.float32) for name, scores in clean.items()},
        gradients={name: np.zeros(len(scores), np.int64) for name, scores in clean.items()},
        queries={name: np.zeros(len(scores), np.int64) for name, scores in clean.items()},
        status={name: np.full(len(scores), "", dtype=object) for name, scores in clean.items()},
    )


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
    """

    planned: PlannedCell
    detector: Detector
    threat: Threat
    images: Images
    clean: Mapping[str, Scores]
    predicted: Mapping[str, NDArray[np.int64]]
    targets: Targets
    watch: Callable[[float, float | None], None]


def attack_sides(order: Order) -> Assault:
    """Raise the scores of all OOD sets, lower those of the ID test set, or both."""
    assault = untouched_assault(order.clean, order.predicted)
    side = order.planned.ingredients.side
    runs: list[tuple[Side, list[str], float | None]] = []
    if side is not Side.ALARM:
        runs.append((Side.EVADE, list(order.images.ood), order.targets.high))
    if side is not Side.EVADE:
        runs.append((Side.ALARM, [TEST], order.targets.low))
    sizes = [sum(len(order.images.sets()[name]) for name in names) for _, names, _ in runs]
    for number, (direction, names, target) in enumerate(runs):
        span = sum(sizes[:number]) / sum(sizes), sizes[number] / sum(sizes)
        context = _context(order, names, direction, target)
        _attack(order, names, replace(context, progress=_listener(order, names, assault, span)), assault)
    return assault


def _context(order: Order, names: Sequence[str], direction: Side, target: float | None) -> Context:
    ingredients, device = order.planned.ingredients, device_of(order.detector)
    return Context(
        side=direction,
        seed=ingredients.seed,
        stop_target=target if ingredients.early_stop else None,
        labels=torch.cat([order.images.sets()[name].labels for name in names]).to(device),
        pool=order.images.pool().to(device),
        micro_batch=ingredients.micro_batch,
    )


def _attack(order: Order, names: Sequence[str], context: Context, assault: Assault) -> None:
    """One run of the threat over several sets, written into the assault."""
    chosen = [order.images.sets()[name] for name in names]
    device = device_of(order.detector)
    done = craft(
        order.detector,
        order.threat,
        torch.cat([part.pixels() for part in chosen]).to(device),
        np.concatenate([order.clean[name] for name in names]),
        ids=torch.cat([part.ids for part in chosen]).to(device),
        budget=Budget(order.planned.ingredients.norm, order.planned.ingredients.eps),
        context=context,
    )
    by_class = order.planned.detector.thresholds.per_class and context.side is Side.EVADE
    predicted = predict_classes(order.detector, done.images, context.micro_batch) if by_class else None
    for name, rows in _slices(names, chosen).items():
        assault.scores[name], assault.norm[name] = done.scores[rows], done.norm[rows]
        assault.gradients[name], assault.queries[name] = done.gradients[rows], done.queries[rows]
        assault.status[name] = done.status[rows]
        if predicted is not None:
            assault.predicted[name] = predicted[rows]
    assault.notes += done.notes


def _listener(
    order: Order, names: Sequence[str], assault: Assault, span: tuple[float, float]
) -> Callable[[float, Tensor], None]:
    """Turns a threat's progress into a share done and an AUROC so far, computed only now and then.

    `span` is where this run begins in the whole, and the part of the whole that it is.
    """
    images = order.images
    rows = _slices(names, [images.sets()[name] for name in names])
    counting = [name for name in images.ood if images.card.ood[name].counts] or list(images.ood)
    last = 0.0

    def listen(share: float, scores: Tensor) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_FIGURES:
            return
        last = now
        best = scores.detach().cpu().numpy()
        current = {**assault.scores, **{name: best[part] for name, part in rows.items()}}
        known = len(best) == sum(len(current[name]) for name in names) and not np.isnan(best).any()
        figure = np.mean([metrics.auroc(current[TEST], current[name]) for name in counting]) if known else None
        order.watch(span[0] + span[1] * share, None if figure is None else float(figure))

    return listen


def _slices(names: Sequence[str], chosen: Sequence[ImageSet]) -> dict[str, slice]:
    """Where each set lies among the images of one run."""
    ends = np.cumsum([len(part) for part in chosen]).tolist()
    return {name: slice(end - len(part), end) for name, part, end in zip(names, chosen, ends, strict=True)}
