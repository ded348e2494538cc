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
from bench.evaluation.scoring import DRAWS, device_of, predict_classes
from bench.evaluation.targets import Targets
from bench.metrics.scores import Scores
from bench.specs import Goal, Loss, Side
from bench.threat_models.base import Acceptance, Budget, Context, Threat

_SECONDS_BETWEEN_FIGURES = 0.5


@dataclass
class Assault:
    """Attacked scores and costs by set; sets that were not attacked have their clean scores and an empty status.

    Attributes:
        scores: After the attack.
        last_scores: Of the last iterates.
        predicted: The classes that the detector predicts for the images after the attack.
        norm: Distances from the clean images.
        gradients: Spent.
        queries: Spent.
        status: How each image's attack ended.
        trace: Best score so far along the attack, (N, T); only of sets that were attacked.
        images: (N, C, H, W) attacked images; only of sets that were attacked.
        figures: What else the threat measured, by name and then by set.
        notes: One sentence for everything that was not as it should be.
    """

    scores: dict[str, Scores]
    last_scores: dict[str, Scores]
    predicted: dict[str, NDArray[np.int64]]
    norm: dict[str, Scores]
    gradients: dict[str, NDArray[np.int64]]
    queries: dict[str, NDArray[np.int64]]
    status: dict[str, NDArray[np.object_]]
    trace: dict[str, Scores] = field(default_factory=dict)
    images: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    figures: dict[str, dict[str, Scores]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def untouched_assault(clean: Mapping[str, Scores], predicted: Mapping[str, NDArray[np.int64]]) -> Assault:
    """No attack at all."""
    return Assault(
        scores=dict(clean),
        last_scores=dict(clean),
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
        transferred: Images that were crafted on other detectors, (N, C, H, W) by detector and then by set.
        acceptance: The detector's thresholds.
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
        context = context_of(order, names, direction, target)
        _attack(order, names, replace(context, progress=_listener(order, names, assault, span)), assault)
    return assault


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
        draws=DRAWS if order.detector.info.random else 0,
        transferred={
            other: torch.from_numpy(np.concatenate([order.transferred[other][name] for name in names])).to(device)
            for other in chosen
        },
        micro_batch=ingredients.micro_batch,
        precision=order.detector.precision,
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
    predicted = predict_classes(order.detector, done.images, context.micro_batch)
    adversarial = done.images.cpu().numpy()
    for name, rows in slices(names, chosen).items():
        assault.scores[name], assault.norm[name] = done.scores[rows], done.norm[rows]
        assault.gradients[name], assault.queries[name] = done.gradients[rows], done.queries[rows]
        assault.status[name], assault.predicted[name] = done.status[rows], predicted[rows]
        assault.last_scores[name], assault.trace[name] = done.last_scores[rows], done.trace[rows]
        assault.images[name] = adversarial[rows]
        for figure, values in done.figures.items():
            assault.figures.setdefault(figure, {})[name] = values[rows]
    assault.notes += done.notes


def _listener(
    order: Order, names: Sequence[str], assault: Assault, span: tuple[float, float]
) -> Callable[[float, Tensor], None]:
    """Turns a threat's progress into a share done and an AUROC so far, computed only now and then.

    `span` is where this run begins in the whole, and the part of the whole that it is.
    """
    images = order.images
    rows = slices(names, [images.sets()[name] for name in names])
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


def slices(names: Sequence[str], chosen: Sequence[ImageSet]) -> dict[str, slice]:
    """Where each set lies among the images of one run."""
    ends = np.cumsum([len(part) for part in chosen]).tolist()
    return {name: slice(end - len(part), end) for name, part, end in zip(names, chosen, ends, strict=True)}
