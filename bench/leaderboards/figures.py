"""Figures of boards and rows: AUROC by the entries of the suite, scores, and attacked images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.leaderboards import arrays as names
from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.companions import Files
from bench.leaderboards.ranking import Board
from bench.leaderboards.row import Estimate, Row
from bench.report import numbers
from bench.report.html.drawing import Drawing, add_legend, drawing_settings, panel_grid, plain, stem, style_of
from bench.report.html.gallery import Gallery, Shown, image_uri
from bench.report.html.scores import Parts, draw_scores, edges_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST = 6
"""Rows of a board that are drawn."""

_EACH = 4
"""Images of a set that a page shows."""

_LETTERS = 2 * 2**20
"""The most letters that the images of one page may take."""

_BINS = 30


def board_curve(board: Board) -> Drawing | None:
    """What the best rows keep, clean and under each entry of the suite; None without a ranked row."""
    rows = {own.row.detector.name: own.row for own in board.standings[:BEST]}
    if not rows:
        return None
    return _curve(
        rows,
        stem("board", board.track.name),
        f"The best rows of {board.track.name}",
        "Mean AUROC without an attack and under each entry of the suite; bars: 95 % intervals over the images.",
    )


def row_curve(row: Row) -> Drawing:
    """What one row keeps; small marks: what each attack of an entry leaves alone."""
    return _curve(
        {row.detector.name: row},
        stem("row", row.detector.name),
        "AUROC by entry of the suite",
        "Mean AUROC without an attack and under each entry; bars: 95 % intervals over the images. Small marks: each "
        "attack of an entry alone; the worst case is taken image by image, so it lies at or below them.",
        members=True,
    )


def row_scores(row: Row, table: ScoreTable) -> Drawing:
    """Histograms of one row's scores, a panel an entry, on one scale."""
    counting = table.counting

    def of(scores: "np.ndarray") -> "np.ndarray":
        parts = table.by_set(scores)
        return np.concatenate([parts[name] for name in counting]).astype(np.float64)

    shared: Parts = {"clean ID": table.test.astype(np.float64), "clean OOD": of(table.clean)}
    panels = [
        (numbers.ball(entry.norm, entry.eps), shared | {"attacked OOD": of(table.arrays[names.worst_name(number)])})
        for number, entry in enumerate(row.entries)
    ]

    def draw(wide: bool) -> "Figure":
        columns = min(4, len(panels)) if wide else 1
        lines = -(-len(panels) // columns)
        edges = edges_of((scores for _, parts in panels for scores in parts.values()), _BINS)
        with drawing_settings():
            figure, every = panel_grid(
                [title for title, _ in panels],
                x="score (higher: more in-distribution)",
                y="share of the images",
                columns=columns,
                size=(12.0, 2.8 * lines) if wide else (4.6, 2.3 * lines),
            )
            handles: dict[str, object] = {}
            for axes, (_, parts) in zip(every, panels, strict=True):
                handles |= draw_scores(axes, parts, edges)
            add_legend(figure, list(handles.values()), list(handles), wide=wide)
        return figure

    return Drawing.of(
        stem("scores", row.detector.name),
        "Scores, clean and attacked",
        "Shares of ID test images and of the OOD sets in the mean, in the worst case of each entry; the outer 0.5 % at "
        "the edges.",
        draw,
    )


def row_galleries(row: Row, files: Files | None) -> tuple[Gallery, ...]:
    """Images of each entry's worst case that lie beside a row, a few of each set.

    Args:
        row: The row, as it was handed in.
        files: What lies beside it.
    """
    if files is None or not files.images:
        return ()
    galleries, letters = [], 0
    for number, entry in enumerate(row.entries):
        rows, images = files.images.get(names.rows_name(number)), files.images.get(names.images_name(number))
        if rows is None or images is None or images.ndim != 4 or images.shape[1] not in (1, 3):
            continue
        of_set = _set_of(files.table)
        clean, worst = files.table.clean, files.table.arrays[names.worst_name(number)]
        norms, shown, taken = files.table.arrays[names.norm_name(number)], [], dict.fromkeys(of_set, 0)
        for at, image in zip(rows.tolist(), images, strict=False):
            if not 0 <= at < len(of_set) or taken[of_set[at]] >= _EACH:
                continue
            taken[of_set[at]] += 1
            uri = image_uri(image)
            letters += len(uri)
            if letters > _LETTERS:
                break
            shown.append(
                Shown(of_set[at], "", uri, "", "", f"{norms[at]:.3g}", f"{clean[at]:.4g}", f"{worst[at]:.4g}", "")
            )
        if shown:
            title = f"{entry.threat} at {numbers.ball(entry.norm, entry.eps)}"
            galleries.append(Gallery(title, str(entry.norm), tuple(shown)))
    return tuple(galleries)


def _set_of(table: ScoreTable) -> list[str]:
    """The set of each OOD image, by its position."""
    return [name for name, count in table.sets.items() if name != "test" for _ in range(count)]


def _curve(rows: dict[str, Row], name: str, title: str, caption: str, *, members: bool = False) -> Drawing:
    places = [
        "clean",
        *(f"{entry.threat}\n{numbers.ball(entry.norm, entry.eps)}" for entry in next(iter(rows.values())).entries),
    ]

    def draw(wide: bool) -> "Figure":
        with drawing_settings():
            figure, (axes,) = panel_grid(
                [""], x="", y="mean AUROC", columns=1, size=(12.0, 3.3) if wide else (4.6, 3.2)
            )
            handles = [_line(axes, number, row, len(rows), members) for number, row in enumerate(rows.values())]
            axes.set_xticks(
                range(len(places)),
                [plain(place.replace("\n", " "), 40) for place in places]
                if wide
                else [plain(place.rpartition("\n")[2], 20) for place in places],
            )
            axes.set_xlim(-0.4, len(places) - 0.6)
            axes.set_ylim(-0.02, 1.02)
            add_legend(figure, handles, [plain(label, 40) for label in rows], wide=wide)
        return figure

    return Drawing.of(name, title, caption, draw)


def _line(axes: "Axes", number: int, row: Row, count: int, members: bool) -> object:
    every: Sequence[Estimate] = [row.clean, *(entry.mean for entry in row.entries)]
    at = np.arange(len(every)) + (number - (count - 1) / 2) * 0.06
    style = {**style_of(number), "linestyle": "-"}
    (line,) = axes.plot(at, [own.auroc for own in every], **style)
    for x, own in zip(at, every, strict=True):
        axes.vlines(x, own.low, own.high, color=style["color"], linewidth=1.2)
    if members:
        for x, entry in zip(at[1:], row.entries, strict=True):
            alone = [member.mean.auroc for member in entry.members.values()]
            axes.plot([x + 0.12] * len(alone), alone, linestyle="", marker="_", color="#8d8d8d", markersize=7)
    return line
