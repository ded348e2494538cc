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
from bench.cards.threat import Side
from bench.evaluation.auditing import evidence_figures
from bench.evaluation.crafting import Crafted, craft
from bench.evaluation.halving import halved, in_batches_that_fit
from bench.evaluation.images import TEST
from bench.evaluation.orders import Order, Run, context_at, context_of, kept_of, runs_of
from bench.evaluation.pieces import WHOLE, Piece, Pieces, pieces, slices
from bench.evaluation.pixels import Pixels
from bench.evaluation.planned import Part, Wave
from bench.evaluation.results import EvidenceFigures
from bench.evaluation.scoring import device_of, predict_classes
from bench.evaluation.spending import ROUNDS, cheaper_forms
from bench.evaluation.waves import Task, audit_of, tasks_of
from bench.metrics.scores import Scores
from bench.threat_models.base import Budget, Context

_SECONDS_BETWEEN_FIGURES = 0.5


@dataclass
class AttackedSets:
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
        plain: Of audited images what the form came to that the others were attacked with, (positions in the set,
            images) by set; only in a sweep whose radii are nested.
        evidence: Why some images had less than the full budget; None where all of them had it.
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
    plain: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = field(default_factory=dict)
    evidence: EvidenceFigures | None = None
    notes: list[str] = field(default_factory=list)


def unattacked(clean: Mapping[str, Scores], predicted: Mapping[str, NDArray[np.int64]]) -> AttackedSets:
    """No attack at all."""
    return AttackedSets(
        scores=dict(clean),
        last_scores=dict(clean),
        predicted=dict(predicted),
        norm={name: np.zeros(len(scores), np.float32) for name, scores in clean.items()},
        gradients={name: np.zeros(len(scores), np.int64) for name, scores in clean.items()},
        queries={name: np.zeros(len(scores), np.int64) for name, scores in clean.items()},
        status={name: np.full(len(scores), "", dtype=object) for name, scores in clean.items()},
    )


def attack_sides(order: Order, done: Pieces | None = None) -> AttackedSets:
    """Raise the scores of all OOD sets, lower those of the ID test set, or both.

    Args:
        order: What to attack with what.
        done: The pieces of all runs, where they are attacked already.
    """
    attacks = unattacked(order.clean, order.predicted)
    found = done if done is not None else _attack_all(order, attacks)
    for run in runs_of(order):
        _gather(order, run, found[run.direction], attacks)
    return attacks


def _attack_all(order: Order, attacks: AttackedSets) -> Pieces:
    """All images, in one process."""
    if order.evidence is None:
        return attack_part(order, WHOLE, so_far=attacks)
    found: Pieces = {run.direction: [] for run in runs_of(order)}
    for part in (*(Part(wave=Wave.AUDIT, round=number) for number in range(ROUNDS)), Part(wave=Wave.REST)):
        more = attack_part(order, part, found, so_far=attacks)
        found = {direction: [*pieces, *more[direction]] for direction, pieces in found.items()}
    return found


def attack_part(
    order: Order, part: Part, audited: Pieces | None = None, *, so_far: AttackedSets | None = None
) -> dict[Side, list[Piece]]:
    """Attack some of the images, or all of them.

    Args:
        order: What to attack with what.
        part: Which images.
        audited: The pieces of the audit so far, where these are images of a later round or the other ones.
        so_far: Where progress finds the scores of earlier runs; None where there are none.
    """
    attacks = so_far if so_far is not None else unattacked(order.clean, order.predicted)
    found: dict[Side, list[Piece]] = {}
    for run in runs_of(order):
        context = context_of(order, run.names, run.direction, run.target)
        tasks = tasks_of(order, run, part, () if audited is None else audited[run.direction])
        found[run.direction] = [piece for task in tasks for piece in _attack(order, run, context, task, attacks)]
    return found


def _attack(order: Order, run: Run, context: Context, task: Task, attacks: AttackedSets) -> Iterator[Piece]:
    """One form of the threat over images of several sets, piece by piece; their scores are heard of as they come."""
    chosen = [order.images.sets()[name] for name in run.names]
    device, ingredients, threat = device_of(order.detector), order.planned.ingredients, order.forms[task.form]
    pixels, ids = Pixels(chosen, device), torch.cat([part.ids for part in chosen])
    clean = np.concatenate([order.clean[name] for name in run.names])
    places = slices(run.names, chosen)
    best = torch.from_numpy(np.concatenate([attacks.scores[name] for name in run.names]))
    whole, count, full = threat.couples_images, len(task.rows), task.form == len(order.cheaper)
    span = run.before + run.share * task.before, run.share * task.share
    listener = _listener(order, run.names, attacks, span)
    size = context.micro_batch
    for within in pieces(count, pixels.shape, context.micro_batch, whole=whole):
        rows = task.rows[within]
        positions = torch.from_numpy(rows)
        heard = _Heard(best, positions, listener, within.start / count, len(rows) / count)
        points = order.points.at(run.names, rows, full=full) if order.points is not None else None
        earlier = None if points is None else torch.from_numpy(points).to(device)
        asked = context_at(context, positions, device)
        asked = replace(asked, progress=heard, earlier=earlier, onward=not full)

        def attacked(
            size: int, rows: NDArray[np.int64] = rows, asked: Context = asked, earlier: Tensor | None = earlier
        ) -> tuple[Crafted, NDArray[np.int64]]:
            crafted = craft(
                order.detector,
                threat,
                pixels.at(rows),
                clean[rows],
                ids=ids[torch.from_numpy(rows)].to(device),
                budget=Budget(ingredients.norm, ingredients.eps),
                context=replace(asked, micro_batch=size),
                earlier=earlier,
                batch=min(task.batch, size),
            )
            return crafted, predict_classes(order.detector, crafted.images, size)

        (crafted, predicted), size = in_batches_that_fit(attacked, size)
        crafted.said += halved(context.micro_batch, size, "some images were attacked")
        best[positions] = torch.from_numpy(crafted.scores)
        for name, place in places.items():
            attacks.scores[name] = best[place].numpy()
        give_back_freed_memory()
        kept = dict(_kept(order, places, rows, crafted.images))
        yield Piece(rows=rows, form=task.form, done=crafted.without_images(), predicted=predicted, kept=kept)


@dataclass(frozen=True)
class _Heard:
    """Hears of the scores of one piece, and passes on those of the whole run.

    Attributes:
        best: (N,) of all images, into which those of the piece are written.
        rows: Which these are.
        listener: Hears (share done, the scores of all images).
        before: The part of the task that comes before the piece.
        share: The part that it is.
    """

    best: Tensor
    rows: Tensor
    listener: Callable[[float, Tensor], None]
    before: float
    share: float

    def __call__(self, share: float, scores: Tensor) -> None:
        if len(scores) == len(self.rows):
            self.best[self.rows] = scores.detach().to(self.best)
        self.listener(self.before + share * self.share, self.best)


def _kept(
    order: Order, places: Mapping[str, slice], rows: NDArray[np.int64], images: Tensor
) -> Iterator[tuple[str, tuple[NDArray[np.int64], NDArray[np.float32]]]]:
    """Of these images, which are those rows of a run, the ones that a cell keeps, by set."""
    for name, place in places.items():
        end = place.start + kept_of(order, place.stop - place.start)
        mine = (rows >= place.start) & (rows < end)
        if mine.any():
            kept = images[torch.from_numpy(mine).to(images.device)].cpu().numpy()
            yield name, (rows[mine] - place.start, np.array(kept, np.float32))


def _gather(order: Order, run: Run, found: Sequence[Piece], attacks: AttackedSets) -> None:
    """The pieces of one run, written into the attacked sets."""
    chosen = [order.images.sets()[name] for name in run.names]
    audit = audit_of(order, run, found) if order.evidence is not None else None
    form = len(order.cheaper) if audit is None else audit.form()
    audited = audit.rows if audit is not None else np.empty(0, np.int64)
    full = len(order.cheaper)
    last: list[Piece] = []
    tried: list[Piece] = []
    for piece in found:
        counts = piece.form == full or (piece.form == form and not np.isin(piece.rows, audited).any())
        (last if counts else tried).append(piece)
    for name, part in zip(run.names, chosen, strict=True):
        attacks.images[name] = np.empty((kept_of(order, len(part)), *part.images.shape[1:]), np.float32)
    for piece in last:
        for name, (positions, images) in piece.kept.items():
            attacks.images[name][positions] = images
    if order.planned.ingredients.nested and form < full:
        for piece in tried:
            if piece.form == form:
                _put_aside(attacks, piece)
    where = np.argsort(np.concatenate([piece.rows for piece in last]))
    done = Crafted.joined([piece.done for piece in last]).at(where)
    full_gradients = (done.gradients if form == full else done.gradients[audited]).copy()
    for piece in tried:  # what the audit spent on the cheaper forms was spent
        done.gradients[piece.rows] += piece.done.gradients
        done.queries[piece.rows] += piece.done.queries
    _write(attacks, slices(run.names, chosen), done, np.concatenate([piece.predicted for piece in last])[where])
    if audit is not None:
        params = {} if form == full else cheaper_forms(order.planned.params)[form]
        attacks.evidence = evidence_figures(audit, form, params, done.scores, full_gradients)


def _put_aside(attacks: AttackedSets, piece: Piece) -> None:
    """The images of a piece that the cell does not report, and that a larger radius goes on from."""
    for name, found in piece.kept.items():
        before = attacks.plain.get(name)
        rows, images = found
        if before is not None:
            rows, images = np.concatenate([before[0], rows]), np.concatenate([before[1], images])
        attacks.plain[name] = rows, images


def _write(attacks: AttackedSets, places: Mapping[str, slice], done: Crafted, predicted: NDArray[np.int64]) -> None:
    """The outcome of a run, set by set."""
    for name, rows in places.items():
        attacks.scores[name], attacks.norm[name] = done.scores[rows], done.norm[rows]
        attacks.gradients[name], attacks.queries[name] = done.gradients[rows], done.queries[rows]
        attacks.status[name], attacks.predicted[name] = done.status[rows], predicted[rows]
        attacks.last_scores[name], attacks.trace[name] = done.last_scores[rows], done.trace[rows]
        for figure, values in done.figures.items():
            attacks.figures.setdefault(figure, {})[name] = values[rows]
    attacks.notes += done.notes


def _listener(
    order: Order, names: Sequence[str], attacks: AttackedSets, span: tuple[float, float]
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
        current = {**attacks.scores, **{name: best[part] for name, part in rows.items()}}
        known = (
            not order.planned.threat.min_norm
            and len(best) == sum(len(current[name]) for name in names)
            and not np.isnan(best).any()
        )
        figure = np.mean([metrics.auroc(current[TEST], current[name]) for name in counting]) if known else None
        order.watch(span[0] + span[1] * share, None if figure is None else float(figure))

    return listen
