"""A table as one flat grid of words, for formats without a width: a row a cell, or a row a cell and set."""

from bench.cards.threat import Side
from bench.evaluation.results import MeanMetrics, SetMetrics
from bench.report import numbers
from bench.report.extras import extra_columns
from bench.report.fool import fool_grid
from bench.report.grid import Grid
from bench.report.nearest import nearest_grid
from bench.report.table import Row, Section, Table, is_attack


def flat_grid(table: Table, *, full: bool = False) -> Grid:
    """The table as a grid.

    Args:
        table: The table.
        full: A row for each set of each cell, with intervals, instead of a row for each cell.
    """
    if table.side is Side.FOOL:
        return fool_grid(table)
    if table.nearest:
        return nearest_grid(table)
    return _by_set(table) if full else _by_cell(table)


def _by_cell(table: Table) -> Grid:
    sets = [column.title for column in table.columns]
    extras = [extra.title for extra in extra_columns(table)]
    ceiling, costs = (["ceiling"], ["gradients", "queries"]) if table.attacked else ([], [])
    groups = [f"mean {group}" for group in table.groups]
    answer = ["mean AUROC", *ceiling, *groups]
    header = ["detector", "threat", "eps", *answer, *sets, "FPR95", *extras, *costs, "seconds"]
    blocks = [[_cell_words(section, row, table) for row in section.rows] for section in table.sections]
    return Grid(header, 3, blocks)


def _cell_words(section: Section, row: Row, table: Table) -> list[str]:
    meta = row.meta
    sets = [_change(row, column.name, with_interval=False) for column in table.columns]
    ceiling = [numbers.share(meta.mean.ceiling if meta.mean else None)]
    costs = [numbers.amount(meta.gradients), numbers.amount(meta.queries)]
    return [
        row.label,
        section.threat,
        numbers.both_scales(section.norm, section.eps) or numbers.ABSENT,
        _mean_change(row),
        *(ceiling if table.attacked else []),
        *(_group_change(row, group, with_interval=False) for group in table.groups),
        *sets,
        numbers.share(meta.mean.fpr95 if meta.mean else None),
        *(extra.of_cell(meta) for extra in extra_columns(table)),
        *(costs if table.attacked else []),
        numbers.seconds(meta.seconds),
    ]


def _by_set(table: Table) -> Grid:
    figures_of_sets = ["ties against", "AUPR in", "AUPR out", "FPR95", "detected"]
    header = ["detector", "threat", "eps", "set", "AUROC", "ceiling", *figures_of_sets]
    extras = [extra for extra in extra_columns(table) if extra.of_set is not None]
    blocks = []
    for section in table.sections:
        radius = numbers.both_scales(section.norm, section.eps) or numbers.ABSENT
        block = []
        for row in section.rows:
            names = [row.label, section.threat, radius]
            mean = row.meta.mean
            of_mean = _of_mean(_mean_change(row), mean.ceiling if mean else None, mean.fpr95 if mean else None)
            block.append([*names, "mean", *of_mean, *(extra.of_cell(row.meta) for extra in extras)])
            for group in row.meta.groups:
                change = _group_change(row, group, with_interval=True)
                of_group = _of_mean(change, row.meta.groups[group].ceiling, row.meta.groups[group].fpr95)
                block.append([*names, f"mean {group}", *of_group, *[numbers.ABSENT] * len(extras)])
            for column in table.columns:
                if (m := row.meta.sets.get(column.name)) is None:
                    continue
                figures = (m.ceiling, m.conservative_auroc, m.aupr_in, m.aupr_out, m.fpr95, m.detection_rate)
                change = _change(row, column.name, with_interval=True)
                more = [extra.of_set(row.meta, column.name) for extra in extras if extra.of_set is not None]
                block.append([*names, column.title, change, *map(numbers.share, figures), *more])
        blocks.append(block)
    return Grid([*header, *(extra.title for extra in extras)], 4, blocks)


def _of_mean(change: str, ceiling: float | None, fpr95: float | None) -> list[str]:
    """The figures of a mean over sets, which has no precision and no detection rate."""
    return [change, numbers.share(ceiling), *[numbers.ABSENT] * 3, numbers.share(fpr95), numbers.ABSENT]


def _mean_change(row: Row) -> str:
    meta = row.meta
    if not is_attack(meta):
        return numbers.clean_auroc(meta.mean, with_interval=True)
    if meta.mean is None:
        return numbers.ABSENT
    attacked = numbers.attacked_auroc(meta.mean, with_interval=True, doubted=row.doubted)
    return f"{numbers.clean_auroc(meta.mean)} → {attacked}"


def _change(row: Row, name: str, *, with_interval: bool) -> str:
    return _before_and_after(row, row.meta.sets.get(name), with_interval)


def _group_change(row: Row, group: str, *, with_interval: bool) -> str:
    return _before_and_after(row, row.meta.groups.get(group), with_interval)


def _before_and_after(row: Row, metrics: SetMetrics | MeanMetrics | None, with_interval: bool) -> str:
    if metrics is None:
        return numbers.ABSENT
    attacked = numbers.attacked_auroc(metrics, with_interval=with_interval, doubted=row.doubted)
    return f"{numbers.clean_auroc(metrics)} → {attacked}" if is_attack(row.meta) else attacked
