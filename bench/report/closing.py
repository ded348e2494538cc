"""The sentence that a run ends with: what the detectors of a table keep, as a person would say it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.cards.threat import Norm, Side
from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.captions import REACHABLE_LIMIT, heading, reach
from bench.report.table import Row, Section, Table, mean_auroc

_SMALLEST = 0.005
"""Shares below it are named as less than 0.01."""

_OVERLAP = " (their intervals overlap)"

_SIDES = {Side.ALARM: " with the ID images attacked", Side.BOTH: " with ID and OOD images attacked"}


def closing_sentences(tables: Iterable[Table]) -> list[str]:
    """One sentence a table; where there are several, each begins with what its table is of.

    It names the detector that keeps most and the next one, at the largest radius of each norm that still tells
    detectors apart. Of several attacks within one ball the lowest mean counts, and only detectors that met all of them
    are compared. Figures that cannot be believed are not. Where the intervals of the two overlap it says so.
    """
    found = [(table, _sentence(table)) for table in tables]
    if len(found) == 1:
        return [sentence for _, sentence in found if sentence]
    return [f"{_named(table)}: {sentence}" for table, sentence in found if sentence]


def _named(table: Table) -> str:
    """The track, and what tells its table from another one of it."""
    return heading(table).partition(", side ")[0].removesuffix(", no attack")


def _sentence(table: Table) -> str:
    """The sentence of one table; "" where it has no figure for one."""
    if table.side is Side.FOOL:
        return _fooled(table)
    if table.side is Side.BETWEEN:
        return _between(table)
    if table.nearest:
        return _nearest(table)
    if not table.attacked:
        return _clean(table)
    by_norm: dict[Norm | None, list[Section]] = {}
    for section in table.sections:
        if section.attacked:
            by_norm.setdefault(section.norm, []).append(section)
    return " ".join(f"{_clause(table, sections)}." for sections in by_norm.values())


@dataclass(frozen=True)
class _Kept:
    """What a detector keeps of its clean AUROC under the worst of some attacks, and the cell that says so."""

    label: str
    auroc: float
    clean: float
    meta: CellMeta


def _clause(table: Table, sections: Sequence[Section]) -> str:
    """What is kept in one norm."""
    usable = [section for section in sections if _worst_reach(section) <= REACHABLE_LIMIT]
    eps = max((section.eps or 0.0 for section in usable or sections), default=0.0)
    chosen = [section for section in usable or sections if (section.eps or 0.0) == eps]
    where = f"{_place(chosen)}{_SIDES.get(table.side or Side.EVADE, '')}"
    ranked = _ranked(chosen)
    if not ranked:
        return f"no figure {where.lstrip()} can be believed"
    best, *others = ranked
    beside = _OVERLAP if others and _overlap(best.meta, others[0].meta) else ""
    kept = f"{best.label} keeps {_two(best.auroc)} of {_two(best.clean)}{where}"
    if not usable:
        ceiling = _ceiling(chosen)
        more = f"where no detector can keep more than {ceiling}" if ceiling else "too large to tell detectors apart"
        return f"{kept}, {more}"
    if not others:
        return kept
    if best.auroc < _SMALLEST:
        return f"none of {len(ranked)} detectors keeps 0.01{where}"
    if _two(best.auroc) == _two(others[0].auroc):  # two digits do not tell them apart
        kept = f"{best.label} keeps {numbers.share(best.auroc)} of {numbers.share(best.clean)}{where}"
        return f"{kept}; the next, {others[0].label}, {numbers.share(others[0].auroc)}{beside}"
    return f"{kept}; the next, {others[0].label}, {_two(others[0].auroc)}{beside}"


def _ranked(sections: Sequence[Section]) -> list[_Kept]:
    """Detectors that met the same attacks, as many as any, the one that keeps most first."""
    rows: dict[str, dict[int, Row]] = {}
    for number, section in enumerate(sections):
        for row in section.rows:
            if not row.doubted:
                rows.setdefault(row.label, {})[number] = row
    alike: dict[tuple[int, ...], list[str]] = {}
    for label, met in rows.items():
        alike.setdefault(tuple(met), []).append(label)
    compared = max(alike.items(), key=lambda one: (len(one[0]), len(one[1])), default=((), []))[1]
    kept = []
    for label in compared:
        worst = min((row.meta for row in rows[label].values()), key=mean_auroc)
        kept.append(_Kept(label, mean_auroc(worst), _clean_auroc(worst), worst))
    return sorted(kept, key=lambda one: (-one.auroc, one.label))


def _place(sections: Sequence[Section]) -> str:
    """In which ball, and by which attacks where none of them had a gradient."""
    first = sections[0]
    names = list(dict.fromkeys(section.threat for section in sections))
    blind = all(row.meta.gradients == 0 for section in sections for row in section.rows)
    radius = f" at {numbers.ball(first.norm, first.eps)}" if first.norm is not None and first.eps is not None else ""
    return f"{radius} under {' and '.join(names)}" if blind or not radius else radius


def _clean(table: Table) -> str:
    rows = [row for section in table.sections for row in section.rows if not row.doubted]
    if not rows:
        return ""
    best, *others = sorted(rows, key=lambda row: (-mean_auroc(row.meta), row.label))
    beside = _OVERLAP if others and _overlap(best.meta, others[0].meta) else ""
    next_ = f"; the next, {others[0].label}, {_share(others[0].meta, best.meta)}{beside}" if others else ""
    first = _share(best.meta, others[0].meta) if others else _two(mean_auroc(best.meta))
    return f"{best.label} has {first} without an attack{next_}."


def _fooled(table: Table) -> str:
    """The detector by which fewest fooled images come, at the largest radius that was asked for."""
    points = [
        (at.eps, row.meta.norm, row.label, at.undetected)
        for section in table.sections
        for row in section.rows
        if row.meta.fool is not None and not row.doubted
        for at in row.meta.fool.curve
    ]
    if not points:
        return ""
    eps, norm = max(((eps, norm) for eps, norm, _, _ in points), key=lambda at: -1.0 if at[0] is None else at[0])
    worst: dict[str, float] = {}
    for other, there, label, undetected in points:
        if (other, there) == (eps, norm):
            worst[label] = max(worst.get(label, 0.0), undetected)
    best, *others = sorted(worst.items(), key=lambda item: (item[1], item[0]))
    next_ = f"; of the next, {others[0][0]}, {numbers.percent(others[0][1])}" if others else ""
    return (
        f"of the images that {best[0]} classifies right, {numbers.percent(best[1])} can be misclassified and accepted "
        f"at {numbers.ball(norm, eps)}{next_}."
    )


def _between(table: Table) -> str:
    rows = [row for s in table.sections for row in s.rows if row.meta.between is not None and not row.doubted]
    told = [
        f"{row.label} accepts {numbers.percent(row.meta.between.accepted_throughout)} of the paths throughout"
        for row in rows
        if row.meta.between is not None
    ]
    return f"{', '.join(told[:2])}." if told else ""


def _nearest(table: Table) -> str:
    """The detector whose images have to move furthest."""
    rows = [row for section in table.sections for row in section.rows if row.meta.nearest is not None]
    radii: dict[tuple[Norm | None, str], float] = {}
    for row in rows:
        found = row.meta.nearest.mean if row.meta.nearest is not None else None
        if found is not None and found.median_radius is not None and not row.doubted:
            key = (row.meta.norm, row.label)
            radii[key] = min(radii.get(key, found.median_radius), found.median_radius)
    clauses = []
    for norm in dict.fromkeys(norm for norm, _ in radii):
        best, *others = sorted(
            ((label, r) for (other, label), r in radii.items() if other is norm), key=lambda item: (-item[1], item[0])
        )
        next_ = f"; of the next, {others[0][0]}, within {numbers.radius(others[0][1])}" if others else ""
        clauses.append(f"half of the images of {best[0]} are across within {numbers.ball(norm, best[1])}{next_}")
    return " ".join(f"{clause}." for clause in clauses)


def _worst_reach(section: Section) -> float:
    return max((reach(row.meta) for row in section.rows), default=0.0)


def _ceiling(sections: Sequence[Section]) -> str:
    found = [row.meta.mean.ceiling for s in sections for row in s.rows if row.meta.mean is not None]
    known = [ceiling for ceiling in found if ceiling is not None]
    return _two(min(known)) if known else ""


def _overlap(one: CellMeta, other: CellMeta) -> bool:
    """Whether the 95 % intervals of two means have a value in common; False where one of them has no mean."""
    a, b = one.mean, other.mean
    return a is not None and b is not None and a.low <= b.high and b.low <= a.high


def _clean_auroc(meta: CellMeta) -> float:
    if meta.mean is not None:
        return meta.mean.clean_auroc
    return sum(found.clean_auroc for found in meta.sets.values()) / max(1, len(meta.sets))


def _share(meta: CellMeta, beside: CellMeta) -> str:
    """The mean AUROC of a cell, with as many digits as tell it from another one."""
    own, other = mean_auroc(meta), mean_auroc(beside)
    return numbers.share(own) if _two(own) == _two(other) else _two(own)


def _two(value: float) -> str:
    """An AUROC as people say it."""
    return "less than 0.01" if value < _SMALLEST else f"{value:.2f}"
