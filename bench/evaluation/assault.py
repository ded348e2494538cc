"""Which images are attacked in which direction, and what came of it, set by set."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.allocator import give_back_freed_memory
from bench.cards.threat import Goal, Loss, Side
from bench.detectors.base import Detector
from bench.evaluation.crafting import Crafted, craft
from bench.evaluation.halving import halved, in_batches_that_fit
from bench.evaluation.images import GALLERY, TEST, Images
from bench.evaluation.pieces import WHOLE, Piece, Pieces, pieces, slices
from bench.evaluation.pixels import Pixels
from bench.evaluation.planned import Part, PlannedCell
from bench.evaluation.scoring import DRAWS, device_of, predict_classes
from bench.evaluation.targets import Targets
from bench.metrics.scores import Scores
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
        images: Attacked images; only of sets that were attacked, and where the cell keeps few, the first ones.
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


def attack_sides(order: Order, done: Pieces | None = None) -> Assault:
    """Raise the scores of all OOD sets, lower those of the ID test set, or both.

    Args:
        order: What to attack with what.
        done: The pieces of all runs, where they are attacked already.
    """
    assault = untouched_assault(order.clean, order.predicted)
    found = done if done is not None else attack_part(order, WHOLE, assault)
    for run in runs_of(order):
        _gather(order, run.names, found[run.direction], assault)
    return assault


def attack_part(order: Order, part: Part, assault: Assault | None = None) -> dict[Side, list[Piece]]:
    """Attack some of the images, or all of them.

    Args:
        order: What to attack with what.
        part: Which images.
        assault: Where progress finds the scores of earlier runs; None where there are none.
    """
    so_far = assault if assault is not None else untouched_assault(order.clean, order.predicted)
    found: dict[Side, list[Piece]] = {}
    for run in runs_of(order):
        context = context_of(order, run.names, run.direction, run.target)
        listener = _listener(order, run.names, so_far, (run.before, run.share))
        found[run.direction] = list(_attack(order, run.names, replace(context, progress=listener), part, so_far))
    return found


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
        draws=DRAWS if order.detector.info.random else 0,
        transferred={
            other: torch.from_numpy(np.concatenate([order.transferred[other][name] for name in names]))
            for other in chosen
        },
        micro_batch=ingredients.micro_batch,
        precision=order.detector.precision,
    )


def _attack(order: Order, names: Sequence[str], context: Context, part: Part, assault: Assault) -> Iterator[Piece]:
    """One run of the threat over several sets, piece by piece; scores are written into the assault as they come."""
    chosen = [order.images.sets()[name] for name in names]
    device, ingredients = device_of(order.detector), order.planned.ingredients
    pixels, ids = Pixels(chosen, device), torch.cat([part.ids for part in chosen]).to(device)
    clean = np.concatenate([order.clean[name] for name in names])
    places = slices(names, chosen)
    best = torch.from_numpy(clean.copy())
    whole = order.threat.couples_images
    mine = (WHOLE if whole and part.number == 0 else part).rows(len(pixels), context.micro_batch)
    if whole and part.number > 0:
        mine = slice(0, 0)
    size = context.micro_batch
    for within in pieces(mine.stop - mine.start, pixels.shape, context.micro_batch, whole=whole):
        rows = slice(mine.start + within.start, mine.start + within.stop)

        def attacked(size: int, rows: slice = rows) -> tuple[Crafted, NDArray[np.int64]]:
            asked = context_at(replace(context, micro_batch=size), rows, device, best)
            crafted = craft(
                order.detector, order.threat, pixels[rows], clean[rows], ids=ids[rows],
                budget=Budget(ingredients.norm, ingredients.eps), context=asked,
            )  # fmt: skip
            return crafted, predict_classes(order.detector, crafted.images, size)

        (crafted, predicted), size = in_batches_that_fit(attacked, size)
        crafted.said += halved(context.micro_batch, size, "some images were attacked")
        best[rows] = torch.from_numpy(crafted.scores)
        for name, place in places.items():
            assault.scores[name] = best[place].numpy()
        give_back_freed_memory()
        kept = dict(_kept(order, places, rows, crafted.images))
        yield Piece(done=crafted.without_images(), predicted=predicted, kept=kept)


def _kept(
    order: Order, places: Mapping[str, slice], rows: slice, images: Tensor
) -> Iterator[tuple[str, tuple[int, NDArray[np.float32]]]]:
    """Of these images, which are those rows of a run, the ones that a cell keeps, by set."""
    for name, place in places.items():
        end = place.start + _most_kept(order, place.stop - place.start)
        first, last = max(rows.start, place.start), min(rows.stop, end)
        if first < last:
            kept = images[first - rows.start : last - rows.start].cpu().numpy()
            yield name, (first - place.start, np.array(kept, np.float32))


def _most_kept(order: Order, images: int) -> int:
    return images if keeps_every(order.planned, order.detector) else min(GALLERY, images)


def _gather(order: Order, names: Sequence[str], found: Sequence[Piece], assault: Assault) -> None:
    """The pieces of one run, written into the assault."""
    chosen = [order.images.sets()[name] for name in names]
    for name, part in zip(names, chosen, strict=True):
        assault.images[name] = np.empty((_most_kept(order, len(part)), *part.images.shape[1:]), np.float32)
    for piece in found:
        for name, (first, images) in piece.kept.items():
            assault.images[name][first : first + len(images)] = images
    done, predicted = Crafted.joined([piece.done for piece in found]), np.concatenate([p.predicted for p in found])
    _write(assault, slices(names, chosen), done, predicted)


def _write(assault: Assault, places: Mapping[str, slice], done: Crafted, predicted: NDArray[np.int64]) -> None:
    """The outcome of a run, set by set."""
    for name, rows in places.items():
        assault.scores[name], assault.norm[name] = done.scores[rows], done.norm[rows]
        assault.gradients[name], assault.queries[name] = done.gradients[rows], done.queries[rows]
        assault.status[name], assault.predicted[name] = done.status[rows], predicted[rows]
        assault.last_scores[name], assault.trace[name] = done.last_scores[rows], done.trace[rows]
        for figure, values in done.figures.items():
            assault.figures.setdefault(figure, {})[name] = values[rows]
    assault.notes += done.notes


def keeps_every(planned: PlannedCell, detector: Detector) -> bool:
    """Whether a cell keeps all its attacked images: others can be made from them, or fresh draws need them."""
    return not planned.ingredients.early_stop or detector.info.random


def context_at(context: Context, rows: slice | Tensor, device: torch.device, best: Tensor | None = None) -> Context:
    """What the attacker knows of one piece of the images, on the device.

    Args:
        context: Of all images of a run; crafted images of other detectors may lie on the CPU.
        rows: The piece; positions on the CPU.
        device: Where the detector lies.
        best: (N,) scores of all images, in which those of this piece are written as the attack goes on; None reports
            to nobody.
    """
    part = context.at(rows)
    part = replace(part, transferred={name: images.to(device) for name, images in part.transferred.items()})
    if best is None or not isinstance(rows, slice):
        return part

    def hear(share: float, scores: Tensor) -> None:
        if len(scores) == rows.stop - rows.start:
            best[rows] = scores.detach().to(best)
        context.progress((rows.start + share * (rows.stop - rows.start)) / len(best), best)

    return replace(part, progress=hear)


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
