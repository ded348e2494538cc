"""The audit and what follows from it: which images of a run are attacked in which form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.cards.threat import Side
from bench.evaluation.auditing import Audit, audited_rows
from bench.evaluation.images import TEST
from bench.evaluation.orders import Order, Run
from bench.evaluation.pieces import Piece, slices
from bench.evaluation.planned import Part, Wave
from bench.metrics.scores import Scores, as_scores

_AUDITS_SHARE = 0.7
"""Of an attack with an audit, about the part that the audit takes."""


@dataclass(frozen=True)
class Task:
    """Images of a run that are attacked in one form.

    Attributes:
        form: Which.
        rows: (n,) positions in the run, ascending.
        before: The part of the run's work that comes before it, in [0, 1].
        share: The part that it is.
    """

    form: int
    rows: NDArray[np.int64]
    before: float
    share: float


def tasks_of(order: Order, run: Run, part: Part, audited: Sequence[Piece]) -> list[Task]:
    """What a part has to do in one direction; a wave that has nothing to do has no tasks."""
    sets = {name: order.images.sets()[name] for name in run.names}
    evidence, everyone, full = order.evidence, np.arange(sum(map(len, sets.values()))), len(order.cheaper)
    if evidence is None:
        wanted = [] if part.wave is Wave.REST else [(full, everyone, 0.0, 1.0)]
    else:
        rows = audited_rows(sets, evidence, order.planned.ingredients.seed)
        if part.wave is Wave.AUDIT:
            weight = _AUDITS_SHARE / (full + 1)
            wanted = [(form, rows, number * weight, weight) for number, form in enumerate(range(full, -1, -1))]
        else:
            form = audit_of(order, run, audited).form()
            wanted = [(form, np.setdiff1d(everyone, rows), _AUDITS_SHARE, 1.0 - _AUDITS_SHARE)]
    whole, size = order.threat.couples_images, order.planned.ingredients.micro_batch
    if whole:
        return [Task(*task) for task in wanted if part.number == 0]
    return [Task(form, rows[part.rows(len(rows), size)], *span) for form, rows, *span in wanted]


def audit_of(order: Order, run: Run, pieces: Sequence[Piece]) -> Audit:
    """The audit of a run whose audited images are attacked in all forms.

    Args:
        order: What was attacked with what.
        run: In which direction.
        pieces: All pieces of the audit, and maybe others.
    """
    assert order.evidence is not None
    sets = {name: order.images.sets()[name] for name in run.names}
    rows = audited_rows(sets, order.evidence, order.planned.ingredients.seed)
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
    )


def _scores_at(pieces: Sequence[Piece], form: int, rows: NDArray[np.int64]) -> Scores:
    """(n,) scores of some images after the attack in one form."""
    mine = [piece for piece in pieces if piece.form == form]
    where, scores = (np.concatenate(parts) for parts in ([p.rows for p in mine], [p.done.scores for p in mine]))
    order = np.argsort(where)
    return as_scores(scores[order][np.searchsorted(where[order], rows)])
