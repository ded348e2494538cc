"""Columns that a table has only where some detector of it defines the figure."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.evaluation.results import CellMeta, FullBudgetFigures
from bench.report import numbers
from bench.report.table import Table

OF_IMAGES = ("member", "class_score")
"""Columns of a cell's samples that have no mean worth telling."""


@dataclass(frozen=True)
class Extra:
    """One such column.

    Attributes:
        header: Its title, one word a line.
        meaning: What it shows, for the caption.
        of_cell: Its figure in the row of a cell.
        of_set: Its figure in the row of one OOD set of a cell; None where sets have none.
    """

    header: tuple[str, ...]
    meaning: str
    of_cell: Callable[[CellMeta], str]
    of_set: Callable[[CellMeta, str], str] | None

    @property
    def title(self) -> str:
        """The title in one line."""
        return " ".join(self.header)


def extra_columns(table: Table) -> list[Extra]:
    """The columns that this table has; accuracy and density of the clean ID images only where nothing is attacked."""
    has = {
        _ACCURACY: not table.attacked and any(meta.id_accuracy is not None for meta in table.metas),
        _BITS: not table.attacked and any(meta.bits_per_dim is not None for meta in table.metas),
        _GUARANTEED: any(m.guaranteed_auroc is not None for meta in table.metas for m in meta.sets.values()),
    }
    if any(meta.evidence is not None for meta in table.metas):
        has |= {_AT_FULL_BUDGET: True, _SPENT: True}
    return [extra for extra, there in has.items() if there] + [_figure(name) for name in _figure_names(table)]


def _figure_names(table: Table) -> list[str]:
    """What threats of this table measured beside scores, but for what is only told image by image."""
    found = {name for meta in table.metas for figures in meta.sets.values() for name in figures.figures}
    return sorted(found - set(OF_IMAGES))


def _figure(name: str) -> Extra:
    def of_cell(meta: CellMeta) -> str:
        counting = [m.figures[name] for m in meta.sets.values() if m.counts and name in m.figures]
        return _short(sum(counting) / len(counting)) if counting else numbers.ABSENT

    def of_set(meta: CellMeta, which: str) -> str:
        return _short(meta.sets[which].figures.get(name))

    return Extra((name,), f"{name}: mean over the attacked images, as the threat measures it", of_cell, of_set)


def _short(value: float | None) -> str:
    return numbers.ABSENT if value is None else f"{value:.3g}"


def _bits(value: float | None) -> str:
    return numbers.ABSENT if value is None else f"{value:.3f}"


def _at_full_budget(found: FullBudgetFigures | None) -> str:
    return numbers.ABSENT if found is None else numbers.interval(found.low, found.high)


def _spent(meta: CellMeta) -> str:
    evidence = meta.evidence
    if evidence is None or not evidence.full_gradients:
        return numbers.ABSENT
    return numbers.percent(meta.gradients / evidence.full_gradients)


_AT_FULL_BUDGET = Extra(
    ("at full", "budget"),
    "at full budget: interval of the AUROC with the card's whole budget on every image, by the audited images that had "
    "it; '-' where every image did",
    lambda meta: _at_full_budget(meta.evidence.mean if meta.evidence else None),
    lambda meta, name: _at_full_budget(meta.evidence.sets.get(name) if meta.evidence else None),
)
_SPENT = Extra(
    ("spent",),
    "spent: gradients, of those that the whole budget would have taken",
    _spent,
    None,
)
_ACCURACY = Extra(
    ("ID", "accuracy"),
    "ID accuracy: share of the ID test images that are classified correctly",
    lambda meta: numbers.share(meta.id_accuracy),
    None,
)
_BITS = Extra(
    ("ID", "bits/dim"),
    "bits/dim: mean negative log2-likelihood of the 8-bit images a pixel and channel",
    lambda meta: _bits(meta.bits_per_dim),
    lambda meta, name: f"{_bits(meta.bits_per_dim)}, set {_bits(meta.sets[name].bits_per_dim)}",
)
_GUARANTEED = Extra(
    ("guaranteed",),
    "guaranteed: AUROC with every OOD score raised to its certified bound, below which no attack of this radius gets",
    lambda meta: numbers.share(meta.mean.guaranteed_auroc if meta.mean else None),
    lambda meta, name: numbers.share(meta.sets[name].guaranteed_auroc),
)
