"""The curve of each detector at one glance: its attacked mean for every threat and radius, side by side."""

from dataclasses import dataclass

from bench.report import numbers
from bench.report.lines import Line, panels
from bench.report.table import Row, Section, Table, mean_auroc

FROM_SECTIONS = 3
"""With fewer attacks than this the table itself is the overview."""


@dataclass(frozen=True)
class _Curve:
    label: str
    clean: str
    words: tuple[str, ...]
    average: float
    doubted: bool


def overview_lines(table: Table, width: int) -> list[Line]:
    """Rows: detectors, best average first; columns: clean and every attack; in panels where they do not fit."""
    attacks = [section for section in table.sections if section.attacked]
    if len(attacks) < FROM_SECTIONS:
        return []
    curves = _curves(table, attacks)
    headers = [_title(section) for section in attacks]
    columns = [(header, [curve.words[i] for curve in curves]) for i, header in enumerate(headers)]
    lead = [(("", "detector"), [c.label for c in curves]), (("", "clean"), [c.clean for c in curves])]
    title = Line("mean AUROC under each attack, by eps", "section")
    return [Line("", "caption"), title, *panels(lead, columns, width)]


def _curves(table: Table, attacks: list[Section]) -> list[_Curve]:
    clean = {row.meta.detector: row for s in table.sections if not s.attacked for row in s.rows}
    labels = sorted({row.label for section in attacks for row in section.rows})
    curves = []
    for label in labels:
        rows = [next((row for row in section.rows if row.label == label), None) for section in attacks]
        there = [row.meta for row in rows if row is not None]
        unattacked = clean.get(there[0].detector)
        words = tuple(_figure(row) for row in rows)
        average = sum(map(mean_auroc, there)) / len(there)
        doubted = any(row.doubted for row in rows if row is not None)
        curves.append(_Curve(label, _figure(unattacked), words, average, doubted))
    return sorted(curves, key=lambda curve: (curve.doubted, -curve.average))


def _figure(row: Row | None) -> str:
    """The mean, at 0 or 1 its interval; over all sets where none counts."""
    if row is None:
        return numbers.ABSENT
    if row.meta.mean is None:
        return numbers.share(mean_auroc(row.meta))
    return numbers.attacked_auroc(row.meta.mean, doubted=row.doubted)


def _title(section: Section) -> tuple[str, ...]:
    radius = numbers.ABSENT if section.eps is None else numbers.radius(section.eps)
    return section.threat, radius
