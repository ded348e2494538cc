"""One cell: clean scores, or an attack on them, and the figures of both."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench import __version__, metrics
from bench.datasets.base import ImageSet
from bench.detectors.base import Detector
from bench.errors import CardError, CellError
from bench.evaluation.assault import Assault, Order, attack_sides, untouched_assault
from bench.evaluation.figures import OodScores, SetScores, mean_metrics, set_metrics
from bench.evaluation.gate import identity_problem, remarks
from bench.evaluation.images import CALIBRATION, TEST, TRAIN, Images
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import SAMPLE_COLUMNS, Cell, CellMeta, SetMetrics
from bench.evaluation.scoring import Scores, device_of, predict_classes, score_images
from bench.evaluation.targets import Targets, stop_targets
from bench.evaluation.thresholds import Thresholds
from bench.specs import Side
from bench.threat_models.base import Threat

Watcher = Callable[[float, float | None], None]
"""Called with (share done in [0, 1], AUROC so far or None)."""


def clean_cell(planned: PlannedCell, detector: Detector, images: Images, train: ImageSet | None = None) -> Cell:
    """Score every set as it is.

    Args:
        planned: The clean cell to compute.
        detector: On the device on which to compute.
        images: The track's sets.
        train: Training images, where thresholds come from them: they are scored, and only the thresholds are kept.

    Raises:
        CellError: A score is not finite.
        CardError: Thresholds by class are asked of a detector that predicts no classes.
    """
    started = time.monotonic()
    extra = {} if train is None else {TRAIN: train}
    scored = {name: _scored(planned, detector, chosen) for name, chosen in {**images.sets(), **extra}.items()}
    clean = _Clean({name: scored[name][0] for name in images.sets()}, {name: scored[name][1] for name in images.sets()})
    thresholds = Thresholds.of(
        planned.detector.thresholds, *scored[CALIBRATION if train is None else TRAIN], label=planned.label
    )
    nothing = untouched_assault(clean.scores, clean.predicted)
    meta = _figures(planned, images, clean, nothing, Targets(None, None), thresholds)
    skipped = (*images.skipped(), *(train.skipped if train is not None else ()))
    meta = _signed(meta, detector, started, (*skipped, *remarks(planned, meta)))
    return Cell(meta, _samples(images, clean, nothing))


def attacked_cell(
    planned: PlannedCell, detector: Detector, threat: Threat, *, images: Images, clean: Cell, watch: Watcher
) -> Cell:
    """Attack the chosen side, after the check that this is the detector of the card.

    Args:
        planned: The cell to compute.
        detector: On the device on which to compute.
        threat: The attacker.
        images: The track's sets.
        clean: The clean cell of the same detector, track and limit.
        watch: Hears of the progress.

    Raises:
        CellError: The detector is not the one of its card, or a score is not finite.
    """
    if problem := identity_problem(planned, clean.meta):
        raise CellError(f"{planned.label}: {problem}")
    started = time.monotonic()
    before = _Clean.read(clean, images)
    ood = [before.scores[name] for name in images.ood]
    thresholds = Thresholds.read(planned.detector.thresholds, clean.meta.thresholds)
    targets = stop_targets(planned.ingredients.side, before.scores[TEST], ood, thresholds.named().values())
    order = Order(planned, detector, threat, images, before.scores, before.predicted, targets, watch)
    try:
        assault = attack_sides(order)
    except CellError as error:
        raise CellError(f"{planned.label}: {error}") from error
    meta = _figures(planned, images, before, assault, targets, thresholds)
    return Cell(_signed(meta, detector, started, tuple(assault.notes)), _samples(images, before, assault))


@dataclass(frozen=True)
class _Clean:
    """What is known of every set before an attack."""

    scores: Mapping[str, Scores]
    predicted: Mapping[str, NDArray[np.int64]]

    @classmethod
    def read(cls, cell: Cell, images: Images) -> "_Clean":
        """From the samples of a clean cell."""
        parts = {name: cell.samples[cell.samples["set"] == name] for name in images.sets()}
        for name, chosen in images.sets().items():
            if not np.array_equal(parts[name]["id"].to_numpy(), chosen.ids.numpy()):
                raise CellError(f"the clean cell {cell.meta.key[:12]} holds other images of '{name}'; run it again.")
        return cls(
            {name: part["clean_score"].to_numpy(np.float32) for name, part in parts.items()},
            {name: part["predicted"].to_numpy(np.int64) for name, part in parts.items()},
        )


def _scored(planned: PlannedCell, detector: Detector, chosen: ImageSet) -> tuple[Scores, NDArray[np.int64]]:
    """Scores and predicted classes of one set."""
    pixels = chosen.pixels().to(device_of(detector))
    scores = score_images(detector, pixels, planned.ingredients.micro_batch)
    predicted = predict_classes(detector, pixels, planned.ingredients.micro_batch)
    if bad := int(np.sum(~np.isfinite(scores))):
        raise CellError(
            f"{planned.label}: {bad} of {len(chosen)} images of '{chosen.name}' have a score that is not finite; "
            "the detector must give a finite number for every image in [0, 1]."
        )
    if planned.detector.thresholds.per_class and (predicted < 0).any():
        raise CardError(
            f"detector '{planned.detector.name}': thresholds.per_class is true and the detector predicts no classes; "
            "give it a classifier, or leave per_class out of the card."
        )
    return scores, predicted


def _figures(
    planned: PlannedCell, images: Images, clean: _Clean, assault: Assault, targets: Targets, thresholds: Thresholds
) -> CellMeta:
    """Everything that the scores and the plan say; `_signed` adds the circumstances."""
    ingredients = planned.ingredients
    sides = {name: _ood_scores(planned, images, name, clean, assault) for name in images.ood}
    test = SetScores(clean.scores[TEST], assault.scores[TEST])
    figures: dict[str, SetMetrics] = {
        name: set_metrics(
            test, side, targets=targets, thresholds=thresholds, eps=ingredients.eps, name=f"{planned.label}, '{name}'"
        )
        for name, side in sides.items()
    }
    statuses, counts = np.unique([s for part in assault.status.values() for s in part if s], return_counts=True)
    return CellMeta(
        key=planned.key,
        detector=planned.detector.name, detector_hash=ingredients.detector_hash,
        weights_sha256=ingredients.weights_sha256,
        source_hash=ingredients.source_hash,
        threat=planned.threat.name, threat_hash=ingredients.threat_hash, threat_params=planned.params,
        norm=ingredients.norm, eps=ingredients.eps, side=ingredients.side,
        track=planned.track.name, track_hash=ingredients.track_hash, set_digests=ingredients.set_digests,
        limit=ingredients.limit, seed=ingredients.seed,
        micro_batch=ingredients.micro_batch, early_stop=ingredients.early_stop,
        id_accuracy=_accuracy(images.test.labels.numpy(), clean.predicted[TEST]),
        iqr=metrics.iqr(clean.scores[TEST]), stop_high=targets.high, stop_low=targets.low,
        thresholds=thresholds.named(),
        sets=figures, mean=mean_metrics(test, sides, figures, targets=targets, name=planned.label),
        statuses={str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        gradients=sum(int(part.sum()) for part in assault.gradients.values()),
        queries=sum(int(part.sum()) for part in assault.queries.values()),
        seconds=0.0, device="", versions={},
    )  # fmt: skip


def _signed(meta: CellMeta, detector: Detector, started: float, notes: tuple[str, ...]) -> CellMeta:
    """The same with when, where and with what it was computed."""
    circumstances = {"device": _device_name(detector), "versions": _versions(), "notes": notes}
    return meta.model_copy(update={"seconds": time.monotonic() - started, **circumstances})


def _ood_scores(planned: PlannedCell, images: Images, name: str, clean: _Clean, assault: Assault) -> OodScores:
    ingredients = planned.ingredients
    # Copying an ID image is something that an attack on OOD images can do; one on ID images alone cannot.
    copies = ingredients.norm is not None and ingredients.side is not Side.ALARM
    return OodScores(
        clean=clean.scores[name],
        attacked=assault.scores[name],
        predicted=assault.predicted[name],
        counts=planned.track.ood[name].counts,
        gradients=int(assault.gradients[name].sum()),
        queries=int(assault.queries[name].sum()),
        distances=images.distances(name, ingredients.norm) if copies and ingredients.norm else None,
    )


def _samples(images: Images, clean: _Clean, assault: Assault) -> pd.DataFrame:
    parts = []
    for name, chosen in images.sets().items():
        ids = chosen.ids.numpy().astype(np.int64)
        columns = {
            "id": ids,
            "set": np.full(len(ids), name, dtype=object),
            "index": ids & (2**31 - 1),  # `sample_ids` keeps the position in the low bits
            "label": chosen.labels.numpy().astype(np.int64),
            "predicted": clean.predicted[name],
            "clean_score": clean.scores[name],
            "score": assault.scores[name],
            "norm": assault.norm[name],
            "gradients": assault.gradients[name],
            "queries": assault.queries[name],
            "status": assault.status[name],
        }
        parts.append(pd.DataFrame(columns)[list(SAMPLE_COLUMNS)])
    return pd.concat(parts, ignore_index=True)


def _accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float | None:
    known = labels >= 0
    if not known.any() or (predicted < 0).all():
        return None
    return float(np.mean(labels[known] == predicted[known]))


def _device_name(detector: Detector) -> str:
    device = device_of(detector)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _versions() -> dict[str, str]:
    return {
        "bench": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
