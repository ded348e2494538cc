"""A table as lines for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.cards.threat import Norm, Side
from bench.evaluation.results import CellMeta, SetMetrics
from bench.report import numbers
from bench.report.blocks import blocks_below
from bench.report.captions import caption, heading, remarks
from bench.report.extras import Extra, extra_columns
from bench.report.flat import flat_grid
from bench.report.grid import Grid
from bench.report.lines import Line, header_lines, panels, sentence_lines, set_line, total_width
from bench.report.overview import overview_lines
from bench.report.table import Row, Section, Table, is_attack
from bench.report.words import printable

_NARROW = 8
"""A title of several words is broken into two lines where it is longer."""


@dataclass(frozen=True)
class _Column:
    header: tuple[str, ...]
    cell: Callable[[Row, str], str]  # of a row and, in the full view, the set that the line is about
    left: bool = False


def text_lines(
    table: Table, *, width: int = 120, full: bool = False, radii: Mapping[Norm, float] | None = None
) -> list[Line]:
    """The table as lines.

    Where the OOD sets do not fit beside the mean they follow in panels of their own.

    Args:
        table: The table.
        width: Columns of the terminal.
        full: One line for each set of each cell, with every figure.
        radii: For each norm, the largest radius that is not too large, where it is known.
    """
    lines = sentence_lines(heading(table), width, "heading")
    for sentence in caption(table, full=full):
        lines += sentence_lines(sentence, width, "caption")
    if table.side is Side.FOOL or table.nearest:
        lead = 4 if table.side is Side.FOOL else 3
        lines += [Line("", "caption"), *_grid_lines(flat_grid(table), lead, width)]
    elif full:
        names = [column.name for column in table.columns]
        for columns in _filled(table, _full_lead(), _full_columns(table), width, names):
            lines += _panel(table, columns, names)
    else:
        for columns in _panels(table, width):
            lines += _panel(table, columns, [""])
        lines += overview_lines(table, width)
    for block in blocks_below(table):
        lines += [Line("", "caption"), Line(block.heading, "section"), *sentence_lines(block.caption, width, "caption")]
        lines += _grid_lines(block.grid, block.grid.texts, width)
    said = remarks(table, radii)
    lines += [Line("", "remark")] if said else []
    for sentence in said:
        lines += sentence_lines(sentence, width, "remark")
    return lines


def grid_lines(heading: str, caption: str, grid: Grid, width: int) -> list[Line]:
    """A table that is one grid, as lines.

    Args:
        heading: What it is of.
        caption: What its figures mean.
        grid: The rows.
        width: Columns of the terminal.
    """
    said = sentence_lines(heading, width, "heading") + sentence_lines(caption, width, "caption")
    return [*said, Line("", "caption"), *_grid_lines(grid, grid.texts, width)]


def _grid_lines(grid: Grid, lead: int, width: int) -> list[Line]:
    """A grid in panels, each of which begins with the first `lead` columns."""
    rows = [words for block in grid.blocks for words in block]
    titles = [(title,) if i < grid.texts else _broken(title) for i, title in enumerate(grid.header)]
    columns = [(title, [words[i] for words in rows]) for i, title in enumerate(titles)]
    return panels(columns[:lead], columns[lead:], width, texts=grid.texts)


def render_text(
    table: Table, *, width: int = 120, full: bool = False, radii: Mapping[Norm, float] | None = None
) -> str:
    """`text_lines` as one string."""
    lines = text_lines(table, width=width, full=full, radii=radii)
    return "\n".join(printable(line.text.rstrip()) for line in lines) + "\n"


def _panels(table: Table, width: int) -> list[list[_Column]]:
    """Everything side by side where it fits; else the means first, then the sets, as many at a time as fit."""
    sets = [_set_column(c.name, c.title) for c in table.columns]
    answer = [_mean_column(table), *((_CEILING,) if table.attacked else ()), *map(_group_column, table.groups)]
    rest = [_FPR95, *map(_extra_column, extra_columns(table)), *(_COSTS if table.attacked else ()), _SECONDS]
    if _width(table, [_LABEL, *answer, *sets, *rest], [""]) <= width:
        return [[_LABEL, *answer, *sets, *rest]]
    return [*_filled(table, [_LABEL], [*answer, *rest], width), *_filled(table, [_LABEL], sets, width)]


def _filled(
    table: Table, lead: list[_Column], columns: list[_Column], width: int, sets: Sequence[str] = ("",)
) -> list[list[_Column]]:
    """Panels that begin with the leading columns, with as many others each as fit."""
    panels = [[*lead]]
    for column in columns:
        if len(panels[-1]) > len(lead) and _width(table, [*panels[-1], column], sets) > width:
            panels.append([*lead])
        panels[-1].append(column)
    return panels


def _panel(table: Table, columns: list[_Column], sets: Sequence[str]) -> list[Line]:
    sizes = [_size(table, column, sets) for column in columns]
    left = [column.left for column in columns]
    lines = [Line("", "caption"), *header_lines([column.header for column in columns], sizes, left)]
    for section in table.sections:
        lines.append(Line(_section_title(section), "section"))
        for row in section.rows:
            shown = [name for name in sets if not name or name in row.meta.sets]
            lines += [Line(set_line([c.cell(row, name) for c in columns], sizes, left), "row") for name in shown]
    return lines


def _section_title(section: Section) -> str:
    radius = numbers.both_scales(section.norm, section.eps)
    return f"-- {section.threat}, {section.norm} eps {radius}" if radius else f"-- {section.threat}"


def _width(table: Table, columns: list[_Column], sets: Sequence[str]) -> int:
    return total_width([_size(table, column, sets) for column in columns])


def _size(table: Table, column: _Column, sets: Sequence[str]) -> int:
    rows = (row for section in table.sections for row in section.rows)
    cells = (column.cell(row, name) for row in rows for name in sets if not name or name in row.meta.sets)
    return max(map(len, (*column.header, *cells)))


def _mean_column(table: Table) -> _Column:
    return _Column(("mean AUROC", "clean → attacked [95 %]") if table.attacked else ("mean AUROC [95 %]",), _mean_cell)


def _mean_cell(row: Row, _: str) -> str:
    meta = row.meta
    if not is_attack(meta):
        return numbers.clean_auroc(meta.mean, with_interval=True)
    attacked = numbers.attacked_auroc(meta.mean, with_interval=True, doubted=row.doubted)
    return f"{numbers.clean_auroc(meta.mean)} → {attacked}" if meta.mean else attacked


def _group_column(group: str) -> _Column:
    def cell(row: Row, _: str) -> str:
        mean = row.meta.groups.get(group)
        return numbers.attacked_auroc(mean, doubted=row.doubted) if mean else numbers.ABSENT

    return _Column(("mean", group), cell)


def _set_column(name: str, title: str) -> _Column:
    def cell(row: Row, _: str) -> str:
        metrics = row.meta.sets.get(name)
        return numbers.attacked_auroc(metrics, doubted=row.doubted) if metrics else numbers.ABSENT

    return _Column((title,), cell)


def _broken(title: str) -> tuple[str, ...]:
    """Several words in two lines; a name is one word, and stays whole."""
    ends = [i + 1 for i, letter in enumerate(title) if letter == " "]
    if len(title) <= _NARROW + 1 or not ends:
        return (title,)
    at = min(ends, key=lambda i: abs(i - (len(title) + 1) // 2))
    return (title[:at].rstrip(), title[at:])


_LABEL = _Column(("detector",), lambda row, _: row.label, left=True)
_FPR95 = _Column(("FPR95",), lambda row, _: numbers.share(row.meta.mean.fpr95 if row.meta.mean else None))
_SECONDS = _Column(("s",), lambda row, _: numbers.seconds(row.meta.seconds))
_CEILING = _Column(("ceiling",), lambda row, _: numbers.share(row.meta.mean.ceiling if row.meta.mean else None))
_COSTS = (
    _Column(("grads",), lambda row, _: numbers.amount(row.meta.gradients)),
    _Column(("queries",), lambda row, _: numbers.amount(row.meta.queries)),
)


def _extra_column(extra: Extra) -> _Column:
    return _Column(extra.header, lambda row, _: extra.of_cell(row.meta))


def _full_lead() -> list[_Column]:
    return [
        _LABEL,
        _Column(("set",), lambda row, name: name if row.meta.sets[name].counts else f"{name}*", left=True),
    ]


def _full_columns(table: Table) -> list[_Column]:
    def figure(*header: str, of: Callable[[SetMetrics], str]) -> _Column:
        return _Column(header, lambda row, name: of(row.meta.sets[name]))

    return [
        figure("clean", "AUROC [95 %]", of=lambda m: numbers.clean_auroc(m, with_interval=True)),
        figure("attacked", "AUROC [95 %]", of=lambda m: numbers.attacked_auroc(m, with_interval=True)),
        figure("ceiling", of=lambda m: numbers.share(m.ceiling)),
        figure("ties", "against", of=lambda m: numbers.share(m.conservative_auroc)),
        figure("AUPR", "in", of=lambda m: numbers.share(m.aupr_in)),
        figure("AUPR", "out", of=lambda m: numbers.share(m.aupr_out)),
        figure("clean", "FPR95", of=lambda m: numbers.share(m.clean_fpr95)),
        figure("FPR95", of=lambda m: numbers.share(m.fpr95)),
        figure("detected", of=lambda m: numbers.share(m.detection_rate)),
        *(_Column(e.header, partial(_of_set, e.of_set)) for e in extra_columns(table) if e.of_set is not None),
        figure("grads", of=lambda m: numbers.amount(m.gradients)),
    ]


def _of_set(figure: Callable[[CellMeta, str], str], row: Row, name: str) -> str:
    return figure(row.meta, name)
