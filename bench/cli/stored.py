"""The stored cells that a command is about, and the sentences for a request that fits none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cli.common import notice
from bench.cli.places import read_store
from bench.errors import UsageError
from bench.lazy import lazily

with lazily():
    from bench.report import table
    from bench.soundness import files

if TYPE_CHECKING:
    from bench.evaluation.results import CellMeta
    from bench.evaluation.store import Store
    from bench.report.table import Choice, Table
    from bench.soundness.verdicts import Verdicts


@dataclass(frozen=True)
class Chosen:
    """Stored cells, their tables and their findings by key."""

    store: "Store"
    metas: "list[CellMeta]"
    tables: "tuple[Table, ...]"
    verdicts: "dict[str, Verdicts]"


def chosen_tables(run: str, tracks: Sequence[str], detectors: Sequence[str], threats: Sequence[str]) -> Chosen:
    """The cells of a store that fit; an empty choice takes all.

    Args:
        run: The folder or URL that `bench run --out` wrote.
        tracks: Only these tracks.
        detectors: Only these detectors.
        threats: Only these threats, beside the unattacked cells.

    Raises:
        UsageError: There is no store, it holds no cells, or none that fits.
    """
    store = read_store(run)
    every = store.metas()
    say_notices(store)
    if not every:
        raise UsageError(
            f"'{store.name}' holds no cells of this version of bench; `bench run --out {store.name}` writes them there."
        )
    choice = table.Choice(tracks, detectors, threats)
    _check_names(choice, every)
    metas = [meta for meta in every if choice(meta)]
    if not metas:
        raise UsageError(f"no cell in '{store.name}' fits these options together; leave one out.")
    verdicts = files.read_verdicts(store.root, [meta.key for meta in metas], notice)
    failed = {key: found.failed for key, found in verdicts.items() if found.failed}
    return Chosen(store, metas, table.build_tables(metas, failed), verdicts)


def say_notices(store: "Store") -> None:
    """Print what a store has met since the last time, such as damaged cells."""
    for sentence in store.notices:
        notice(sentence)
    store.notices.clear()


def _check_names(choice: "Choice", metas: "list[CellMeta]") -> None:
    """Raise for a name that no stored cell has."""
    for kind, asked, known in (
        ("track", choice.tracks, {meta.track for meta in metas}),
        ("detector", choice.detectors, {meta.detector for meta in metas}),
        ("threat", choice.threats, {meta.threat for meta in metas}),
    ):
        if wrong := [name for name in asked if name not in known]:
            raise UsageError(f"no stored cell has the {kind} '{wrong[0]}'; stored: {', '.join(sorted(known))}.")
