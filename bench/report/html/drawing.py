"""One manner for all figures: a panel as SVG for pages that may be dark, and as PNG."""

import base64
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.own_files import SOFTWARE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c6bb1", "#8d8d8d")
"""After Okabe and Ito (2008), told apart by those who see fewer colours; readable on light and on dark ground."""
MARKERS = "os^Dv<>P"
DASHES = ("-", "--", ":", "-.")

INK, PALE = "#24292f", "#d0d7de"
_DARK = {INK: "#c9d1d9", PALE: "#30363d"}
_SIZE = (4.6, 3.4)  # inches of one panel
_WIDE = (12.0, 3.6)  # of a figure as wide as a page
_LEGEND_LINE = 0.2  # inches
_MARKS = 8
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_SETTINGS: Any = {
    "svg.hashsalt": "robustood",  # the same ids in every file that is drawn from the same cells
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a name with dollars is a name
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.labelcolor": INK,
    "grid.color": PALE, "grid.linewidth": 0.6, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 9.0, "legend.fontsize": 8.0, "legend.frameon": False,
    "savefig.dpi": 150,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Attributes:
        name: The stem of its file: lower-case letters, digits and hyphens.
        title: What it shows.
        caption: What a reader must know to read it, also without seeing it.
        figure: The figure itself.
        wide: Draws the same as wide as a page, its panels side by side; None where there is no such form.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    wide: Callable[[], Figure] | None = None

    @classmethod
    def of(cls, name: str, title: str, caption: str, draw: Callable[[bool], Figure]) -> "Drawing":
        """A figure in both forms.

        Args:
            name: The stem of its file.
            title: What it shows.
            caption: What a reader must know.
            draw: Draws it, given whether as wide as a page.
        """
        return cls(name, title, caption, draw(False), partial(draw, True))

    def svg(self, *, wide: bool = False) -> str:
        """As SVG, whose ink turns light where the reader prefers dark pages; the same text for the same cells."""
        figure = self.wide() if wide and self.wide is not None else self.figure
        with drawing_settings():
            out = io.BytesIO()
            figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
        return _adaptive(out.getvalue().decode())

    def png(self) -> bytes:
        """As PNG on white."""
        with drawing_settings():
            out = io.BytesIO()
            self.figure.savefig(out, format="png", facecolor="white", metadata={"Software": SOFTWARE})
        return out.getvalue()


class Drawings(tuple[Drawing, ...]):
    """Figures, which a notebook shows side by side."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        images = (f'<img src="{svg_uri(drawing)}" alt="{escape(drawing.title)}">' for drawing in self)
        return f"<div>{''.join(images)}</div>"


def svg_uri(drawing: Drawing, *, wide: bool = False) -> str:
    """A figure as an address that loads nothing, and in which no script can run."""
    return data_uri("image/svg+xml", drawing.svg(wide=wide).encode())


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address that loads nothing."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@contextmanager
def drawing_settings() -> Iterator[None]:
    """The manner of all figures, whatever the user's own settings; names in scripts without glyphs are no warning."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_panel(title: str, *, x: str, y: str, wide: bool = False) -> "tuple[Figure, Axes]":
    """One empty panel; call it, and draw, within `drawing_settings`."""
    figure, (axes,) = panel_grid([title], x=x, y=y, columns=1, size=_WIDE if wide else _SIZE)
    return figure, axes


def new_panels(count: int, *, across: int) -> "tuple[Figure, list[Axes]]":
    """So many empty panels in rows of `across`; call it, and draw, within `drawing_settings`."""
    wide, high = min(count, across), -(-count // across)
    figure = Figure(figsize=(_SIZE[0] * wide, _SIZE[1] * high), layout="constrained")
    FigureCanvasAgg(figure)
    places = list(figure.subplots(high, wide, squeeze=False).ravel())
    for unused in places[count:]:
        unused.remove()
    return figure, places[:count]


def panel_grid(
    titles: Sequence[str], *, x: str, y: str, columns: int, size: tuple[float, float]
) -> "tuple[Figure, list[Axes]]":
    """Empty panels, row by row, with one scale for all figures; call it, and draw, within `drawing_settings`.

    Args:
        titles: One a panel.
        x: What is drawn to the right.
        y: What is drawn upwards.
        columns: Panels side by side.
        size: Inches of the whole figure.
    """
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    rows = -(-len(titles) // columns)
    every = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = list(every.flat)
    for number, axes in enumerate(panels):
        if number >= len(titles):
            axes.set_visible(False)
            continue
        axes.set_title(plain(titles[number]), loc="left")
        axes.set_xlabel(x if number + columns >= len(titles) else "")
        axes.set_ylabel(y if number % columns == 0 else "")
    return figure, panels[: len(titles)]


def add_legend(figure: Figure, handles: list[Any], labels: list[str], *, wide: bool = False) -> None:
    """A legend: below the panels, for which the figure grows, or to the right of wide ones."""
    columns = 1 if wide or max(map(len, labels), default=0) > 28 else 2
    if not wide:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + _LEGEND_LINE * (-(-len(labels) // columns) + 0.5))
    place: Any = "outside right upper" if wide else "outside lower center"
    drawn = figure.legend(handles, [" "] * len(labels), loc=place, ncols=columns)
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)  # set afterwards: a label that begins with an underscore would be left out


def style_of(number: int, points: int = 1) -> dict[str, Any]:
    """Colour, marker and dashes of the n-th line, which differ for the first 32; of many points a few are marked."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        "markersize": 4.0,
        "linewidth": 1.4,
        "markevery": max(1, points // _MARKS),
    }


def plain(text: str, length: int = 60) -> str:
    """A name that can stand in a figure: of one line, printable, and short."""
    shown = text if len(text) <= length else f"{text[: length - 3]}..."
    return "".join(sign if sign.isprintable() else "?" for sign in shown)


def stem(*parts: object) -> str:
    """A file's name without anything but lower-case letters, digits, points and hyphens, whatever the parts hold."""
    words = "-".join(str(part)[:60] for part in parts if part not in (None, ""))
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:150] or "figure"


def _adaptive(svg: str) -> str:
    """The SVG without its document type, which is an address, and with rules that turn its ink light in dark mode."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    start = svg.index("<svg")
    end = svg.index(">", start) + 1
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg[start:end] + style + svg[end:]
