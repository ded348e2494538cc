"""`bench runs`: which cells a store holds, and taking some of them out."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.common import console, notice, printable
from bench.cli.options import comma_separated
from bench.cli.places import DEFAULT, StoreArgument, read_store
from bench.cli.stored import say_notices
from bench.cli.table import print_lines, width_of
from bench.errors import UsageError, shorten
from bench.evaluation.store_places import store_place
from bench.lazy import lazily
from bench.report.lines import panels

with lazily():
    from bench.evaluation import cell_files, removal, run_records

if TYPE_CHECKING:
    from bench.evaluation.results import CellMeta
    from bench.evaluation.store import Store

EXAMPLES = (
    "bench runs",
    "bench runs --detector gat,msp --threat pgd-l2 --eps 1",
    "bench runs --limit 50 --since 2026-01-31",
    "bench runs --limit 50 --remove",
    "bench runs --version 0.1.0 --remove --yes",
)

_NO_LIMIT = "none"
_SHOWN = 12
"""Digits of a key that tell cells apart."""

_NAMED = 5
"""What a sentence lists at most."""


def command(
    store: StoreArgument = DEFAULT,
    *,
    detector: Annotated[list[str] | None, typer.Option(help="Only these detectors; repeatable or commas.")] = None,
    threat: Annotated[list[str] | None, typer.Option(help="Only these threats; 'clean' is one.")] = None,
    eps: Annotated[list[str] | None, typer.Option(help="Only these radii: 1, 8/255.")] = None,
    track: Annotated[list[str] | None, typer.Option(help="Only these tracks.")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="Only cells of this limit; 'none' for those without.")] = None,
    seed: Annotated[list[str] | None, typer.Option(help="Only these seeds.")] = None,
    version: Annotated[list[str] | None, typer.Option(help="Only what these versions of bench computed.")] = None,
    since: Annotated[str | None, typer.Option(help="Only cells written on this day or later: 2026-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Only cells written on this day or earlier.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Only cells whose key begins so.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove these cells, after a question.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --remove: do not ask.")] = False,
) -> None:
    """List the cells of a store, the oldest first; every option leaves out those that do not fit.

    With --remove those that are listed are removed. What cannot be proved to be a cell is never touched.
    """
    if yes and not remove:
        raise UsageError("--yes answers the question of --remove; give both, or neither.")
    place = store_place(store)
    if remove and place.url is not None:
        raise UsageError(f"--remove works on folders, and '{place}' is a URL; remove objects there by its own tools.")
    found = read_store(place)
    cells = _cells(found)
    say_notices(found)
    if not cells:
        raise UsageError(f"'{found.name}' holds no cells of this version of bench; `bench run --out` writes them.")
    filters = [
        _named("detector", detector, lambda one: one.meta.detector),
        _named("threat", threat, lambda one: one.meta.threat),
        _named("track", track, lambda one: one.meta.track),
        _named("limit", limit, lambda one: _limit(one.meta)),
        _named("seed", seed, lambda one: str(one.meta.seed)),
        _named("version", version, lambda one: _version(one.meta)),
        _radii(eps),
        _days(since, until),
        _keys(cell),
    ]
    chosen = cells
    for keep in filters:
        chosen = keep(cells, chosen)
    if not chosen:
        raise UsageError(f"no cell in '{found.name}' fits these options together; leave one out.")
    _print(chosen)
    console().print(f"{_count(len(chosen))} of {len(cells)} in '{found.name}'.", soft_wrap=True)
    if remove:
        _remove(found, chosen, cells, asked=not yes)


@dataclass(frozen=True)
class _Listed:
    """A cell, and when its files were written here."""

    meta: "CellMeta"
    written: float

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.localtime(self.written))


_Filter = Callable[[list[_Listed], list[_Listed]], list[_Listed]]
"""All cells, and those that are chosen so far -> those that stay."""


def _cells(store: "Store") -> list[_Listed]:
    found = []
    for meta in store.metas():
        try:
            written = (store.folder(meta.key) / cell_files.META_FILE).stat().st_mtime
        except OSError:  # removed meanwhile
            continue
        found.append(_Listed(meta, written))
    return sorted(found, key=lambda one: (one.written, one.meta.key))


def _named(kind: str, asked: list[str] | None, of: Callable[[_Listed], str]) -> _Filter:
    names = comma_separated(asked)

    def keep(every: list[_Listed], chosen: list[_Listed]) -> list[_Listed]:
        known = sorted({of(one) for one in every})
        if wrong := [name for name in names if name not in known]:
            raise UsageError(f"no stored cell has the {kind} {shorten(wrong[0])}; stored: {', '.join(known)}.")
        return [one for one in chosen if not names or of(one) in names]

    return keep


def _radii(asked: list[str] | None) -> _Filter:
    words = comma_separated(asked)
    radii = [_radius(word) for word in words]

    def keep(every: list[_Listed], chosen: list[_Listed]) -> list[_Listed]:
        def fits(one: _Listed, wanted: float) -> bool:
            return one.meta.eps is not None and math.isclose(one.meta.eps, wanted, rel_tol=1e-6)

        if wrong := [
            word for word, wanted in zip(words, radii, strict=True) if not any(fits(o, wanted) for o in every)
        ]:
            known = sorted({one.meta.eps for one in every if one.meta.eps is not None})
            listed = ", ".join(f"{value:.4g}" for value in known) or "none"
            raise UsageError(f"no stored cell has the eps {shorten(wrong[0])}; stored: {listed}.")
        return [one for one in chosen if not radii or any(fits(one, wanted) for wanted in radii)]

    return keep


def _radius(word: str) -> float:
    try:
        return float(Fraction(word))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--eps is {shorten(word)}; allowed are numbers such as 0.5 or 8/255.") from None


def _days(since: str | None, until: str | None) -> _Filter:
    first, last = (_day(name, text) for name, text in (("since", since), ("until", until)))
    return lambda _, chosen: [o for o in chosen if (not first or o.day >= first) and (not last or o.day <= last)]


def _day(name: str, text: str | None) -> str:
    """A day as it is compared; "" where none is given."""
    if text is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d", time.strptime(text, "%Y-%m-%d"))
    except ValueError:
        raise UsageError(f"--{name} is {shorten(text)}; allowed is a day such as 2026-01-31.") from None


def _keys(asked: list[str] | None) -> _Filter:
    parts = tuple(comma_separated(asked))
    return lambda _, chosen: [one for one in chosen if not parts or one.meta.key.startswith(parts)]


def _print(cells: list[_Listed]) -> None:
    columns = {
        "detector": [one.meta.detector for one in cells],
        "threat": [one.meta.threat for one in cells],
        "eps": [_eps(one.meta) for one in cells],
        "track": [one.meta.track for one in cells],
        "side": [str(one.meta.side) for one in cells],
        "limit": [_limit(one.meta) for one in cells],
        "seed": [str(one.meta.seed) for one in cells],
        "written": [time.strftime("%Y-%m-%d %H:%M", time.localtime(one.written)) for one in cells],
        "version": [_version(one.meta) for one in cells],
    }
    shown = [((title,), [printable(word) for word in words]) for title, words in columns.items()]
    out = console()
    lead = [(("cell",), [one.meta.key[:_SHOWN] for one in cells])]
    print_lines(out, panels(lead, shown, width_of(out), texts=3))


def _eps(meta: "CellMeta") -> str:
    if meta.eps is None:
        return "-"
    return f"{meta.norm} {meta.eps:.4g}"


def _limit(meta: "CellMeta") -> str:
    return _NO_LIMIT if meta.limit is None else str(meta.limit)


def _version(meta: "CellMeta") -> str:
    return meta.versions.get("bench", "unknown")


def _count(number: int) -> str:
    return f"{number} cell" if number == 1 else f"{number} cells"


def _remove(store: "Store", chosen: list[_Listed], every: list[_Listed], *, asked: bool) -> None:
    if any(run.alive for run in run_records.found_runs(store.root)):
        raise UsageError(f"a run is writing to '{store.name}'; wait until it has ended: `bench status {store.name}`.")
    if asked:
        _ask(f"remove {_count(len(chosen))} from '{store.name}'?")
    removed, kept = set[str](), list[str]()
    for one in chosen:
        try:
            removal.remove_cell(store, one.meta.key)
        except removal.NotACellError as why:
            kept.append(f"{one.meta.key[:_SHOWN]} ({why})")
        else:
            removed.add(one.meta.key)
    console().print(f"{_count(len(removed))} removed from '{store.name}'.", soft_wrap=True)
    made = [one for one in every if one.meta.key not in removed and removed & set(one.meta.needs)]
    if made:
        notice(f"{_count(len(made))} that were made from them stay: {made[0].meta.threat} of {made[0].meta.detector}.")
    if kept:
        more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
        raise UsageError(f"left as they are, since they are not proved to be cells: {', '.join(kept[:_NAMED])}{more}.")


def _ask(question: str) -> None:
    """Go on only after a yes.

    Raises:
        UsageError: Nobody can answer.
        Exit: The answer is no.
    """
    if not sys.stdin.isatty():
        raise UsageError("--remove asks first, and here is nobody to answer; add --yes.")
    if not typer.confirm(question):
        console().print("nothing was removed.")
        raise typer.Exit
