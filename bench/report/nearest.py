"""Cells of attacks that look for the nearest image across a threshold: shares by radius, and the median radius."""

from bench.cards.threat import Side
from bench.evaluation.results import CellMeta, NearestAtEps, NearestFigures
from bench.report import numbers
from bench.report.grid import Grid
from bench.report.table import Row, Section, Table


def nearest_caption(table: Table) -> list[str]:
    """What the figures mean."""
    verb, what = ("rejected", "ID test images") if table.side is Side.ALARM else ("accepted", "OOD images")
    return [
        f"{verb}: share of the {what} that are {verb} at the detector's threshold, as they are → within eps, by one "
        "run for all radii; the threshold accepts 95 % of the clean ID images, or as many as the detector's card says",
        "median radius: within which half of the images are across the threshold, 0 for those that are as they are; "
        "'-' where fewer than half ever are; an image stops at the threshold, so there is no AUROC under this attack",
        "grads, queries: an image",
    ]


def nearest_grid(table: Table) -> Grid:
    """A row for each attack and radius; clean cells have none."""
    names = list(dict.fromkeys(name for meta in table.metas if meta.nearest for name in meta.nearest.sets))
    verb = "rejected" if table.side is Side.ALARM else "accepted"
    several = len(names) > 1
    titles = [f"{name}{_star(table, name)}" for name in names] if several else []
    header = ["detector", "threat", "eps", verb, "median radius", *titles, "grads", "queries", "seconds"]
    blocks = []
    for section in table.sections:
        rows = [
            _words(section, row, number, names if several else [])
            for row in section.rows
            if row.meta.nearest is not None
            for number in range(len(_summary(row.meta).curve))
        ]
        blocks += [rows] if rows else []
    return Grid(header, 3, blocks)


def _star(table: Table, name: str) -> str:
    counts = all(meta.nearest.sets[name].counts for meta in table.metas if meta.nearest and name in meta.nearest.sets)
    return "" if counts else "*"


def _summary(meta: CellMeta) -> NearestFigures:
    """The mean, or where none is taken the first set."""
    assert meta.nearest is not None
    return meta.nearest.mean or next(iter(meta.nearest.sets.values()))


def _words(section: Section, row: Row, number: int, names: list[str]) -> list[str]:
    meta, own = row.meta, _summary(row.meta)
    assert meta.nearest is not None
    at: NearestAtEps = own.curve[number]
    sets = [meta.nearest.sets.get(name) for name in names]
    within = f"{numbers.share(own.across)} → {numbers.share(at.across)}" + ("!" if row.doubted else "")
    images = max(1, sum(figures.n for figures in meta.nearest.sets.values()))
    return [
        row.label,
        section.threat,
        "any" if at.eps is None else numbers.radius(at.eps),
        within if meta.nearest.mean is not None else numbers.ABSENT,
        numbers.ABSENT if own.median_radius is None else f"{own.median_radius:.3g}",
        *(numbers.share(figures.curve[number].across if figures else None) for figures in sets),
        numbers.amount(round(meta.gradients / images)),
        numbers.amount(round(meta.queries / images)),
        numbers.seconds(meta.seconds),
    ]
