"""One cell: clean scores, or an attack on them, and the figures of both."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from bench.datasets.base import ImageSet
from bench.detectors.base import Detector
from bench.errors import CardError, CellError
from bench.evaluation.assembly import Before, Scored, cell_meta, kept_arrays, sample_table, signed
from bench.evaluation.attacked_sets import AttackedSets, attack_part, attack_sides, unattacked
from bench.evaluation.between import walk_between
from bench.evaluation.certificates import certified_bounds
from bench.evaluation.gate import remarks
from bench.evaluation.halving import halved, in_batches_that_fit
from bench.evaluation.images import CALIBRATION, TEST, TRAIN, Images
from bench.evaluation.orders import Order, keeps_every, runs_of
from bench.evaluation.pieces import Pieces, Share
from bench.evaluation.pixels import Pixels
from bench.evaluation.planned import Part, PlannedCell
from bench.evaluation.rejecting import missing_classes, rejection_metrics
from bench.evaluation.results import Cell
from bench.evaluation.scoring import (
    Draws,
    asked_twice,
    class_logits,
    classes_of,
    device_of,
    image_bits,
    score_images,
)
from bench.evaluation.stage import Stage
from bench.evaluation.targets import Targets
from bench.evaluation.thresholds import Thresholds
from bench.threat_models.base import Threat


def clean_cell(planned: PlannedCell, detector: Detector, images: Images, train: ImageSet | None = None) -> Cell:
    """Score every set as it is.

    Args:
        planned: The clean cell to compute.
        detector: On the device on which to compute.
        images: The track's sets.
        train: Training images, where thresholds come from them: they are scored, and only the thresholds are kept.

    Raises:
        CellError: A score is not finite.
        CardError: Thresholds by class, or percentiles, are asked of a detector that predicts no classes.
    """
    started = time.monotonic()
    spec, fitted = planned.detector.thresholds, CALIBRATION if train is None else TRAIN
    every = images.sets() if train is None else {**images.sets(), TRAIN: train}
    scored, wanted = {}, planned.ingredients.micro_batch
    size = wanted
    for name, chosen in every.items():
        bits = name not in (CALIBRATION, TRAIN)
        scored[name], size = in_batches_that_fit(partial(_scored, planned, detector, chosen, bits), size)
    clean = Before.of({name: scored[name] for name in images.sets()})
    thresholds = Thresholds.of(spec, scored[fitted].scores, scored[fitted].predicted, label=planned.label)
    nothing = unattacked(clean.scores, clean.predicted)
    rejection = rejection_metrics(
        spec,
        {name: part.logits for name, part in scored.items() if part.logits is not None},
        {name: chosen.labels.numpy() for name, chosen in every.items()},
        fitted=fitted,
        test=TEST,
        ood=tuple(images.ood),
        label=planned.label,
    )
    meta = cell_meta(planned, images, clean, nothing, Targets(None, None), thresholds, rejection=rejection)
    apart = asked_twice(detector, Pixels([images.test], device_of(detector)), size)
    meta = meta.model_copy(update={"asked_twice": None if apart is None else apart / (meta.iqr or 1.0)})
    skipped = (*images.skipped(), *(f"{TRAIN}: {said}" for said in (train.skipped if train is not None else ())))
    smaller = halved(wanted, size, "some images were scored")
    said = remarks(planned, meta, clean.scores.values())
    notes = (*skipped, *smaller, *missing_classes(rejection, planned.track.classes), *said)
    return Cell(signed(meta, detector, started, notes), sample_table(images, clean, nothing))


def attacked_cell(stage: Stage, threat: Threat, shares: Sequence[Share] = (), cheaper: tuple[Threat, ...] = ()) -> Cell:
    """Attack the chosen side, after the check that this is the detector of the card.

    Args:
        stage: The cell to compute, with what it needs.
        threat: The attacker.
        cheaper: The same with less to spend, the cheapest first.
        shares: All shares of the images, in order, where they are attacked already.

    Raises:
        CellError: The detector is not the one of its card, a score is not finite, or its certificate is wrong.
    """
    stage.check_identity()
    started = time.monotonic() - sum(share.seconds for share in shares)
    order = stage.order(threat, cheaper)
    try:
        attacks = attack_sides(order, _pieces_of(order, shares) if shares else None)
    except CellError as error:
        raise CellError(f"{stage.planned.label}: {error}") from error
    return attack_outcome(stage, attacks, started)


def attacked_share(
    stage: Stage, threat: Threat, part: Part, audited: Sequence[Share] = (), cheaper: tuple[Threat, ...] = ()
) -> Share:
    """Attack some of the images of a cell; all shares together make the cell, by `attacked_cell`.

    Args:
        stage: The cell, with what it needs.
        threat: The attacker.
        part: Which of the images.
        audited: All shares of the audit, in order, where these are the other images.
        cheaper: The attacker with less to spend, the cheapest first.

    Raises:
        CellError: The detector is not the one of its card, or a score is not finite.
    """
    stage.check_identity()
    started, order = time.monotonic(), stage.order(threat, cheaper)
    try:
        found = attack_part(order, part, _pieces_of(order, audited))
    except CellError as error:
        raise CellError(f"{stage.planned.label}: {error}") from error
    return Share(found, time.monotonic() - started)


def _pieces_of(order: Order, shares: Sequence[Share]) -> Pieces:
    """The pieces of all shares, by the direction of the attack."""
    return {run.direction: [p for share in shares for p in share.pieces[run.direction]] for run in runs_of(order)}


def attack_outcome(stage: Stage, attacks: AttackedSets, started: float) -> Cell:
    """The cell of an attack on scores.

    Args:
        stage: The cell, with what it needs.
        attacks: What came of the attack.
        started: When it began, by the monotonic clock.

    Raises:
        CellError: The detector's certificate is wrong.
    """
    planned, images = stage.planned, stage.images
    try:
        bounds = certified_bounds(planned, stage.detector, images, attacks.scores, iqr=stage.clean.meta.iqr)
    except CellError as error:
        raise CellError(f"{planned.label}: {error}") from error
    meta = cell_meta(planned, images, stage.before, attacks, stage.targets, stage.thresholds, bounds=bounds)
    return Cell(
        signed(meta, stage.detector, started, (*attacks.notes, *([stage.points.note] if stage.points else []))),
        sample_table(images, stage.before, attacks),
        kept_arrays(images, attacks, every=keeps_every(planned, stage.detector)),
    )


def between_cell(stage: Stage, threat: Threat) -> Cell:
    """Walk between ID test images; scores of sets stay what they are.

    Args:
        stage: The cell to compute, with what it needs.
        threat: The card's method, which is checked for its parameters alone: there is nothing to attack.

    Raises:
        CellError: The detector is not the one of its card, or no two images can be walked between.
    """
    stage.check_identity()
    started = time.monotonic()
    walked = walk_between(stage.planned, stage.detector, stage.images, stage.clean)
    nothing = unattacked(stage.before.scores, stage.before.predicted)
    meta = cell_meta(stage.planned, stage.images, stage.before, nothing, stage.targets, stage.thresholds)
    asked = walked.figures.paths * len(walked.figures.alphas)
    meta = meta.model_copy(update={"between": walked.figures, "queries": asked})
    return Cell(signed(meta, stage.detector, started, ()), sample_table(stage.images, stage.before, nothing))


def _scored(planned: PlannedCell, detector: Detector, chosen: ImageSet, bits: bool, size: int) -> Scored:
    """Scores and predicted classes of one set in batches of `size`, and its bits per dimension where asked for."""
    pixels, spec = Pixels([chosen], device_of(detector)), planned.detector
    scores = score_images(detector, pixels, size, Draws(chosen.ids))
    logits = class_logits(detector, pixels, size)
    found = image_bits(detector, pixels, size) if bits else None
    for what, values in (("a score", scores), ("a number of bits per dimension", found)):
        if values is not None and (bad := int(np.sum(~np.isfinite(values)))):
            raise CellError(
                f"{planned.label}: {bad} of {len(chosen)} images of '{chosen.name}' have {what} that is not finite; "
                "the detector must give a finite number for every image in [0, 1]."
            )
    if logits is None:
        asked = [name for name in ("per_class", "percentiles") if getattr(spec.thresholds, name)]
        if asked:
            raise CardError(
                f"detector '{spec.name}': thresholds.{asked[0]} is set and the detector predicts no classes; "
                f"give it a classifier, or leave {asked[0]} out of the card."
            )
        return Scored(scores, np.full(len(scores), -1, dtype=np.int64), None, found)
    return Scored(scores, classes_of(logits), logits if spec.thresholds.percentiles else None, found)
