"""Letters from the fonts that ship with matplotlib, at the digits' resolution."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Count, Seed, SourceArgs
from bench.datasets.sources._lowres import WIDTH, count_blocks, fill_box, inside, near_line, turn, upscale
from bench.errors import DataError
from bench.lazy import lazily

with lazily():
    import matplotlib

LETTERS = "AaCcdEeFfGHhJjKkLMmNnPpRrTtUuVvWwXxYy"
"""Both alphabets without the digits' look-alikes O o D Q I l i S s Z z B q g b."""

FONTS = (
    "DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral",
    "STIXGeneralItalic", "STIXGeneralBol", "cmss10", "cmtt10", "cmr10", "DejaVuSerif-Italic", "cmb10",
)  # fmt: skip

MAX_ANGLE = 20.0
"""Degrees that a letter is turned at most: more would make N a Z."""


class GlyphsArgs(SourceArgs):
    """How many letters, and which draw of them."""

    count: Count
    seed: Seed


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Letters as 32x32x1 images; labels are positions in `LETTERS`.

    Every image is one letter of one font, turned by up to `MAX_ANGLE` degrees, drawn as a 32x32 bitmap that fills the
    box as digits do, counted in 4x4 blocks and enlarged as the digits are. Thin fonts are thickened to the weight of a
    pen. Outlines are read and filled here, without hinting, so that the images do not depend on a font renderer's
    version.

    Raises:
        DataError: A wrong argument, or matplotlib's fonts are missing.
    """
    wanted = GlyphsArgs.parse(args, "glyphs")
    rng = np.random.default_rng(wanted.seed)
    # Every letter equally often, in random order.
    labels = rng.permutation(np.arange(wanted.count) % len(LETTERS))
    fonts = rng.integers(len(FONTS), size=wanted.count)
    angles = rng.uniform(-MAX_ANGLE, MAX_ANGLE, size=wanted.count)
    pens = rng.uniform(1.8, 2.8, size=wanted.count)
    widths = rng.uniform(20.0, WIDTH, size=wanted.count)
    with ExitStack() as open_files:
        opened = [open_files.enter_context(_font(name)) for name in FONTS]
        bitmaps = [
            _bitmap(turn(_outline(opened[fonts[i]], LETTERS[labels[i]]), angles[i]), pens[i], widths[i])
            for i in range(wanted.count)
        ]
    return RawImages(upscale(count_blocks(np.stack(bitmaps))), labels.astype(np.int64))


def _bitmap(outline: list[np.ndarray], pen: float, width: float) -> np.ndarray:
    """(32, 32) bool, at most `width` wide, with strokes at least about `2 * pen` pixels wide."""
    plain = fill_box(outline, 0.0, width)
    # Area over perimeter is half the width of a long stroke: what it lacks is added around the outline.
    grow = max(0.0, pen - _area(plain) / _perimeter(plain))
    plain = fill_box(outline, grow, width)
    mask: np.ndarray = inside(plain) | near_line([np.vstack([line, line[:1]]) for line in plain], grow)
    return mask


def _area(contours: list[np.ndarray]) -> float:
    """Of what the contours enclose; holes run the other way round and count against it."""
    following = [np.roll(line, -1, axis=0) for line in contours]
    twice = [(a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]).sum() for a, b in zip(contours, following, strict=True)]
    return abs(float(sum(twice))) / 2


def _perimeter(contours: list[np.ndarray]) -> float:
    return float(sum(np.linalg.norm(np.roll(line, -1, axis=0) - line, axis=1).sum() for line in contours))


def _font(name: str) -> TTFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    if not path.is_file():
        raise DataError(f"matplotlib's font {name}.ttf was not found: install matplotlib again, with its data files.")
    # It warns of the dates in some fonts' headers, which matter to nobody here.
    logging.getLogger("fontTools.ttLib").setLevel(logging.ERROR)
    return TTFont(path, lazy=True)


def _outline(font: TTFont, letter: str) -> list[np.ndarray]:
    """Closed contours of a letter, (P, 2) in font units, y down."""
    glyphs = font["glyf"]
    pen = _Flattener(glyphs)
    glyphs[font.getBestCmap()[ord(letter)]].draw(pen, glyphs)
    return [np.array(contour) * (1.0, -1.0) for contour in pen.contours]


class _Flattener(BasePen):  # type: ignore[misc]  # fontTools is untyped
    """Turns a letter's curves, all quadratic in TrueType, into short straight lines."""

    steps = np.linspace(0.0, 1.0, 5)[1:, None]

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.contours: list[list[Any]] = []

    def _moveTo(self, pt: Any) -> None:  # noqa: N802  # the names are fontTools'
        self.contours.append([pt])

    def _lineTo(self, pt: Any) -> None:  # noqa: N802
        self.contours[-1].append(pt)

    def _qCurveToOne(self, pt1: Any, pt2: Any) -> None:  # noqa: N802
        p, q, r, t = *np.array([self._getCurrentPoint(), pt1, pt2], dtype=float), self.steps
        self.contours[-1].extend((1 - t) ** 2 * p + 2 * t * (1 - t) * q + t**2 * r)
