"""How attacks got where they ended: the best score so far along their steps."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.cards.threat import Side
from bench.evaluation.results import Cell
from bench.report import numbers
from bench.report.html.drawing import Drawing, add_legend, drawing_settings, new_panel, plain, stem, style_of

Quartiles = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Lower quartile, median, upper quartile at each point of a trace."""

_ID_SETS = ("test", "calibration")


class Convergence:
    """Traces of cells that are drawn together: one panel a track, attacked side and threat.

    Args:
        of: The detector, where all cells are of one: its lines are named by their radii alone.
    """

    def __init__(self, of: str = "") -> None:
        self._of = of
        self._lines: dict[tuple[str, Side, str], dict[str, Quartiles]] = {}

    def add(self, cell: Cell, threat: str, label: str) -> None:
        """The traces of one cell, if it keeps any.

        Args:
            cell: The cell.
            threat: The name of its threat in the tables.
            label: The name of its row.
        """
        meta = cell.meta
        words = [] if self._of and meta.eps is not None else [label]
        line = ", ".join([*words, *([] if meta.eps is None else [f"eps {numbers.radius(meta.eps)}"])])
        for side, gains in gains_of(cell).items():
            self._lines.setdefault((meta.track, side, threat), {})[line] = gains

    def drawings(self) -> list[Drawing]:
        """One panel for each threat."""
        return [_panel(lines, *place, of=self._of) for place, lines in self._lines.items()]


def gains_of(cell: Cell) -> dict[Side, Quartiles]:
    """For each attacked side, how far the attack had moved the score at each point of its trace.

    Gains over the clean score in the attacker's direction, in interquartile ranges of clean ID scores; quartiles over
    the images. Empty where no trace was kept, or where it is of something else than scores (side `fool`).
    """
    meta, trace = cell.meta, cell.arrays.get("trace")
    if (
        trace is None
        or meta.nearest
        or meta.side in (Side.FOOL, Side.BETWEEN)
        or trace.ndim != 2
        or len(trace) != len(cell.samples)
    ):
        return {}
    clean = cell.samples["clean_score"].to_numpy(np.float64)[:, None]
    attacked = cell.samples["status"].to_numpy() != ""
    is_id = cell.samples["set"].isin(_ID_SETS).to_numpy()
    found = {}
    for side, rows, sign in ((Side.EVADE, attacked & ~is_id, 1.0), (Side.ALARM, attacked & is_id, -1.0)):
        gains = sign * (trace[rows].astype(np.float64) - clean[rows]) / (meta.iqr or 1.0)
        gains = gains[np.isfinite(gains).all(axis=1)]
        if len(gains) and gains.shape[1] > 1:
            low, middle, high = np.percentile(gains, [25, 50, 75], axis=0)
            found[side] = (low, middle, high)
    return found


def _panel(lines: Mapping[str, Quartiles], track: str, side: Side, threat: str, *, of: str) -> Drawing:
    with drawing_settings():
        figure, axes = new_panel(threat, x="share of the attack's steps", y="gain, in IQR of clean ID scores")
        handles = []
        for number, (low, middle, high) in enumerate(lines.values()):
            style, along = style_of(number, len(middle)), np.linspace(0.0, 1.0, len(middle))
            handles += axes.plot(along, middle, **style)
            axes.fill_between(along, low, high, color=style["color"], alpha=0.12, linewidth=0)
        axes.set_xlim(0, 1)
        add_legend(figure, handles, [plain(label, 40) for label in lines])
    return Drawing(
        stem("convergence", track, side, of, threat),
        f"{of and f'{of} under '}{threat}: best score so far, side {side}",
        f"{track}: how far the best of all restarts has moved the score, against the share of the steps: median over "
        "the images, band between the quartiles; flat at the end: more steps would hardly help. An image that was "
        "stopped early stays where it was.",
        figure,
    )
