"""What is drawn beside a table: plain numbers, kept in the record of an entry, so that a page needs no cell."""

import base64
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from bench.cards.base import Card
from bench.lazy import lazily

with lazily():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_Words = Annotated[str, StringConstraints(max_length=200)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Numbers = Annotated[tuple[_Number, ...], Field(max_length=20_000)]

MOST_PIXELS = 1_500_000
"""Of one picture in a record."""

BINS = 24
"""Of a histogram."""


class PanelKind(StrEnum):
    """How a panel is drawn."""

    LINES = "lines"
    POINTS = "points"
    BARS = "bars"  # a histogram: x are the left ends of bins and the last right one, y what is in them
    FIELD = "field"  # contours of values on a square grid with their gradients, and series as points over them
    IMAGES = "images"


class Series(Card):
    """One line, cloud or histogram of a panel."""

    name: _Words
    x: _Numbers
    y: _Numbers


class Panel(Card):
    """One panel.

    Attributes:
        kind: How it is drawn.
        title: Above it.
        x: What lies on the horizontal axis.
        y: On the vertical one.
        series: What is drawn; of a field, over it.
        values: Of a field: rows from the lowest y up, each as long as there are rows.
        extent: Of a field: both axes go from minus this to this.
        shape: Of a picture: height, width and channels.
        pixels: Of a picture: bytes in base64.
    """

    kind: PanelKind
    title: _Words
    x: _Words = ""
    y: _Words = ""
    series: tuple[Series, ...] = Field(default=(), max_length=30)
    values: _Numbers = ()
    extent: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    shape: tuple[int, int, int] = (0, 0, 0)
    pixels: Annotated[str, StringConstraints(max_length=2 * MOST_PIXELS)] = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        extra = 1 if self.kind is PanelKind.BARS else 0
        if any(len(one.x) != len(one.y) + extra for one in self.series):
            raise ValueError("a series has as many x as y, a histogram one x more")
        side = round(len(self.values) ** 0.5)
        if side * side != len(self.values):
            raise ValueError("a field is a square grid")
        height, width, channels = self.shape
        size = height * width * channels
        if not 0 <= size <= MOST_PIXELS or len(base64.b64decode(self.pixels, validate=True)) != size:
            raise ValueError("a picture has as many bytes as its shape says")
        return self


def histogram(title: str, x: str, values: "Mapping[str, ArrayLike]", bins: int = BINS) -> Panel:
    """Histograms of several samples over the same bins, each as shares of its sample; what is not finite is left out.

    Args:
        title: Above the panel.
        x: What the values are.
        values: Samples by their names.
        bins: How many.
    """
    finite = {name: found[np.isfinite(found)] for name, one in values.items() if len(found := np.asarray(one, float))}
    pooled = np.concatenate([*finite.values(), np.zeros(0)])
    if not len(pooled):
        return Panel(kind=PanelKind.BARS, title=title, x=x, y="share")
    edges = np.linspace(pooled.min(), pooled.max() if pooled.max() > pooled.min() else pooled.min() + 1.0, bins + 1)
    series = [
        Series(name=name, x=_plain(edges), y=_plain(np.histogram(found, edges)[0] / len(found)))
        for name, found in finite.items()
        if len(found)
    ]
    return Panel(kind=PanelKind.BARS, title=title, x=x, y="share", series=tuple(series))


def picture(title: str, rows: "Sequence[NDArray[np.float32]]") -> Panel:
    """Rows of images, each (N, C, H, W) in [0, 1] of one size, one row below the other."""
    wide = max(len(row) for row in rows)
    lines = []
    for row in rows:
        shown = np.clip(np.rint(row * 255), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        whole = np.full((wide, *shown.shape[1:]), 255, dtype=np.uint8)
        whole[: len(shown)] = shown
        lines.append(np.concatenate([np.pad(one, ((1, 1), (1, 1), (0, 0)), constant_values=255) for one in whole], 1))
    image = np.concatenate(lines)
    pixels = base64.b64encode(image.tobytes()).decode()
    return Panel(kind=PanelKind.IMAGES, title=title, shape=image.shape, pixels=pixels)


def line(name: str, x: Sequence[float], y: Sequence[float]) -> Series:
    """A series of numbers of any kind, shortened to what a picture can show."""
    return Series(name=name, x=_plain(np.asarray(x, float)), y=_plain(np.asarray(y, float)))


def field(title: str, values: "NDArray[np.float64]", extent: float, points: Sequence[Series] = ()) -> Panel:
    """A field over a square: (n, n) values, the first row the lowest."""
    return Panel(kind=PanelKind.FIELD, title=title, values=_plain(values.ravel()), extent=extent, series=tuple(points))


def _plain(values: "NDArray[np.float64]") -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)
