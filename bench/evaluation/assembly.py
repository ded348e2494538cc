"""From scores to a cell: its figures, its samples and the arrays that are kept."""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench import __version__, metrics
from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.errors import CellError
from bench.evaluation.attacked_sets import AttackedSets
from bench.evaluation.auditing import widened
from bench.evaluation.figures import OodScores, SetScores, group_means, mean_bits, mean_metrics, set_metrics
from bench.evaluation.images import GALLERY, TEST, Images
from bench.evaluation.nearest_figures import has_radii, nearest_metrics
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import SAMPLE_COLUMNS, Cell, CellMeta, RejectionMetrics, SetMetrics
from bench.evaluation.scoring import Logits, device_of, draws_of
from bench.evaluation.targets import Targets
from bench.evaluation.thresholds import Thresholds
from bench.metrics.scores import Scores, as_scores


@dataclass(frozen=True)
class Scored:
    """What a detector says of one set."""

    scores: Scores
    predicted: NDArray[np.int64]
    logits: Logits | None  # only where classification with rejection is asked for
    bits: Scores | None


@dataclass(frozen=True)
class Before:
    """What is known of every set before an attack."""

    scores: Mapping[str, Scores]
    predicted: Mapping[str, NDArray[np.int64]]
    bits: Mapping[str, Scores] = field(default_factory=dict)

    @classmethod
    def of(cls, scored: Mapping[str, Scored]) -> "Before":
        """From a detector that was just asked."""
        return cls(
            {name: part.scores for name, part in scored.items()},
            {name: part.predicted for name, part in scored.items()},
            {name: part.bits for name, part in scored.items() if part.bits is not None},
        )

    @classmethod
    def read(cls, cell: Cell, images: Images) -> "Before":
        """From the samples of a clean cell."""
        parts = {name: cell.samples[cell.samples["set"] == name] for name in images.sets()}
        for name, chosen in images.sets().items():
            if not np.array_equal(parts[name]["id"].to_numpy(), chosen.ids.numpy()):
                raise CellError(f"the clean cell {cell.meta.key[:12]} holds other images of '{name}'; run it again.")
        return cls(
            {name: as_scores(part["clean_score"].to_numpy()) for name, part in parts.items()},
            {name: part["predicted"].to_numpy(np.int64) for name, part in parts.items()},
        )


def cell_meta(
    planned: PlannedCell,
    images: Images,
    clean: Before,
    attacks: AttackedSets,
    targets: Targets,
    thresholds: Thresholds,
    *,
    bounds: Mapping[str, Scores] = MappingProxyType({}),
    rejection: tuple[RejectionMetrics, ...] = (),
) -> CellMeta:
    """Everything that the scores and the plan say; `signed` adds the circumstances.

    Args:
        planned: The cell.
        images: The track's sets.
        clean: What is known of them before the attack.
        attacks: What came of the attack.
        targets: Where it could stop.
        thresholds: Below which images are detected.
        bounds: Certified upper bounds of the attacked scores, by set.
        rejection: Classification with rejection, of a clean cell.
    """
    ingredients = planned.ingredients
    radii = has_radii(planned.threat, ingredients.side)
    nearest = nearest_metrics(planned, images, clean.scores, clean.predicted, attacks, thresholds) if radii else None
    # An image that stops at a threshold says nothing of an AUROC.
    ranked = {} if radii else images.ood
    sides = {name: _ood_scores(planned, images, name, clean, attacks, bounds.get(name)) for name in ranked}
    test = SetScores(clean.scores[TEST], attacks.scores[TEST])
    figures: dict[str, SetMetrics] = {
        name: set_metrics(
            test, side, targets=targets, thresholds=thresholds, eps=ingredients.eps, name=f"{planned.label}, '{name}'"
        )
        for name, side in sides.items()
    }
    mean = mean_metrics(test, sides, figures, targets=targets, name=planned.label)
    if (evidence := attacks.evidence) is not None:
        figures = {name: widened(each, evidence.sets.get(name)) for name, each in figures.items()}
        mean = None if mean is None else widened(mean, evidence.mean)
    statuses, counts = np.unique([s for part in attacks.status.values() for s in part if s], return_counts=True)
    return CellMeta(
        key=planned.key,
        detector=planned.detector.name,
        detector_hash=ingredients.detector_hash,
        weights_sha256=ingredients.weights_sha256,
        source_hash=ingredients.source_hash,
        threat=planned.threat.name,
        threat_hash=ingredients.threat_hash,
        threat_params=planned.params,
        norm=ingredients.norm,
        eps=ingredients.eps,
        side=ingredients.side,
        track=planned.track.name,
        track_hash=ingredients.track_hash,
        set_digests=ingredients.set_digests,
        limit=ingredients.limit,
        seed=ingredients.seed,
        micro_batch=ingredients.micro_batch,
        early_stop=ingredients.early_stop,
        id_accuracy=_accuracy(images.test.labels.numpy(), clean.predicted[TEST]),
        bits_per_dim=mean_bits(clean.bits.get(TEST)),
        iqr=metrics.iqr(clean.scores[TEST]),
        stop_high=targets.high,
        stop_low=targets.low,
        thresholds=thresholds.named(),
        sets=figures,
        mean=mean,
        evidence=evidence,
        nearest=nearest,
        groups=group_means({} if radii else images.groups(), test, sides, figures, targets=targets, name=planned.label),
        forms={name: chosen.form for name, chosen in images.sets().items() if chosen.form},
        nested=bool(ingredients.nested),
        rejection=rejection,
        needs=ingredients.needs,
        left_out=dict(planned.left_out),
        without=planned.without,
        statuses={str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        gradients=sum(int(part.sum()) for part in attacks.gradients.values()),
        queries=sum(int(part.sum()) for part in attacks.queries.values()),
        seconds=0.0,
        device="",
        versions={},
    )


def signed(meta: CellMeta, detector: Detector, started: float, notes: tuple[str, ...]) -> CellMeta:
    """The same with when, where and with what it was computed."""
    circumstances = {
        "device": _device_name(detector),
        "versions": _versions(),
        "notes": (*notes, *detector.remarks),
        "draws": draws_of(detector),
    }
    return meta.model_copy(update={"seconds": time.monotonic() - started, **circumstances})


def _ood_scores(
    planned: PlannedCell, images: Images, name: str, clean: Before, attacks: AttackedSets, bounds: Scores | None
) -> OodScores:
    ingredients = planned.ingredients
    # Copying an ID image is something that an attack on OOD images can do; one on ID images alone cannot.
    copies = ingredients.norm is not None and ingredients.side is not Side.ALARM
    return OodScores(
        clean=clean.scores[name],
        attacked=attacks.scores[name],
        predicted=attacks.predicted[name],
        counts=planned.track.ood[name].counts,
        gradients=int(attacks.gradients[name].sum()),
        queries=int(attacks.queries[name].sum()),
        distances=images.distances(name, ingredients.norm) if copies and ingredients.norm else None,
        bounds=bounds,
        bits=clean.bits.get(name),
        figures={
            figure: _mean(values[name])
            for figure, values in attacks.figures.items()
            if name in values and np.isfinite(values[name]).any()
        },
    )


def sample_table(images: Images, clean: Before, attacks: AttackedSets) -> pd.DataFrame:
    """One row an image, set after set: `SAMPLE_COLUMNS`, and after them what the threat measured."""
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
            "score": attacks.scores[name],
            "norm": attacks.norm[name],
            "gradients": attacks.gradients[name],
            "queries": attacks.queries[name],
            "status": attacks.status[name],
            "last_score": attacks.last_scores[name],
            "attacked_predicted": attacks.predicted[name],
        }
        own = {f: v.get(name, np.full(len(ids), np.nan, np.float32)) for f, v in attacks.figures.items()}
        parts.append(pd.DataFrame({**{column: columns[column] for column in SAMPLE_COLUMNS}, **own}))
    return pd.concat(parts, ignore_index=True)


def kept_arrays(images: Images, attacks: AttackedSets, *, every: bool) -> dict[str, NDArray[Any]]:
    """Score traces of all attacked sets, and attacked images: all of them, or a few of every set."""
    starts = np.cumsum([0, *(len(chosen) for chosen in images.sets().values())])
    first = dict(zip(images.sets(), starts.tolist(), strict=False))
    arrays: dict[str, NDArray[Any]] = {}
    if attacks.trace:
        width = next(iter(attacks.trace.values())).shape[1]
        trace = np.full((int(starts[-1]), width), np.nan, next(iter(attacks.trace.values())).dtype)
        for name, rows in attacks.trace.items():
            trace[first[name] : first[name] + len(rows)] = rows
        arrays["trace"] = trace
    chosen = {name: part if every else part[:GALLERY] for name, part in attacks.images.items()}
    if chosen:
        arrays["images"] = np.concatenate(list(chosen.values()))
        arrays["image_rows"] = np.concatenate([first[name] + np.arange(len(part)) for name, part in chosen.items()])
    if attacks.plain:
        rows = np.concatenate([first[name] + mine for name, (mine, _) in attacks.plain.items()])
        order = np.argsort(rows)  # in whatever order processes attacked them
        arrays["plain_rows"] = rows[order]
        arrays["plain_images"] = np.concatenate([kept for _, kept in attacks.plain.values()])[order]
    return arrays


def _mean(values: Scores) -> float:
    return float(np.nanmean(np.where(np.isfinite(values), values, np.nan), dtype=np.float64))


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
