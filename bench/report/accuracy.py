"""How many ID images the classifiers behind a table get right: what tells one that was put together wrongly."""

from bench.report import numbers
from bench.report.table import Table

LOW_ACCURACY = 0.5
"""Below it, a network may have been put together wrongly, and a reader is told where to look."""

_NAMED = 6
"""So many detectors of one accuracy are named."""


def accuracy_line(table: Table) -> str:
    """`ID accuracy (share of the ID test images that are classified correctly): 0.978 of gat`, by accuracy.

    Scores on one network share theirs. "" where no cell has one.
    """
    by_share: dict[str, dict[str, None]] = {}
    for meta in table.metas:
        if meta.id_accuracy is not None:
            by_share.setdefault(numbers.share(meta.id_accuracy), {})[meta.detector] = None
    if not by_share:
        return ""
    told = "; ".join(f"{share} of {_named(list(names))}" for share, names in by_share.items())
    return f"ID accuracy (share of the ID test images that are classified correctly): {told}"


def _named(names: list[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])} and {more} more" if more > 0 else ", ".join(names)
