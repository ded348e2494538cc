"""Cells of side `fool`: ID test images are made to be misclassified, and accepted by the detector."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bench import metrics
from bench.cards.threat import Goal, Loss, Side
from bench.errors import CellError, DataError, NotApplicableError
from bench.evaluation.assembly import cell_meta, kept_arrays, sample_table, signed
from bench.evaluation.attacked_sets import AttackedSets, unattacked
from bench.evaluation.crafting import Crafted, attempt_attack
from bench.evaluation.halving import halved, in_batches_that_fit
from bench.evaluation.images import TEST
from bench.evaluation.orders import context_at, context_of
from bench.evaluation.pieces import pieces
from bench.evaluation.results import Cell, FoolAtEps, FoolMetrics
from bench.evaluation.scoring import Logits, class_logits, classes_of, device_of
from bench.evaluation.stage import Stage
from bench.metrics.scores import Scores
from bench.threat_models.base import Budget, Threat

Progress = Callable[[float, torch.Tensor], None]

CLASS_SCORE = "class_score"
"""The column of the largest logit after the attack: what per-class percentile thresholds are held against."""


def fooled_cell(stage: Stage, threat: Threat) -> Cell:
    """Attack every ID test image that is classified correctly as it is.

    Whether an image is misclassified, and whether it is accepted, is found out afresh from the image itself.

    Args:
        stage: The cell to compute, with what it needs.
        threat: The attacker.

    Raises:
        CellError: The detector is not the one of its card, or predicts no class correctly.
        DataError: The test set has no labels.
        NotApplicableError: The detector predicts no classes.
    """
    stage.check_identity()
    started = time.monotonic()
    before, test = stage.before, stage.images.test
    right = before.predicted[TEST] == test.labels.numpy()
    if (before.predicted[TEST] < 0).all():
        raise NotApplicableError(
            f"the detector '{stage.planned.detector.name}' predicts no classes, so there is no decision to fool; "
            "choose one with a classifier, or --side evade.",
            why="it fools a classifier, and the detector predicts no classes",
        )
    if (test.labels < 0).all():
        raise DataError(
            f"{stage.planned.label}: the set 'test' has no labels, so which images are classified correctly is not "
            "known and there is no decision to fool; give it labels (a folder of class folders has them), or take "
            "another --side."
        )
    if not right.any():
        raise CellError(f"{stage.planned.label}: no ID test image is classified correctly: nothing is left to fool.")
    try:
        attacks = _fool(stage, threat, right)
    except CellError as error:
        raise CellError(f"{stage.planned.label}: {error}") from error
    return fool_outcome(stage, attacks, started)


def _fool(stage: Stage, threat: Threat, right: NDArray[np.bool_]) -> AttackedSets:
    """Attack these ID test images piece by piece."""
    test, ingredients, device = stage.images.test, stage.planned.ingredients, device_of(stage.detector)
    attacked = torch.from_numpy(np.flatnonzero(right))
    images = test.pixels().numpy()  # all of them are kept
    context = context_of(stage.order(threat), [TEST], Side.FOOL, None)
    done, logits, size = [], [], context.micro_batch
    for piece in pieces(len(attacked), images.shape[1:], context.micro_batch, whole=threat.couples_images):
        rows = attacked[piece]

        def hear(share: float, scores: torch.Tensor, piece: slice = piece) -> None:
            stage.watch((piece.start + share * (piece.stop - piece.start)) / len(attacked), None)

        def attempt(size: int, rows: torch.Tensor = rows, hear: Progress = hear) -> tuple[Crafted, Logits]:
            part = attempt_attack(
                stage.detector,
                threat,
                test.pixels(rows).to(device),
                ids=test.ids[rows].to(device),
                budget=Budget(ingredients.norm, ingredients.eps),
                context=replace(context_at(context, rows, device), progress=hear, micro_batch=size),
            )
            found = class_logits(stage.detector, part.images, size)
            assert found is not None  # its classes are known
            return part, found

        (part, found), size = in_batches_that_fit(attempt, size)
        part.said += halved(context.micro_batch, size, "some images were attacked")
        logits.append(found)
        images[rows.numpy()] = part.images.cpu().numpy()
        done.append(part.without_images())
    return _as_sets(stage, right, Crafted.joined(done), images, np.concatenate(logits))


def fool_outcome(stage: Stage, attacks: AttackedSets, started: float) -> Cell:
    """The cell of an attack on decisions.

    Args:
        stage: The cell, with what it needs.
        attacks: What came of the attack.
        started: When it began, by the monotonic clock.
    """
    meta = cell_meta(stage.planned, stage.images, stage.before, attacks, stage.targets, stage.thresholds)
    meta = meta.model_copy(update={"fool": _metrics(stage, attacks)})
    return Cell(
        signed(meta, stage.detector, started, tuple(attacks.notes)),
        sample_table(stage.images, stage.before, attacks),
        kept_arrays(stage.images, attacks, every=True),
    )


def outcomes_of(stage: Stage, *, predicted: NDArray[np.int64], scores: Scores, norms: Scores) -> metrics.Outcomes:
    """Every ID test image before and after an attack.

    Args:
        stage: The cell, with what it needs.
        predicted: (N,) classes after the attack.
        scores: (N,) after the attack.
        norms: (N,) how far the images were moved.
    """
    own = stage.thresholds
    return metrics.Outcomes(
        labels=stage.images.test.labels.numpy(),
        clean_predicted=stage.before.predicted[TEST],
        clean_scores=stage.before.scores[TEST],
        predicted=predicted,
        scores=scores,
        thresholds=np.array([own.by_class.get(int(c), own.overall) for c in predicted], dtype=np.float64),
        norms=norms,
    )


def _as_sets(
    stage: Stage, right: NDArray[np.bool_], done: Crafted, images: NDArray[np.float32], logits: Logits
) -> AttackedSets:
    """The outcome of the attacked images among those that were left alone."""
    attacks = unattacked(stage.before.scores, stage.before.predicted)
    for name, values in (
        ("scores", done.scores),
        ("last_scores", done.last_scores),
        ("norm", done.norm),
        ("status", done.status),
        ("gradients", done.gradients),
        ("queries", done.queries),
        ("predicted", classes_of(logits)),
    ):
        column = getattr(attacks, name)[TEST].copy()
        column[right] = values
        getattr(attacks, name)[TEST] = column
    attacks.trace[TEST] = _spread(right, done.trace, np.nan)
    attacks.images[TEST] = images
    for figure, values in {**done.figures, CLASS_SCORE: logits.max(axis=1)}.items():
        attacks.figures[figure] = {TEST: _spread(right, values, np.nan)}
    attacks.notes += done.notes
    return attacks


def _spread(rows: NDArray[np.bool_], values: NDArray[np.float32], rest: float) -> NDArray[np.float32]:
    spread = np.full((len(rows), *values.shape[1:]), rest, np.float32)
    spread[rows] = values
    return spread


def _metrics(stage: Stage, attacks: AttackedSets) -> FoolMetrics:
    ingredients = stage.planned.ingredients
    outcomes = outcomes_of(
        stage, predicted=attacks.predicted[TEST], scores=attacks.scores[TEST], norms=attacks.norm[TEST]
    )
    radii: tuple[float | None, ...] = (*ingredients.radii, None) if ingredients.eps is None else (ingredients.eps,)
    right = outcomes.clean_predicted == outcomes.labels
    return FoolMetrics(
        goal=ingredients.goal or Goal.MISCLASSIFY,
        loss=ingredients.loss or Loss.MARGIN,
        n=len(right),
        attacked=int(right.sum()),
        curve=tuple(_at(stage, attacks, outcomes, eps) for eps in radii),
    )


def _at(stage: Stage, attacks: AttackedSets, outcomes: metrics.Outcomes, eps: float | None) -> FoolAtEps:
    found = metrics.fooled_within(outcomes, eps, name=stage.planned.label)
    wrong = metrics.wrong_within(outcomes, eps)
    right = outcomes.clean_predicted == outcomes.labels
    class_scores = attacks.figures[CLASS_SCORE][TEST]
    by_percentile = {}
    for rejection in stage.clean.meta.rejection:
        floor = np.array([rejection.thresholds.get(int(c), np.inf) for c in outcomes.predicted])
        by_percentile[f"{rejection.percentile:g}"] = float((wrong & (class_scores >= floor)).sum()) / int(right.sum())
    return FoolAtEps(
        eps=eps,
        adversarial_accuracy=found.adversarial_accuracy,
        misclassified=found.misclassified,
        undetected=found.undetected,
        detection_rate=found.detection_rate,
        auroc=found.auroc.auroc if found.auroc else None,
        se=found.auroc.se if found.auroc else None,
        low=found.auroc.low if found.auroc else None,
        high=found.auroc.high if found.auroc else None,
        median_norm=found.median_norm,
        by_percentile=by_percentile,
    )
