"""`bench baseline`: record the figures of a run, for `bench check` to hold later runs against."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import WorkspaceOption, catalog, console
from bench.cli.options import comma_separated

EXAMPLES = (
    "bench baseline runs --out baseline.json",
    "bench baseline runs --detector gat,msp --threat pgd-l2 --out baseline.json",
)


def command(
    run_dir: Annotated[Path, typer.Argument(help="The folder that `bench run --out` wrote.")] = Path("runs"),
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("baseline.json"),
    track: Annotated[list[str] | None, typer.Option(help="Only these tracks; repeatable, or with commas.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Only these detectors.")] = None,
    threat: Annotated[list[str] | None, typer.Option(help="Only these threats, beside the clean scores.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Record a baseline: the figures of stored cells, and every score that they follow from.

    The file is what `bench check --baseline` takes; keep it in version control.
    """
    from bench.cli.stored import chosen_tables
    from bench.leaderboards.baseline import write_baseline
    from bench.leaderboards.recording import record, without_members

    chosen = chosen_tables(run_dir, comma_separated(track), comma_separated(detector), comma_separated(threat))
    keys = {meta.key for meta in chosen.metas}
    cells = [cell for cell in without_members(chosen.store.cells()) if cell.meta.key in keys]
    recorded = record(cells, catalog(workspace))
    write_baseline(recorded, out)
    console().print(f"{len(recorded.cells)} cells are recorded in '{out}'.", soft_wrap=True)
