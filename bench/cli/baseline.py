"""`bench baseline`: record the figures of a run, for `bench check` to hold later runs against."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import WorkspaceOption, catalog, console, say
from bench.cli.options import comma_separated
from bench.cli.places import DEFAULT, OldOut, StoreArgument, refuse_out
from bench.cli.stored import chosen_tables, say_notices
from bench.lazy import lazily

with lazily():
    from bench.leaderboards import baseline, recording, replay

EXAMPLES = (
    "bench baseline runs --to baseline.json",
    "bench baseline runs --detector gat,msp --threat pgd-l2 --to baseline.json",
)


def command(
    run_dir: StoreArgument = DEFAULT,
    *,
    to: Annotated[Path | None, typer.Option(help="The file to write; baseline.json where none is named.")] = None,
    track: Annotated[list[str] | None, typer.Option(help="Only these tracks; repeatable, or with commas.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Only these detectors.")] = None,
    threat: Annotated[list[str] | None, typer.Option(help="Only these threats, beside the clean scores.")] = None,
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    out: OldOut = None,
) -> None:
    """Record a baseline: the figures of stored cells, and every score that they follow from.

    The file is what `bench check --baseline` takes; keep it in version control. Where the store holds several states
    of a cell, that of the cards and the code as they are now is recorded.
    """
    refuse_out("baseline", out)
    chosen = chosen_tables(run_dir, comma_separated(track), comma_separated(detector), comma_separated(threat))
    keys, cards = {meta.key for meta in chosen.metas}, catalog(workspace)
    cells = [cell for cell in replay.of_today(chosen.store.cells(), cards, data_dir=data_dir) if cell.meta.key in keys]
    say_notices(chosen.store)
    for meta in (cell.meta for cell in cells if cell.meta.failed_needs):
        where, failed = f"{meta.detector} x {meta.threat} on {meta.track}", ", ".join(meta.failed_needs)
        say(f"notice: {where} is left out, since parts of it failed: {failed}; run it again.")
    recorded = recording.record([cell for cell in cells if not cell.meta.failed_needs], cards)
    path = to if to is not None else Path("baseline.json")
    baseline.write_baseline(recorded, path, named=to is not None)
    console().print(f"{len(recorded.cells)} cells are recorded in '{path}'.", soft_wrap=True)
