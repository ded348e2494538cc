"""Where the scores of a cell lie before and after the attack."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.results import Cell, CellMeta
from bench.report import numbers
from bench.report.html.drawing import COLOURS, Drawing, add_legend, drawing_settings, new_panel, panel_grid, stem

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40
_TAIL = 0.5  # per cent of the scores at each end that are drawn in the outermost bins
_ABREAST = 6  # small panels side by side on a wide page
_OOD = COLOURS[7]
_COLOURS = {"clean ID": COLOURS[0], "clean OOD": _OOD, "attacked OOD": COLOURS[1], "attacked ID": COLOURS[3]}
_TEST = "test"

Parts = dict[str, NDArray[np.float64]]
"""Scores by what they are of."""


def label_of(meta: CellMeta) -> str:
    """Detector, threat and radius in a few words."""
    radius = f", {meta.norm} eps {numbers.radius(meta.eps)}" if meta.eps is not None else ""
    return f"{meta.detector} under {meta.threat}{radius}"


def name_of(kind: str, meta: CellMeta) -> str:
    """The stem of the file of a figure of one cell; the key tells it from its namesakes."""
    return stem(kind, meta.track, meta.side, meta.detector, meta.threat, meta.norm, meta.eps, meta.key[:6])


def histogram(cell: Cell) -> Drawing | None:
    """Scores of clean ID images, clean OOD images and attacked ones, as shares of each; None without finite scores."""
    parts = score_parts(cell)
    if not parts:
        return None
    edges = edges_of(parts.values(), _BINS)
    low, high = edges[0], edges[-1]
    meta = cell.meta
    with drawing_settings():
        figure, axes = new_panel(label_of(meta), x="score (higher: more in-distribution)", y="share of the images")
        handles: list[Artist] = list(draw_scores(axes, parts, edges).values())
        labels = list(parts)
        if (threshold := single_threshold(meta)) is not None and low <= threshold <= high:
            handles.append(axes.axvline(threshold, color="#8d8d8d", linestyle="--", linewidth=1.0))
            (name,) = meta.thresholds
            labels.append(f"threshold that accepts {name.partition('_tpr')[2]} %")
        add_legend(figure, handles, labels)
    counted = ", ".join(counted_sets(meta))
    return Drawing(
        name_of("scores", meta),
        f"{label_of(meta)}, {meta.track}, side {meta.side}",
        f"Scores of the ID test images and of {counted}; beyond the outer 0.5 % drawn at the edges. Mean AUROC "
        f"{numbers.clean_auroc(meta.mean)} clean, {numbers.attacked_auroc(meta.mean)} attacked.",
        figure,
    )


def single_threshold(meta: CellMeta) -> float | None:
    """The threshold that accepts the card's share of clean ID images, where there is one for all classes."""
    return next(iter(meta.thresholds.values())) if len(meta.thresholds) == 1 else None


def counted_sets(meta: CellMeta) -> list[str]:
    """The OOD sets that enter the mean, or all where none does."""
    return [name for name, metrics in meta.sets.items() if metrics.counts] or list(meta.sets)


@dataclass
class ScorePanels:
    """Histograms of the cells of one detector as small multiples: one panel a cell, one scale for all.

    Attributes:
        label: The detector's name in the table.
        place: What tells the figure's file from others: track and side.
    """

    label: str
    place: tuple[str, ...]
    _cells: list[tuple[str, Parts, float | None]] = field(default_factory=list)

    def add(self, cell: Cell, title: str) -> None:
        """The scores of a cell, if any is finite."""
        if parts := score_parts(cell):
            self._cells.append((title, parts, single_threshold(cell.meta)))

    def drawings(self) -> tuple[Drawing, ...]:
        """One figure, or none."""
        if not self._cells:
            return ()
        return (
            Drawing.of(
                stem("scores", *self.place, self.label),
                f"{self.label}: scores, clean and attacked",
                "Shares of ID test images and of the OOD sets that count, on one scale, the outer 0.5 % at its edges. "
                "Dashed: the threshold that accepts the card's share of ID images.",
                self._draw,
            ),
        )

    def _draw(self, wide: bool) -> "Figure":
        edges = edges_of((scores for _, parts, _ in self._cells for scores in parts.values()), _BINS)
        columns = min(_ABREAST if wide else 2, len(self._cells))
        rows = -(-len(self._cells) // columns)
        handles: dict[str, Artist] = {}
        with drawing_settings():
            figure, panels = panel_grid(
                [title for title, _, _ in self._cells],
                x="score",
                y="share",
                columns=columns,
                size=(12.0, 0.4 + 1.9 * rows) if wide else (4.6, 0.3 + 1.6 * rows),
            )
            for axes, (_, parts, threshold) in zip(panels, self._cells, strict=True):
                handles = draw_scores(axes, parts, edges) | handles
                axes.set_xlim(edges[0], edges[-1])
                axes.locator_params(nbins=4)
                if threshold is not None and edges[0] <= threshold <= edges[-1]:
                    axes.axvline(threshold, color=_OOD, linestyle="--", linewidth=1.0)
            add_legend(figure, list(handles.values()), list(handles), wide=wide)
        return figure


def edges_of(parts: Iterable[NDArray[np.float64]], bins: int) -> NDArray[np.float64]:
    """The edges of bins over all of these scores but the outermost 0.5 % at each end."""
    low, high = np.percentile(np.concatenate(list(parts)), [_TAIL, 100 - _TAIL])
    return np.linspace(low, high, bins + 1) if high > low else np.array([low - 0.5, low + 0.5])


def draw_scores(axes: "Axes", parts: Parts, edges: NDArray[np.float64]) -> "dict[str, Artist]":
    """Each part as shares of itself; a handle of each for the legend."""
    handles: dict[str, Artist] = {}
    for label, scores in parts.items():
        counts, _ = np.histogram(scores.clip(edges[0], edges[-1]), bins=edges)
        handles[label] = axes.stairs(counts / len(scores), edges, fill=True, color=_COLOURS[label], alpha=0.35)
        axes.stairs(counts / len(scores), edges, color=_COLOURS[label], linewidth=1.2)
    return handles


def score_parts(cell: Cell) -> Parts:
    """The finite scores of clean ID images, clean OOD images and attacked ones."""
    samples = cell.samples
    of_id, of_ood = samples["set"] == _TEST, samples["set"].isin(counted_sets(cell.meta))
    attacked = samples["status"] != ""
    parts = {
        "clean ID": _scores(samples[of_id], "clean_score"),
        "clean OOD": _scores(samples[of_ood], "clean_score"),
        "attacked OOD": _scores(samples[of_ood & attacked], "score"),
        "attacked ID": _scores(samples[of_id & attacked], "score"),
    }
    finite = {label: scores[np.isfinite(scores)] for label, scores in parts.items()}
    return {label: scores for label, scores in finite.items() if len(scores)}


def _scores(samples: "pd.DataFrame", column: str) -> NDArray[np.float64]:
    return samples[column].to_numpy(np.float64)
