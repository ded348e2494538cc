"""The audit and what follows from it: which images of a run are attacked in which form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.cards.threat import Side
from bench.datasets.base import ImageSet
from bench.evaluation.auditing import Audit, audited_rows, first_that_ends
from bench.evaluation.images import TEST
from bench.evaluation.orders import Order, Run
from bench.evaluation.pieces import Piece, batch_of_a_search, slices
from bench.evaluation.planned import Part, Wave
from bench.evaluation.scoring import device_of
from bench.evaluation.spending import ROUNDS
from bench.metrics.scores import Scores, as_scores

_AUDITS_SHARE = 0.7
"""Of an attack with an audit, about the part that the audit takes."""

_SMALLEST_BATCH = 16
"""A pass of fewer images takes hardly less time."""


@dataclass(frozen=True)
class Task:
    """Images of a run that are attacked in one form.

    Attributes:
        form: Which.
        rows: (n,) positions in the run, ascending.
        before: The part of the run's work that comes before it, in [0, 1].
        share: The part that it is.
        batch: The most images of a pass of the attack.
    """

    form: int
    rows: NDArray[np.int64]
    before: float
    share: float
    batch: int


def tasks_of(order: Order, run: Run, part: Part, audited: Sequence[Piece]) -> list[Task]:
    """What a part has to do in one direction; a wave that has nothing to do has no tasks."""
    sets = {name: order.images.sets()[name] for name in run.names}
    evidence, everyone, full = order.evidence, np.arange(sum(map(len, sets.values()))), len(order.cheaper)
    size = batch_of_a_search(order.images.card.shape, order.planned.ingredients.micro_batch, device_of(order.detector))
    if evidence is None:
        if part.wave is Wave.REST or part.round > 0 or (order.threat.couples_images and part.number > 0):
            return []
        if order.threat.couples_images:
            return [Task(full, everyone, 0.0, 1.0, size)]
        wanted = [(full, everyone, (0.0, 1.0))]
    elif part.wave is Wave.AUDIT:
        if part.round > 0 and audit_of(order, run, audited, rounds=part.round).ended:
            return []
        rows = _drawn(order, sets, part.round)
        size = _batch(len(rows), size)
        weight = _AUDITS_SHARE / ROUNDS / (full + 1)
        first = part.round * _AUDITS_SHARE / ROUNDS
        wanted = [(form, rows, (first + number * weight, weight)) for number, form in enumerate(range(full, -1, -1))]
    else:
        audit = audit_of(order, run, audited)
        wanted = [(audit.form(), np.setdiff1d(everyone, audit.rows), (_AUDITS_SHARE, 1.0 - _AUDITS_SHARE))]
    return [Task(form, rows[part.rows(len(rows), size)], *span, size) for form, rows, span in wanted]


def _drawn(order: Order, sets: Mapping[str, ImageSet], number: int) -> NDArray[np.int64]:
    """(n,) positions of the images that are audited from one round on; none where it is no larger than that before."""
    assert order.evidence is not None
    now, before = (
        audited_rows(sets, order.evidence, order.planned.ingredients.seed, rounds) for rounds in (number + 1, number)
    )
    return np.setdiff1d(now, before) if number else now


def _batch(images: int, micro_batch: int) -> int:
    """Images of a pass of an audit, which has few: a whole micro-batch would be padding for the most part.

    It depends on the number of images in the round, never on how they are cut.
    """
    return min(micro_batch, max(_SMALLEST_BATCH, 1 << max(1, images - 1).bit_length() - 1))


def audit_of(order: Order, run: Run, pieces: Sequence[Piece], rounds: int = ROUNDS) -> Audit:
    """The audit of a run, after the first round that ends it.

    Args:
        order: What was attacked with what.
        run: In which direction.
        pieces: All pieces of the audit, and maybe others.
        rounds: How many rounds are done, unless an earlier one ended it.
    """
    return first_that_ends(_after(order, run, pieces, number) for number in range(1, rounds + 1))


def _after(order: Order, run: Run, pieces: Sequence[Piece], rounds: int) -> Audit:
    """The audit after so many rounds, in which images are attacked in all forms."""
    assert order.evidence is not None
    sets = {name: order.images.sets()[name] for name in run.names}
    rows = audited_rows(sets, order.evidence, order.planned.ingredients.seed, rounds)
    opposing = list(order.images.ood)
    return Audit(
        side=run.direction,
        places=slices(run.names, list(sets.values())),
        rows=rows,
        full=_scores_at(pieces, len(order.cheaper), rows),
        cheaper=[_scores_at(pieces, form, rows) for form in range(len(order.cheaper))],
        opponents={name: order.clean[name if run.direction is Side.ALARM else TEST] for name in opposing},
        counting=[name for name in opposing if order.images.card.ood[name].counts] or opposing,
        evidence=order.evidence,
        last=rounds == ROUNDS,
    )


def _scores_at(pieces: Sequence[Piece], form: int, rows: NDArray[np.int64]) -> Scores:
    """(n,) scores of some images after the attack in one form."""
    mine = [piece for piece in pieces if piece.form == form]
    where, scores = (np.concatenate(parts) for parts in ([p.rows for p in mine], [p.done.scores for p in mine]))
    order = np.argsort(where)
    return as_scores(scores[order][np.searchsorted(where[order], rows)])
