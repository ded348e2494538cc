"""Where the scores of a cell lie before and after the attack."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.results import Cell, CellMeta
from bench.report import numbers
from bench.report.html.drawing import COLOURS, Drawing, add_legend, drawing_settings, new_panel, stem

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist

_BINS = 40
_TAIL = 0.5  # per cent of the scores at each end that are drawn in the outermost bins
_ID, _OOD, _ATTACKED_OOD, _ATTACKED_ID = COLOURS[0], COLOURS[7], COLOURS[1], COLOURS[3]
_TEST = "test"


def label_of(meta: CellMeta) -> str:
    """Detector, threat and radius in a few words."""
    radius = f", {meta.norm} eps {numbers.radius(meta.eps)}" if meta.eps is not None else ""
    return f"{meta.detector} under {meta.threat}{radius}"


def name_of(kind: str, meta: CellMeta) -> str:
    """The stem of the file of a figure of one cell; the key tells it from its namesakes."""
    return stem(kind, meta.track, meta.side, meta.detector, meta.threat, meta.norm, meta.eps, meta.key[:6])


def histogram(cell: Cell) -> Drawing | None:
    """Scores of clean ID images, clean OOD images and attacked ones, as shares of each; None without finite scores."""
    parts = {label: scores[np.isfinite(scores)] for label, (scores, _) in _parts(cell).items()}
    colours = {label: colour for label, (_, colour) in _parts(cell).items()}
    parts = {label: scores for label, scores in parts.items() if len(scores)}
    if not parts:
        return None
    pooled = np.concatenate(list(parts.values()))
    low, high = np.percentile(pooled, [_TAIL, 100 - _TAIL])
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    meta = cell.meta
    with drawing_settings():
        figure, axes = new_panel(label_of(meta), x="score (higher: more in-distribution)", y="share of the images")
        handles: list[Artist] = []
        for label, scores in parts.items():
            counts, _ = np.histogram(scores.clip(edges[0], edges[-1]), bins=edges)
            drawn = axes.stairs(counts / len(scores), edges, fill=True, color=colours[label], alpha=0.35)
            axes.stairs(counts / len(scores), edges, color=colours[label], linewidth=1.2)
            handles.append(drawn)
        labels = list(parts)
        if (threshold := single_threshold(meta)) is not None and low <= threshold <= high:
            handles.append(axes.axvline(threshold, color="#8d8d8d", linestyle="--", linewidth=1.0))
            (name,) = meta.thresholds
            labels.append(f"threshold that accepts {name.partition('_tpr')[2]} %")
        add_legend(figure, handles, labels)
    counted = ", ".join(counted_sets(meta))
    return Drawing(
        name_of("scores", meta), f"{label_of(meta)}, {meta.track}, side {meta.side}",
        f"Scores of the ID test images and of {counted}; beyond the outer 0.5 % drawn at the edges. Mean AUROC "
        f"{numbers.clean_auroc(meta.mean)} clean, {numbers.attacked_auroc(meta.mean)} attacked.",
        figure,
    )  # fmt: skip


def single_threshold(meta: CellMeta) -> float | None:
    """The threshold that accepts the card's share of clean ID images, where there is one for all classes."""
    return next(iter(meta.thresholds.values())) if len(meta.thresholds) == 1 else None


def counted_sets(meta: CellMeta) -> list[str]:
    """The OOD sets that enter the mean, or all where none does."""
    return [name for name, metrics in meta.sets.items() if metrics.counts] or list(meta.sets)


def _parts(cell: Cell) -> "dict[str, tuple[NDArray[np.float64], str]]":
    samples = cell.samples
    of_id, of_ood = samples["set"] == _TEST, samples["set"].isin(counted_sets(cell.meta))
    attacked = samples["status"] != ""
    parts = {
        "clean ID": (_scores(samples[of_id], "clean_score"), _ID),
        "clean OOD": (_scores(samples[of_ood], "clean_score"), _OOD),
        "attacked OOD": (_scores(samples[of_ood & attacked], "score"), _ATTACKED_OOD),
        "attacked ID": (_scores(samples[of_id & attacked], "score"), _ATTACKED_ID),
    }
    return {label: part for label, part in parts.items() if len(part[0])}


def _scores(samples: "pd.DataFrame", column: str) -> NDArray[np.float64]:
    return samples[column].to_numpy(np.float64)
