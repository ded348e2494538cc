"""`bench status`: how far the runs on a store are, told by what they leave there; from any shell."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.common import console, printable
from bench.cli.durations import duration
from bench.cli.places import DEFAULT, StoreArgument
from bench.errors import UsageError
from bench.evaluation.store_places import StorePlace, store_place
from bench.lazy import lazily

with lazily():
    from bench.evaluation import mirror, object_files, remote_runs, remote_store, run_records, store

if TYPE_CHECKING:
    from bench.evaluation.run_records import Found

EXAMPLES = (
    "bench status",
    "bench status runs",
    "bench status runs --all",
    "bench status runs --json",
    "bench status s3://my-bucket/runs",
)

_FORMAT = 1

_EARLY = 0.01
"""Before this part of the work is done, how long it still takes is not told."""

_NAMED = 20
"""Cells of a kind that are named at most."""


def command(
    store: StoreArgument = DEFAULT,
    every: Annotated[bool, typer.Option("--all", help="Also earlier runs, that are over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
) -> None:
    """Say how far the runs on a store are: cells done, running, failed, and how long still.

    A run that was killed shows as such. Nothing in the store is changed.
    """
    place = store_place(store)
    stored, runs = _found(place)
    if not every:
        runs = [run for run in runs if run.alive] or runs[:1]
    told = [_told(run, stored) for run in runs]
    if as_json:
        typer.echo(json.dumps({"format": _FORMAT, "store": str(place), "stored": len(stored), "runs": told}, indent=2))
        return
    out = console()
    for one in told:
        out.print(printable("\n".join(_lines(one))), soft_wrap=True)
    if not told:
        out.print("no run has left word here.", soft_wrap=True)
    out.print(f"{len(stored)} cells are stored in '{place}'.", soft_wrap=True)


def _found(place: StorePlace) -> "tuple[list[str], list[Found]]":
    """The keys of the stored cells, and the runs that have left word; of a URL nothing else is read.

    Raises:
        UsageError: There is no store, or it cannot be read.
    """
    if place.folder is not None:
        if not place.folder.is_dir():
            raise UsageError(f"'{place}' is not a folder; name the one that `bench run --out` writes.")
        return store.Store(place.folder).keys(), run_records.found_runs(place.folder)

    objects = object_files.RemoteObjects(str(place.url))
    if mirror.store_id(objects) is None:
        raise remote_store.no_store(place)
    return mirror.published(objects), remote_runs.remote_runs(objects)


def _told(run: "Found", stored: list[str]) -> dict[str, Any]:
    """What is said of a run."""
    record = run.record
    cells = run_records.settled(record.cells, stored)
    states = run_records.State
    of = {state: [c for c in cells if c.state is state] for state in states}
    share = run_records.share_done(cells)
    spent = max(0.0, record.written - record.started)
    left = spent * (1 - share) / share if run.alive and share >= _EARLY else None
    state = "running" if run.alive else "ended" if record.ended is not None else "killed"
    if state == "running":
        waiting = of[states.WAITING]
    else:  # nobody is at them any more
        waiting = [cell for cell in cells if cell.state in (states.WAITING, states.RUNNING)]
        of[states.RUNNING] = []
    return {
        "state": state,
        "host": _line(record.host),
        "process": record.process,
        "workers": record.workers,
        "started": record.started,
        "last_word": record.written if record.ended is None else record.ended,
        "cells": len(cells),
        "done": len(of[states.DONE]),
        "running": [{"cell": _line(cell.label), "share": cell.share} for cell in of[states.RUNNING]],
        "failed": [{"cell": _line(cell.label), "why": _line(cell.error or "")} for cell in of[states.FAILED]],
        "waiting": len(waiting),
        "share": share,
        "seconds_left": left,
    }


def _lines(one: dict[str, Any]) -> list[str]:
    """The same for people."""
    begun, last = _clock(one["started"]), _clock(one["last_word"])
    head = f"run of process {one['process']} on {one['host']}, begun {begun}"
    counts = f"{one['done']} of {one['cells']} cells done"
    for name, count in (("failed", len(one["failed"])), ("running", len(one["running"])), ("waiting", one["waiting"])):
        if count:
            counts += f", {count} {name}"
    if one["state"] == "running":
        left = (
            "it is too early to say how long still"
            if one["seconds_left"] is None
            else (f"about {duration(one['seconds_left'])} still")
        )
        lines = [f"{head}: {counts}; {left}."]
    elif one["state"] == "ended":
        lines = [f"{head}, ended {last}: {counts}."]
    else:
        lines = [
            f"{head}, was killed or its machine went away (its last word is of {last}): {counts}. The same command "
            "goes on from there."
        ]
    lines += [f"  running: {cell['cell']}, {100 * cell['share']:.0f} %" for cell in one["running"][:_NAMED]]
    lines += [f"  failed: {cell['why'] or cell['cell']}" for cell in one["failed"][:_NAMED]]
    more = max(0, len(one["running"]) - _NAMED) + max(0, len(one["failed"]) - _NAMED)
    return [*lines, f"  and {more} more; --json names all."] if more else lines


def _line(text: str) -> str:
    """A text from a file, on one line."""
    return " ".join(text.split())


def _clock(moment: float) -> str:
    """A time of day, with the date where it is another day's."""
    then = time.localtime(min(moment, 2**33))
    today = time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", then)
