"""`bench validate`: whether cards can be used."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from bench.cli.common import USAGE, WorkspaceOption, catalog, console, printable, say
from bench.lazy import lazily

with lazily():
    from bench.validation import checks

EXAMPLES = (
    "bench validate",
    "bench validate detectors/gat.yaml",
    "bench validate --workspace .",
    "bench validate --no-import",
)


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Cards to check; without any, all of the catalog.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    no_import: Annotated[
        bool, typer.Option("--no-import", help="Run no code of anybody: read the named code's source instead.")
    ] = False,
) -> None:
    """Check cards: fields, references, the code they name, and their weights against sha256.

    The modules that a card names are imported, which runs them, and its detector is made; it says which modules
    outside bench these are. For the card of somebody that you do not trust, --no-import runs nothing.
    """
    found = catalog(workspace)
    for sentence in found.passed_over():
        say(f"notice: {sentence}")
    run_code = not no_import
    if files:
        checked = [checks.check_file(path, found, run_code=run_code) for path in files]
    else:
        checked = list(checks.check_catalog(found, run_code=run_code))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("card", "kind", "verdict"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for each in checked:
        verdict = ("ok" if each.ok else "failed") + (f", {len(each.notes)} notes" if each.notes else "")
        table.add_row(Text(printable(each.path.stem)), each.kind or "unknown", verdict)
    out = console()
    out.print(table)
    for each in checked:
        for sentence in each.problems:
            out.print(Text(printable(f"error: {sentence}")), soft_wrap=True)
    for each in checked:
        for sentence in each.notes:
            out.print(Text(printable(f"note: {sentence}")), soft_wrap=True)
    imported = list(dict.fromkeys(module for each in checked for module in each.imported))
    if imported:
        out.print(Text(f"imported, which ran them: {', '.join(imported)}"), soft_wrap=True)
    failed = sum(not each.ok for each in checked)
    out.print(f"{len(checked) - failed} of {len(checked)} cards are usable.")
    if failed:
        raise typer.Exit(USAGE)
