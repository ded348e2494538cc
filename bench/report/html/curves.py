"""Curves of whole tables: AUROC against the radius, fooled classifiers against the radius, paths between images."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bench.cards.threat import Side
from bench.evaluation.results import FoolAtEps
from bench.report.html.drawing import (
    Drawing,
    add_legend,
    drawing_settings,
    new_panel,
    panel_grid,
    plain,
    stem,
    style_of,
)
from bench.report.means import Means
from bench.report.table import Row, Section, Table, mean_auroc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
Lines = dict[str, list[Point]]


def curves_of(table: Table) -> list[Drawing]:
    """Every curve that the cells of this table make."""
    if table.side is Side.FOOL:
        return fool_curves(table)
    if table.side is Side.BETWEEN:
        return path_curves(table)
    if table.nearest:
        return nearest_curves(table)
    return auroc_curves(table)


def auroc_curves(table: Table) -> list[Drawing]:
    """Mean AUROC against the radius, one panel a threat and norm; the clean AUROC stands at radius 0."""
    panels: dict[tuple[str, str], list[Section]] = {}
    for section in table.sections:
        if section.attacked and section.eps is not None:
            panels.setdefault((section.threat, str(section.norm)), []).append(section)
    return [_auroc_panel(table, threat, norm, sections) for (threat, norm), sections in panels.items()]


def means_curve(table: Table, means: Means) -> Drawing | None:
    """The answer at one glance: what every detector keeps of its clean AUROC, one panel a norm; None without radii."""
    norms = dict.fromkeys(str(ball.norm) for ball in means.balls if ball.eps is not None)
    if not norms:
        return None
    rows = {
        norm: {
            label: own
            for label, kept in zip(means.labels, means.kept, strict=True)
            if (
                own := [
                    one.row
                    for one, ball in zip(kept, means.balls, strict=True)
                    if one is not None and ball.eps is not None and str(ball.norm) == norm
                ]
            )
        }
        for norm in norms
    }

    def draw(wide: bool) -> "Figure":
        with drawing_settings():
            size = (12.0, 3.3) if wide else (4.6, 2.9 * len(norms))
            figure, panels = panel_grid(
                [_norm_title(means, norm) for norm in norms],
                x="eps, in [0, 1] pixel units",
                y="mean AUROC",
                columns=len(norms) if wide else 1,
                size=size,
            )
            handles: dict[str, object] = {}
            for axes, norm in zip(panels, norms, strict=True):
                for number, label in enumerate(sorted(means.labels)):
                    if label in rows[norm]:
                        line = _auroc_line(axes, number, rows[norm][label])
                        handles.setdefault(label, line)
                if ceiling := _ceiling_line(axes, [own for lines in rows[norm].values() for own in lines]):
                    handles.setdefault(_CEILING, ceiling)
                axes.set_ylim(-0.02, 1.02)
                axes.set_xlim(left=0)
            add_legend(figure, list(handles.values()), [plain(label, 40) for label in handles], wide=wide)
        return figure

    return Drawing.of(
        stem("means", table.track, table.side, *table.without),
        "Mean AUROC against eps",
        f"{table.track}, side {table.side}: the lowest of all attacks at each radius, clean at eps 0; bands: "
        "95 % intervals; open marks: not to be believed.",
        draw,
    )


def _norm_title(means: Means, norm: str) -> str:
    threats = dict.fromkeys(threat for ball in means.balls if str(ball.norm) == norm for threat in ball.threats)
    return f"{norm}: {', '.join(threats)}"


def _auroc_panel(table: Table, threat: str, norm: str, sections: list[Section]) -> Drawing:
    lines: dict[str, list[Row]] = {}
    for section in sections:
        for row in section.rows:
            lines.setdefault(row.label, []).append(row)

    def draw(wide: bool) -> "Figure":
        with drawing_settings():
            figure, axes = new_panel(threat, x=f"{norm} eps, in [0, 1] pixel units", y="mean AUROC", wide=wide)
            handles = [_auroc_line(axes, number, rows) for number, (_, rows) in enumerate(sorted(lines.items()))]
            labels = [plain(label, 40) for label in sorted(lines)]
            if ceiling := _ceiling_line(axes, [row for section in sections for row in section.rows[:1]]):
                handles.append(ceiling)
                labels.append(_CEILING)
            axes.set_ylim(-0.02, 1.02)
            axes.set_xlim(left=0)
            add_legend(figure, handles, labels, wide=wide)
        return figure

    return Drawing.of(
        stem("auroc", table.track, table.side, norm, threat),
        f"{threat}: AUROC against {norm} eps",
        f"{table.track}, side {table.side}: mean AUROC over the OOD sets that count, clean at eps 0; bands: "
        "95 % intervals; open marks: not to be believed.",
        draw,
    )


_CEILING = "no detector can exceed"


def _ceiling_line(axes: "Axes", rows: list[Row]) -> object | None:
    """The ceiling at each radius, where it does not lie on the upper edge."""
    ceilings = {
        row.meta.eps: row.meta.mean.ceiling
        for row in rows
        if row.meta.mean is not None and row.meta.mean.ceiling is not None and row.meta.eps is not None
    }
    if all(ceiling >= 0.9995 for ceiling in ceilings.values()):
        return None
    (line,) = axes.plot(*zip(*sorted(ceilings.items()), strict=True), color="#8d8d8d", linestyle=":", linewidth=1.2)
    return line


def _auroc_line(axes: "Axes", number: int, rows: list[Row]) -> object:
    first = rows[0].meta
    if first.mean is not None:
        points = [(0.0, first.mean.clean_auroc, first.mean.clean_low, first.mean.clean_high)]
    else:
        clean = sum(metrics.clean_auroc for metrics in first.sets.values()) / max(1, len(first.sets))
        points = [(0.0, clean, clean, clean)]
    for row in rows:
        value, mean = mean_auroc(row.meta), row.meta.mean
        points.append((row.meta.eps or 0.0, value, mean.low if mean else value, mean.high if mean else value))
    eps, auroc, low, high = map(list, zip(*sorted(points), strict=True))
    style = style_of(number)
    (line,) = axes.plot(eps, auroc, **style)
    axes.fill_between(eps, low, high, color=style["color"], alpha=0.18, linewidth=0)
    doubted = [(row.meta.eps or 0.0, mean_auroc(row.meta)) for row in rows if row.doubted]
    for at in doubted:
        axes.plot(*at, marker=style["marker"], color=style["color"], markerfacecolor="white", markersize=6, zorder=4)
    return line


def fool_curves(table: Table) -> list[Drawing]:
    """Shares of fooled images against the radius, one pair of panels a threat and goal."""
    panels: dict[tuple[str, str], list[Row]] = {}
    for section in table.sections:
        for row in section.rows:
            if row.meta.fool is not None:
                panels.setdefault((section.threat, str(row.meta.fool.goal)), []).append(row)
    drawings = []
    for (threat, goal), rows in panels.items():
        accuracy = _fool_lines(rows, lambda at: at.adversarial_accuracy, at_zero=_clean_accuracy)
        undetected = _fool_lines(rows, lambda at: at.undetected, at_zero=lambda _: 0.0)
        for percentile in sorted({p for row in rows for at in _curve(row) for p in at.by_percentile}, key=float):
            lines = _fool_lines(rows, partial(_undetected_at, percentile), at_zero=lambda _: 0.0)
            undetected |= {f"{label}, class thresholds at {percentile} %": points for label, points in lines.items()}
        for kind, lines, words in (
            ("adversarial accuracy", accuracy, "share of all ID test images that are still classified correctly"),
            ("undetected", undetected, "share of the images that were right, and are now misclassified and accepted"),
        ):
            if any(len(points) > 1 for points in lines.values()):
                caption = f"{table.track}, goal {goal}: {words}."
                drawings.append(
                    _lines(
                        lines,
                        stem("fool", table.track, threat, goal, kind),
                        f"{threat}: {kind} against eps",
                        caption,
                        x=f"{rows[0].meta.norm} eps, in [0, 1] pixel units",
                        y=kind,
                    )
                )
    return drawings


def _undetected_at(percentile: str, at: FoolAtEps) -> float | None:
    return at.by_percentile.get(percentile)


def _curve(row: Row) -> tuple[FoolAtEps, ...]:
    return row.meta.fool.curve if row.meta.fool is not None else ()


def _clean_accuracy(row: Row) -> float:
    fool = row.meta.fool
    return fool.attacked / max(1, fool.n) if fool is not None else 0.0


def _fool_lines(
    rows: list[Row], figure: Callable[[FoolAtEps], float | None], *, at_zero: Callable[[Row], float]
) -> Lines:
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        points = lines.setdefault(row.label, {0.0: at_zero(row)})
        points |= {at.eps: value for at in _curve(row) if at.eps is not None and (value := figure(at)) is not None}
    return {label: sorted(points.items()) for label, points in lines.items()}


def nearest_curves(table: Table) -> list[Drawing]:
    """Share of images across the threshold against the radius, one panel a threat."""
    panels: dict[str, list[Row]] = {}
    for section in table.sections:
        for row in section.rows:
            if row.meta.nearest is not None:
                panels.setdefault(section.threat, []).append(row)
    word = "rejected" if table.side is Side.ALARM else "accepted"
    drawings = []
    for threat, rows in panels.items():
        lines = {}
        for row in rows:
            assert row.meta.nearest is not None
            own = row.meta.nearest.mean or next(iter(row.meta.nearest.sets.values()))
            lines[row.label] = [(0.0, own.across), *((at.eps, at.across) for at in own.curve if at.eps is not None)]
        drawings.append(
            _lines(
                lines,
                stem("nearest", table.track, table.side, threat),
                f"{threat}: {word} against eps",
                f"{table.track}: share of the attacked images that are {word} at the detector's threshold within eps.",
                x=f"{rows[0].meta.norm} eps, in [0, 1] pixel units",
                y=word,
            )
        )
    return drawings


def path_curves(table: Table) -> list[Drawing]:
    """Along paths from ID image to ID image: the share accepted, the score, and how sure the classifier is."""
    accepted: Lines = {}
    score: Lines = {}
    sure: Lines = {}
    for row in (row for section in table.sections for row in section.rows):
        if (found := row.meta.between) is None or not found.alphas:
            continue
        label, iqr = row.label, row.meta.iqr or 1.0
        accepted[label] = list(zip(found.alphas, found.accepted, strict=False))
        score[label] = [(at, (s - found.score[0]) / iqr) for at, s in zip(found.alphas, found.score, strict=False)]
        if found.confidence_from and found.confidence_to:  # else there is no classifier
            sure[f"{label}, of the start"] = list(zip(found.alphas, found.confidence_from, strict=False))
            sure[f"{label}, of the end"] = list(zip(found.alphas, found.confidence_to, strict=False))
    x = "share of the way"
    where = f"{table.track}: mean over paths between accepted, correctly classified ID images of different classes"
    panels = (
        (accepted, "accepted", "share accepted", "share whose image is accepted"),
        (score, "score, in IQR", "score", "change of the score, in interquartile ranges of clean ID scores"),
        (sure, "probability", "confidence", "probability of the classes at both ends"),
    )
    return [
        _lines(lines, stem("paths", table.track, kind), f"paths: {kind}", f"{where}; {words}.", x=x, y=y)
        for lines, y, kind, words in panels
        if lines
    ]


def _lines(lines: Lines, name: str, title: str, caption: str, *, x: str, y: str) -> Drawing:
    def draw(wide: bool) -> "Figure":
        with drawing_settings():
            figure, axes = new_panel(title, x=x, y=y, wide=wide)
            handles = []
            for number, points in enumerate(lines.values()):
                handles += axes.plot(*map(list, zip(*points, strict=True)), **style_of(number, len(points)))
            if y != "score, in IQR":
                axes.set_ylim(-0.02, 1.02)
            axes.set_xlim(left=0)
            add_legend(figure, handles, [plain(label, 60) for label in lines], wide=wide)
        return figure

    return Drawing.of(name, title, caption, draw)
