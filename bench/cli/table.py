"""`bench table`: the tables of a folder of cells, again."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bench.cli.common import console
from bench.cli.options import comma_separated
from bench.cli.places import DEFAULT, OldOut, StoreArgument, refuse_out
from bench.cli.stored import Chosen, chosen_tables
from bench.errors import UsageError
from bench.files import write_file
from bench.lazy import lazily
from bench.report.words import printable

with lazily():
    from bench.report import four_columns, latex, markdown, radii, records, text
    from bench.report import protocols as protocol_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

    from bench.cards.threat import Norm
    from bench.report.lines import Line
    from bench.report.table import Table

EXAMPLES = (
    "bench table",
    "bench table runs --format markdown --to table.md",
    "bench table runs --detector gat,msp --threat pgd-l2 --full",
    "bench table runs --protocols",
    "bench table runs --sides",
    "bench table s3://my-bucket/runs",
)

_STYLES = {"heading": "bold", "caption": "dim", "header": "bold", "section": "cyan", "remark": "yellow", "row": ""}
_PLAIN = str.maketrans({"→": "->", "±": "+-", "\N{REPLACEMENT CHARACTER}": "?"})
_PIPE_WIDTH = 120


class TableFormat(StrEnum):
    """How a table is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


def command(
    run_dir: StoreArgument = DEFAULT,
    *,
    format_: Annotated[TableFormat, typer.Option("--format", "-f", help="text, markdown, csv or latex.")] = (
        TableFormat.TEXT
    ),
    track: Annotated[list[str] | None, typer.Option(help="Only these tracks; repeatable, or with commas.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Only these detectors.")] = None,
    threat: Annotated[list[str] | None, typer.Option(help="Only these threats, beside the clean scores.")] = None,
    full: Annotated[bool, typer.Option("--full", help="A row for each OOD set, with every figure.")] = False,
    protocols: Annotated[
        bool, typer.Option("--protocols", help="Clean, under published protocols, and under the strongest of ours.")
    ] = False,
    sides: Annotated[
        bool, typer.Option("--sides", help="Clean, and with ID, OOD or both attacked: four columns.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    out: OldOut = None,
) -> None:
    """Print the tables of the cells that are stored, computing nothing."""
    refuse_out("table", out)
    found = chosen_tables(run_dir, comma_separated(track), comma_separated(detector), comma_separated(threat))
    if protocols or sides:
        if (protocols and sides) or full or format_ in (TableFormat.CSV, TableFormat.LATEX):
            raise UsageError("--protocols and --sides are tables of their own, as text or Markdown; give one of them.")
        _print_grids(found, protocols, format_, to)
        return
    if format_ is TableFormat.CSV:
        _deliver([records.render_csv(found.metas, found.verdicts)], to)
        return
    if format_ is TableFormat.TEXT and to is None:
        terminal = console()
        for table in found.tables:
            print_table(terminal, table, full=full, radii=radii.stored_radii(found.store.root, table))
        return
    root = found.store.root
    _deliver([_rendered(format_, table, full, radii.stored_radii(root, table)) for table in found.tables], to)


def _print_grids(found: Chosen, protocols: bool, format_: TableFormat, to: Path | None) -> None:
    failed = {key: verdicts.failed for key, verdicts in found.verdicts.items() if verdicts.failed}
    shown = (protocol_tables.protocols_grids if protocols else four_columns.sides_grids)(found.tables, failed)
    if not shown:
        missing = "a published protocol; run one, such as protocol-atd" if protocols else "an attack that has a mean"
        raise UsageError(f"'{found.store.name}' holds no cell of {missing}.")
    for heading, caption, grid in shown:
        if format_ is TableFormat.TEXT and to is None:
            terminal = console()
            print_lines(terminal, text.grid_lines(heading, caption, grid, width_of(terminal)))
    if format_ is TableFormat.MARKDOWN:
        _deliver(
            [
                f"**{markdown.escape_markdown(heading)}**\n\n{chr(10).join(markdown.markdown_grid(grid, grid.texts))}"
                f"\n\n{caption}\n"
                for heading, caption, grid in shown
            ],
            to,
        )
    elif to is not None:
        lines = [line.text for shown_grid in shown for line in text.grid_lines(*shown_grid, _PIPE_WIDTH)]
        _deliver(["\n".join(lines) + "\n"], to)


def print_table(
    out: "Console", table: "Table", *, full: bool = False, radii: "Mapping[Norm, float] | None" = None
) -> None:
    """Print one table for a person, as wide as the terminal is."""
    print_lines(out, text.text_lines(table, width=width_of(out), full=full, radii=radii))


def width_of(out: "Console") -> int:
    """The columns that lines for a console may take."""
    return out.width if out.is_terminal or "COLUMNS" in os.environ else _PIPE_WIDTH


def print_lines(out: "Console", lines: "Iterable[Line]") -> None:
    """Print the lines of a table, in words that the console can show."""
    plain = not (out.encoding or "").lower().startswith("utf")
    for line in lines:
        words = printable(line.text.rstrip())
        words = words.translate(_PLAIN) if plain else words
        out.print(Text(words, style=_STYLES[line.kind]), soft_wrap=True)
    out.print()


def _rendered(format_: TableFormat, table: "Table", full: bool, radii: "Mapping[Norm, float]") -> str:
    if format_ is TableFormat.MARKDOWN:
        return markdown.render_markdown(table, full=full, radii=radii)
    if format_ is TableFormat.LATEX:
        return latex.render_latex(table, full=full, radii=radii)

    return text.render_text(table, full=full, radii=radii)


def _deliver(texts: list[str], to: Path | None) -> None:
    """To a file, or as it is to standard output."""
    text = "\n".join(texts)
    if to is None:
        sys.stdout.write(text)
        return

    write_file(to, text.encode(), remedy="choose another file (--to)")
