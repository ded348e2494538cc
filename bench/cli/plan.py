"""`bench plan`: what a run would compute, and about how long it would take, before anything runs."""

import inspect
import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from bench.cli import run
from bench.cli.common import catalog, console, notice
from bench.cli.durations import duration
from bench.cli.places import read_store
from bench.cli.planning import planned_cells
from bench.cli.request import EngineName, RunRequest
from bench.lazy import lazily

with lazily():
    from bench.cli import computing
    from bench.engines import forecast

if TYPE_CHECKING:
    from bench.engines.forecast import CellCost, Forecast

EXAMPLES = (
    "bench plan --detector gat --threat pgd-l2 --eps 10",
    "bench plan --detector msp,energy,gat --threat clean,pgd-l2,square-l2 --eps 0.5,1,2 --workers 2",
    "bench plan --detector gat --threat auto-l2 --eps 1 --json",
)

_FORMAT = 1


def command(*, as_json: bool, **given: Any) -> None:
    """Print what a run would compute: cells, gradients, queries, time and memory.

    The options are those of `bench run`; nothing is attacked or stored. The time is about what the full budget takes
    on this machine, from a few batches of each detector that are timed now; runs end sooner where images stop early.
    """
    request = run.asked(given)
    cards = catalog(request.workspace)
    planned = planned_cells(request, cards)
    device, workers = computing.chosen_hands(request.hands(), request.device)
    store = read_store(request.out, absent=True)
    found = forecast.forecast(
        planned,
        store,
        cards,
        device=device,
        data_dir=request.data_dir,
        workers=workers,
        begun=time.process_time(),  # a process that computes begins like this one
    )
    for sentence in _notices(found):
        notice(sentence)
    if as_json:
        typer.echo(json.dumps(_document(found, request, device), indent=2))
        return
    _print(found, request)


def _signature() -> inspect.Signature:
    """The options of `bench run` that say what is computed, and `--json`."""
    shared = [one for name, one in inspect.signature(run.command).parameters.items() if name not in run.OWN_OPTIONS]
    declared = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of the table.")]
    own = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=declared)
    return inspect.Signature([*shared, own])


command.__signature__ = _signature()  # type: ignore[attr-defined]  # what typer reads, beside the annotations
command.__annotations__ = {name: one.annotation for name, one in _signature().parameters.items()} | {"return": None}


def _notices(found: "Forecast") -> Iterable[str]:
    if found.unknown:
        yield f"unknown, and not counted, is what these threats cost: {', '.join(found.unknown)}."
    if found.unfitted:
        yield f"not counted is the fit that is made first of: {', '.join(dict.fromkeys(found.unfitted))}."
    for name, why in found.problems.items():
        yield f"the time of detector '{name}' is not known: {why}"


def _print(found: "Forecast", request: RunRequest) -> None:
    out = console()
    if found.costs:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("to compute", no_wrap=True)
        for title in ("cells", "gradients", "queries", "time of one process"):
            table.add_column(title, justify="right")
        for label, costs in _by_detector(found.costs).items():
            table.add_row(label, str(len(costs)), *_figures(costs))
        out.print(table)
    words = [f"{found.cells} cells: {found.stored} in '{request.out}', {len(found.costs)} to compute"]
    extra = len(found.costs) - (found.cells - found.stored)
    if extra > 0:
        words[0] += f", among them {extra} that others are made from"
    out.print(f"{words[0]}.", soft_wrap=True)
    if not found.costs:
        return
    processes = "1 process" if found.workers == 1 else f"{found.workers} processes"
    out.print(
        f"At the full budget: {found.gradients:,} gradients and {found.queries:,} queries, about "
        f"{duration(found.seconds)} by {processes} on this machine, and about {found.memory / 2**30:.1f} GiB.",
        soft_wrap=True,
    )
    if found.least < 0.9 * found.seconds:
        out.print(
            f"Where the audits show that the cheapest form of each attack is enough, {duration(found.least)}; "
            "--no-evidence spends the full budget on every image.",
            soft_wrap=True,
        )
    if (longest := found.longest) is not None and len(found.costs) > 1:
        out.print(
            f"The longest cell, {longest.planned.label}, takes about {duration(longest.seconds or 0.0)} of one "
            "process; a run that is ended goes on between cells.",
            soft_wrap=True,
        )
    if request.engine is EngineName.RAY:
        notice("the machines of a cluster may be faster or slower than this one.")


def _by_detector(costs: "Iterable[CellCost]") -> "dict[str, list[CellCost]]":
    found: dict[str, list[CellCost]] = {}
    for cost in costs:
        found.setdefault(f"{cost.planned.detector.name} on {cost.planned.track.name}", []).append(cost)
    return found


def _figures(costs: "list[CellCost]") -> tuple[str, str, str]:
    """Gradients, queries and time of some cells; with a plus where some of them do not say."""

    def total(values: list[int | None]) -> str:
        return f"{sum(value or 0 for value in values):,}" + ("+ ?" if None in values else "")

    seconds = [cost.seconds for cost in costs]
    known = [value for value in seconds if value is not None]
    time = (duration(sum(known)) if known else "") + (" + ?" if None in seconds else "")
    return total([cost.gradients for cost in costs]), total([cost.queries for cost in costs]), time.strip(" +") or "?"


def _document(found: "Forecast", request: RunRequest, device: str) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "store": str(request.out),
        "device": device,
        "workers": found.workers,
        "cells": found.cells,
        "stored": found.stored,
        "gradients": found.gradients,
        "queries": found.queries,
        "seconds": found.seconds,
        "least_seconds": found.least,
        "longest_seconds": found.longest.seconds if found.longest is not None else None,
        "memory_bytes": found.memory,
        "unknown_threats": list(found.unknown),
        "unfitted_detectors": list(found.unfitted),
        "problems": dict(found.problems),
        "to_compute": [
            {
                "key": cost.planned.key,
                "detector": cost.planned.detector.name,
                "threat": cost.planned.threat.name,
                "eps": cost.planned.ingredients.eps,
                "track": cost.planned.track.name,
                "gradients": cost.gradients,
                "queries": cost.queries,
                "seconds": cost.seconds,
            }
            for cost in found.costs
        ],
    }
