"""The worst case over several attacks, image by image and before any figure: what a leaderboard ranks by.

max over the clean image and what each attack made of it: `worst_case` of tests/threat_models/naive.py.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bench import metrics
from bench.cards.threat import Goal, Side
from bench.errors import CellError
from bench.evaluation.attacked_sets import AttackedSets, unattacked
from bench.evaluation.cell import attack_outcome
from bench.evaluation.fooling import CLASS_SCORE, fool_outcome, outcomes_of
from bench.evaluation.images import TEST
from bench.evaluation.results import Cell, CellMeta
from bench.evaluation.scoring import Draws, device_of, score_images
from bench.evaluation.stage import Stage
from bench.metrics.scores import Scores, as_scores

MEMBER = "member"
"""The column that says which member an image comes from: the position in `CellMeta.members`, -1 for the clean one."""


def worst_cell(stage: Stage, members: Mapping[str, Cell], notes: Sequence[str] = ()) -> Cell:
    """Of every image the outcome that is worst for the detector; the image as it is counts too.

    Args:
        stage: The cell to compute, with what it needs.
        members: The cells of the single attacks, by name: same detector, images, side, norm and radius.
        notes: What a reader should know of the members that are missing.

    Raises:
        CellError: There is no member, or one holds other images.
    """
    stage.check_identity()
    started = time.monotonic()
    if not members:
        raise CellError(f"{stage.planned.label}: none of its attacks could be run; {' '.join(notes)}")
    fool = stage.planned.ingredients.side is Side.FOOL
    attacks = unattacked(stage.before.scores, stage.before.predicted)
    attacks.notes += notes
    attacked = [TEST] if fool else _attacked(stage)
    for name in attacked:
        tables = [_rows(stage, cell, name) for cell in members.values()]
        chosen = _worst_fool(stage, tables) if fool else _worst_score(stage, name, tables)
        _write(attacks, name, tables, chosen)
        _keep_images(stage, attacks, name, list(members.values()), chosen)
    if stage.detector.info.random and not fool:
        _score_afresh(stage, attacks, attacked)
    done = fool_outcome(stage, attacks, started) if fool else attack_outcome(stage, attacks, started)
    figures = {name: _figure(cell.meta) for name, cell in members.items()}
    # What one of its attacks sees, the worst case has seen.
    missed = set.intersection(*(set(cell.meta.leaves_out) for cell in members.values()))
    seconds = done.meta.seconds + sum(cell.meta.seconds for cell in members.values())
    found = {"members": figures, "leaves_out": tuple(sorted(missed)), "seconds": seconds}
    return Cell(done.meta.model_copy(update=found), done.samples, done.arrays)


def _attacked(stage: Stage) -> list[str]:
    side = stage.planned.ingredients.side
    ood = list(stage.images.ood) if side is not Side.ALARM else []
    return [*ood, *([TEST] if side is not Side.EVADE else [])]


def _rows(stage: Stage, cell: Cell, name: str) -> dict[str, NDArray[np.generic]]:
    part = cell.samples[cell.samples["set"] == name]
    ids = stage.images.sets()[name].ids.numpy()
    if not np.array_equal(part["id"].to_numpy(), ids):
        raise CellError(f"{stage.planned.label}: the cell {cell.meta.key[:12]} holds other images; run it again.")
    return {column: part[column].to_numpy() for column in part.columns}


def _worst_score(stage: Stage, name: str, tables: list[dict[str, NDArray[np.generic]]]) -> NDArray[np.int64]:
    """(N,) the member whose score is worst, -1 where the image as it is is as bad."""
    sign = -1.0 if name == TEST else 1.0
    scores = np.stack([sign * stage.before.scores[name], *(sign * _floats(t, "score") for t in tables)])
    return np.asarray(scores.argmax(axis=0) - 1, dtype=np.int64)


def _worst_fool(stage: Stage, tables: list[dict[str, NDArray[np.generic]]]) -> NDArray[np.int64]:
    """(N,) the member that fooled the classifier undetected, else at all, with the highest score; -1 where none did."""
    eps = stage.planned.ingredients.eps
    ranks = [np.full(len(stage.images.test), -np.inf)]
    spread = stage.clean.meta.iqr or 1.0
    for table in tables:
        predicted = table["attacked_predicted"].astype(np.int64)
        outcomes = outcomes_of(stage, predicted=predicted, scores=_floats(table, "score"), norms=_floats(table, "norm"))
        wrong = metrics.wrong_within(outcomes, eps)
        margin = (outcomes.scores - outcomes.thresholds) / spread
        # All that is accepted above all that is not, by a squashed margin that keeps the order.
        ranks.append(np.where(wrong, np.sign(margin) + np.tanh(margin / 100.0), -np.inf))
    return np.asarray(np.argmax(np.stack(ranks), axis=0) - 1, dtype=np.int64)


def _write(
    attacks: AttackedSets, name: str, tables: list[dict[str, NDArray[np.generic]]], chosen: NDArray[np.int64]
) -> None:
    """The chosen rows in place of the clean ones, and the costs of all."""
    for attribute, column in (
        ("scores", "score"),
        ("last_scores", "last_score"),
        ("norm", "norm"),
        ("status", "status"),
        ("predicted", "attacked_predicted"),
    ):
        values = getattr(attacks, attribute)[name].copy()
        for number, table in enumerate(tables):
            values[chosen == number] = table[column][chosen == number]
        getattr(attacks, attribute)[name] = values
    first = tables[0]["status"]
    attacks.status[name] = np.where(chosen < 0, first, attacks.status[name])
    for attribute in ("gradients", "queries"):
        getattr(attacks, attribute)[name] = np.sum([table[attribute] for table in tables], axis=0).astype(np.int64)
    attacks.figures.setdefault(MEMBER, {})[name] = chosen.astype(np.float32)
    if CLASS_SCORE in tables[0]:
        known = np.stack([_floats(table, CLASS_SCORE) for table in tables])
        picked = np.take_along_axis(known, np.maximum(chosen, 0)[None], axis=0)[0]
        attacks.figures.setdefault(CLASS_SCORE, {})[name] = picked


def _keep_images(
    stage: Stage, attacks: AttackedSets, name: str, members: list[Cell], chosen: NDArray[np.int64]
) -> None:
    """The images of the chosen members as far as they were kept: the first ones of a set, or all."""
    starts = np.cumsum([0, *(len(part) for part in stage.images.sets().values())])
    first = int(starts[list(stage.images.sets()).index(name)])
    images = stage.images.sets()[name].pixels().numpy()
    kept = np.ones(len(images), dtype=bool)
    for number, cell in enumerate(members):
        rows = cell.arrays.get("image_rows", np.zeros(0, np.int64)) - first
        inside = (rows >= 0) & (rows < len(images))
        have = np.zeros(len(images), dtype=bool)
        have[rows[inside]] = True
        for row, image in zip(rows[inside], cell.arrays["images"][inside] if inside.any() else (), strict=True):
            if chosen[row] == number:
                images[row] = image
        kept &= have | (chosen != number)
    count = len(images) if kept.all() else int(np.argmin(kept))
    attacks.images[name] = images[:count]


def _score_afresh(stage: Stage, attacks: AttackedSets, attacked: list[str]) -> None:
    """Scores of the chosen images of a random detector, with draws by which none of them was chosen."""
    device, ingredients = device_of(stage.detector), stage.planned.ingredients
    for name in attacked:
        ids = stage.images.sets()[name].ids
        images = torch.from_numpy(attacks.images[name])
        if len(images) < len(ids):
            raise CellError(f"{stage.planned.label}: a member kept no images of '{name}'; run it again.")
        draws = Draws(ids, ingredients.seed, round=3)
        attacks.scores[name] = score_images(stage.detector, images.to(device), ingredients.micro_batch, draws)


def _floats(table: dict[str, NDArray[np.generic]], column: str) -> Scores:
    return as_scores(table[column])


def _figure(meta: CellMeta) -> float:
    """What a member alone came to: the mean AUROC, or the share that was left unfooled."""
    if meta.fool is not None:
        at = meta.fool.curve[0]
        return 1.0 - at.undetected if meta.fool.goal is Goal.ACCEPT else at.adversarial_accuracy
    if meta.mean is not None:
        return meta.mean.auroc
    return float(np.mean([figures.auroc for figures in meta.sets.values()]))
