"""Cells as records of full precision: one a cell and OOD set, and one a cell for the mean."""

import csv
import io
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from bench.evaluation.results import CellMeta, FoolAtEps, MeanMetrics, SetMetrics
from bench.report.captions import threshold_source
from bench.report.conditions import COLUMNS as CONDITIONS
from bench.report.conditions import conditions_of
from bench.report.words import printable
from bench.soundness.verdicts import Verdict, Verdicts

_OF_CELL = (
    "track", "detector", "threat", "norm", "eps", "side", "limit", "seed", "early_stop", "micro_batch", "id_accuracy",
    "device", "key",
)  # fmt: skip

_OF_FOOL = ("goal", "adversarial_accuracy", "misclassified", "undetected", "median_norm")

_OF_NEAREST = ("across", "median_radius")

_OF_SET = tuple(name for name in SetMetrics.model_fields if name != "figures")

COLUMNS = (
    *_OF_CELL[:8], "sound", "failed_checks", "set", *_OF_SET, *_OF_FOOL, "threshold_source", "id_bits_per_dim",
    "cell_gradients", "cell_queries", "seconds", *_OF_CELL[8:], *CONDITIONS, "group", "form",
    *_OF_NEAREST,
)  # fmt: skip
"""The columns of `records`; a figure that a row does not have is None."""


_TELLS = (Verdict.PASS, Verdict.WARN, Verdict.FAIL)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet begins a formula with, in full width too."""

Findings = Mapping[str, Verdicts]
"""What soundness checks found, by the cells' keys."""


def records(metas: Iterable[CellMeta], verdicts: Findings = MappingProxyType({})) -> list[dict[str, object]]:
    """One record a cell and set, then `mean` and `mean GROUP`; by track, detector, threat and radius.

    Args:
        metas: The cells.
        verdicts: Of a cell that a check fails `sound` is "no", and `failed_checks` names the checks; of one that was
            checked it is "yes", and of one that was not it is None.
    """
    ordered = sorted(metas, key=lambda m: (m.track, m.detector, m.norm or "", m.threat, m.eps or 0.0, m.side, m.seed))
    rows = []
    for meta in ordered:
        shared = meta.model_dump(mode="json", include=set(_OF_CELL))
        shared |= {"threshold_source": threshold_source(meta), "id_bits_per_dim": meta.bits_per_dim}
        shared |= {"cell_gradients": meta.gradients, "cell_queries": meta.queries, "seconds": meta.seconds}
        shared |= conditions_of(meta)
        shared |= _soundness(verdicts.get(meta.key))
        of_sets: dict[str, SetMetrics | MeanMetrics] = dict(meta.sets)
        if meta.mean is not None:
            of_sets["mean"] = meta.mean
        of_sets |= {f"mean {group}": mean for group, mean in meta.groups.items()}
        group_of = {name: group for group, mean in meta.groups.items() for name in (*mean.sets, f"mean {group}")}
        for name, metrics in of_sets.items():
            figures = {k: v for k, v in metrics.model_dump(mode="json").items() if k in COLUMNS}
            row = {**shared, "set": name, "group": group_of.get(name), "form": meta.forms.get(name), **figures}
            rows.append({column: row.get(column) for column in COLUMNS})
        rows += [
            {column: {**shared, **row}.get(column) for column in COLUMNS}
            for row in (*_fooled(meta), *nearest_rows(meta))
        ]
    return rows


def _soundness(found: Verdicts | None) -> dict[str, object]:
    """Whether a cell can be believed, as far as anything was checked."""
    if found is None or not any(finding.verdict in _TELLS for finding in found.findings):
        return {}
    return {"sound": "no" if found.failed else "yes", "failed_checks": " ".join(found.failed)}


def _fooled(meta: CellMeta) -> list[dict[str, object]]:
    """One row a radius of a `fool` cell, under the set "fooled"."""

    def row(at: FoolAtEps) -> dict[str, object]:
        return {**at.model_dump(mode="json"), "set": "fooled", "goal": meta.fool and str(meta.fool.goal)}

    return [row(at) for at in meta.fool.curve] if meta.fool is not None else []


def nearest_rows(meta: CellMeta) -> list[dict[str, object]]:
    """One row a set and radius of a cell that has radii; that of the whole box has no eps."""
    if meta.nearest is None:
        return []
    sets = {**meta.nearest.sets, **({"mean": meta.nearest.mean} if meta.nearest.mean is not None else {})}
    return [
        {"set": name, "counts": own.counts, "median_radius": own.median_radius, "eps": at.eps, "across": at.across}
        for name, own in sets.items()
        for at in own.curve
    ]


def render_csv(metas: Iterable[CellMeta], verdicts: Findings = MappingProxyType({})) -> str:
    """`records` as CSV: floats as Python writes them, so that nothing is lost; an empty field where there is none.

    A text that a spreadsheet would take for a formula stands behind an apostrophe, and characters that a terminal would
    obey stand as a mark: cells may be a stranger's.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records(metas, verdicts):
        writer.writerow({column: harmless(value) for column, value in record.items()})
    return out.getvalue()


def harmless(value: object) -> object:
    """A text that is shown and is no formula to a spreadsheet; anything but a text as it is."""
    if not isinstance(value, str):
        return value
    shown = printable(value, keep="\n")
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
