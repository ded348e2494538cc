"""`bench report`: everything that a folder of cells holds, as one HTML page."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import WorkspaceOption, catalog, say
from bench.cli.options import comma_separated
from bench.cli.places import DEFAULT, OldOut, StoreArgument, refuse_out
from bench.cli.stored import chosen_tables, say_notices
from bench.evaluation.store_places import store_place
from bench.files import write_file
from bench.lazy import lazily
from bench.own_files import write_own

with lazily():
    from bench.report import radii
    from bench.report.html import build, files
    from bench.report.html import page as pages

EXAMPLES = (
    "bench report",
    "bench report runs --to report.html",
    "bench report runs --figures figures --tables tables --detector gat,msp",
)


def command(
    run_dir: StoreArgument = DEFAULT,
    *,
    to: Annotated[
        Path | None, typer.Option(help="The page; else report.html in the folder, or here for a URL.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Write every figure to this folder too, as PNG and SVG.")] = None,
    tables: Annotated[
        Path | None, typer.Option(help="Write the tables to this folder too, as CSV, Markdown and LaTeX.")
    ] = None,
    track: Annotated[list[str] | None, typer.Option(help="Only these tracks; repeatable, or with commas.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Only these detectors.")] = None,
    threat: Annotated[list[str] | None, typer.Option(help="Only these threats, beside the clean scores.")] = None,
    gallery: Annotated[int, typer.Option(min=0, max=64, help="Images of every attacked set that are shown.")] = 2,
    title: Annotated[str, typer.Option(help="The page's title.")] = "robustood report",
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    out: OldOut = None,
) -> None:
    """Write one HTML page of the cells that are stored: tables, curves, images, soundness, hashes.

    The page loads nothing from anywhere, and nothing is computed anew. The same cells give the same page.
    """
    refuse_out("report", out)
    found = chosen_tables(run_dir, comma_separated(track), comma_separated(detector), comma_separated(threat))
    cards = catalog(workspace)
    kept = partial(radii.stored_radii, found.store.root)
    made = build.build_page(
        found.tables,
        found.store,
        cards,
        verdicts=found.verdicts,
        radii=kept,
        title=title,
        each=gallery,
        data_dir=data_dir,
        workspace=cards.workspace,
    )
    say_notices(found.store)
    path = to if to is not None else (store_place(run_dir).folder or Path()) / "report.html"
    content = pages.render_page(made).encode()
    if to is not None:
        write_file(path, content)
    else:
        write_own({path: content}, "name another file (--to)")
    for notice in made.gallery_notes:
        say(f"notice: {notice}")
    typer.echo(f"the page is in '{path}'.")
    if figures is not None:
        count = files.write_figures(figures, made.drawings)
        typer.echo(f"{count} figures, each as PNG and SVG, are in '{figures}'.")
    if tables is not None:
        count = files.write_tables(tables, found.tables, found.metas, kept, found.verdicts)
        typer.echo(
            f"{count} tables, each as Markdown and LaTeX, means as LaTeX and CSV, and cells.csv are in '{tables}'."
        )
