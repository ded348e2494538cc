"""`bench validate`: whether cards can be used."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from bench.cli.common import USAGE, WorkspaceOption, catalog, console

EXAMPLES = ("bench validate", "bench validate detectors/gat.yaml", "bench validate --workspace .")


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Cards to check; without any, all of the catalog.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Check cards: fields, references, the code they name, and their weights against sha256. Imports that code."""
    from bench.validation import check_catalog, check_file

    found = catalog(workspace)
    checked = [check_file(path, found) for path in files] if files else list(check_catalog(found))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("card", "kind", "verdict"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for each in checked:
        verdict = ("ok" if each.ok else "failed") + (f", {len(each.notes)} notes" if each.notes else "")
        table.add_row(Text(each.path.stem), each.kind or "unknown", verdict)
    out = console()
    out.print(table)
    for each in checked:
        for sentence in each.problems:
            out.print(Text(f"error: {sentence}"), soft_wrap=True)
    for each in checked:
        for sentence in each.notes:
            out.print(Text(f"note: {sentence}"), soft_wrap=True)
    failed = sum(not each.ok for each in checked)
    out.print(f"{len(checked) - failed} of {len(checked)} cards are usable.")
    if failed:
        raise typer.Exit(USAGE)
