"""The picture of an entry: a line a row of its table where it asks for that, and the panels of its record."""

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.html.drawing import Drawing, add_legend, drawing_settings, new_panel, new_panels, plain, style_of
from bench.repro.entry import Entry
from bench.repro.panels import Panel, PanelKind
from bench.repro.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3
"""Panels side by side."""

_ARROWS = 6
"""Grid points from one arrow of a field to the next."""


def draw(entry: Entry, record: Record) -> Drawing | None:
    """The picture of an entry that was run; None where it has none, or nothing to show.

    Args:
        entry: With the picture of its table, if it has one.
        record: What came of it, with its panels.
    """
    return _panels(entry, record) if record.panels else _lines(entry, record)


def _lines(entry: Entry, record: Record) -> Drawing | None:
    picture, figures = entry.picture, record.lookup()
    if picture is None:
        return None
    rows = [row for row in entry.rows if not picture.rows or row.name in picture.rows]
    titles = {column.name: column.shown for column in entry.columns}
    with drawing_settings():
        figure, axes = new_panel(plain(entry.title), x="", y=plain(picture.y))
        handles, labels = [], []
        for number, row in enumerate(rows):
            points = [(x, found) for x, name in enumerate(picture.columns) if (found := figures.get((row.name, name)))]
            if not points:
                continue
            at, values = [x for x, _ in points], [one.value for _, one in points]
            style = style_of(number)
            handles += axes.plot(at, values, **style)
            low, high = [one.low for _, one in points], [one.high for _, one in points]
            axes.fill_between(at, low, high, color=style["color"], alpha=0.18, linewidth=0)
            labels.append(plain(row.shown, 40))
        if not handles:
            return None
        axes.set_xticks(range(len(picture.columns)), [plain(titles[name], 24) for name in picture.columns])
        add_legend(figure, handles, labels)
    caption = f"{', '.join(entry.items)}: {picture.y}; bands: 95 % intervals."
    return Drawing(f"repro-{entry.name}", entry.title, caption, figure)


def _panels(entry: Entry, record: Record) -> Drawing:
    with drawing_settings():
        figure, places = new_panels(len(record.panels), across=ACROSS)
        for panel, axes in zip(record.panels, places, strict=True):
            axes.set_title(plain(panel.title), loc="left")
            axes.set_xlabel(plain(panel.x))
            axes.set_ylabel(plain(panel.y))
            _DRAWN[panel.kind](panel, axes)
    return Drawing(f"repro-{entry.name}", entry.title, f"{', '.join(entry.items)}.", figure)


def _curves(panel: Panel, axes: "Axes") -> None:
    for number, series in enumerate(panel.series):
        axes.plot(series.x, series.y, label=plain(series.name, 40), **style_of(number, len(series.x)))
    _named(panel, axes)


def _points(panel: Panel, axes: "Axes") -> None:
    for number, series in enumerate(panel.series):
        axes.scatter(series.x, series.y, s=6, color=style_of(number)["color"], label=plain(series.name, 40))
    _named(panel, axes)


def _bars(panel: Panel, axes: "Axes") -> None:
    for number, series in enumerate(panel.series):
        axes.stairs(
            series.y, series.x, fill=True, alpha=0.45, color=style_of(number)["color"], label=plain(series.name, 40)
        )
    _named(panel, axes)


def _field(panel: Panel, axes: "Axes") -> None:
    side = round(len(panel.values) ** 0.5)
    values = np.asarray(panel.values).reshape(side, side)
    at = np.linspace(-panel.extent, panel.extent, side)
    drawn = axes.contourf(at, at, values, levels=np.linspace(0, 1, 11), cmap="Greys", alpha=0.7)
    axes.figure.colorbar(drawn, ax=axes)
    up, right = np.gradient(values)
    length = np.maximum(np.hypot(up, right), 1e-12)
    some = slice(_ARROWS // 2, None, _ARROWS)
    axes.quiver(at[some], at[some], (right / length)[some, some], (up / length)[some, some], color="#56b4e9", scale=30)
    _points(panel, axes)
    axes.set_aspect("equal")
    axes.grid(visible=False)


def _image(panel: Panel, axes: "Axes") -> None:
    image = np.frombuffer(base64.b64decode(panel.pixels), dtype=np.uint8).reshape(panel.shape)
    grey = panel.shape[2] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
    axes.set_axis_off()


def _named(panel: Panel, axes: "Axes") -> None:
    if len(panel.series) > 1:
        axes.legend()


_DRAWN: dict[PanelKind, Callable[[Panel, Any], None]] = {
    PanelKind.LINES: _curves,
    PanelKind.POINTS: _points,
    PanelKind.BARS: _bars,
    PanelKind.FIELD: _field,
    PanelKind.IMAGES: _image,
}
