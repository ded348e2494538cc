"""`bench data`: whether the images of the tracks are there, and fetching them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.cards.catalog import Catalog, Kind
from bench.cards.track import SetSpec, TrackCard
from bench.cli.common import FAILED, INTERRUPTED, USAGE, WorkspaceOption, catalog, console, say
from bench.cli.rows import print_stacked, table_width
from bench.cli.transfer_progress import TransferProgress
from bench.errors import DataError
from bench.lazy import lazily
from bench.places import expanded

with lazily():
    from bench.datasets import check as checking
    from bench.datasets import download as downloading
    from bench.datasets import forms, sources

EXAMPLES = (
    "bench data check",
    "bench data check --track digits",
    "bench data download --track mnist",
)

app = typer.Typer(help="Whether the images of the tracks are there, and fetching them.")

_FIGURES = ("images", "MiB")
"""Columns that are set to the right."""

TrackOption = Annotated[list[str] | None, typer.Option("--track", help="A track; all of them without this option.")]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Folder of data files; default: ROBUSTOOD_DATA, else a folder in the user's cache."
    ),
]


@app.command()
def check(track: TrackOption = None, data_dir: DataDirOption = None, workspace: WorkspaceOption = None) -> None:
    """Load every set and compare its content with the card's digest; exit code 1 unless all are present."""
    found = catalog(workspace)
    cards, out = _cards(found, track), console()
    folder = _folder(data_dir, needed=False)
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    notes: list[str] = []
    for card in cards:
        for each in checking.check_track(card, folder, found.workspace):
            count = "" if each.count is None else f"{each.count:,}"
            if each.available not in (None, each.count):
                count += f" of {each.available:,}"
            size = "" if each.size is None else f"{each.size / 2**20:.1f}"
            rows.append((each.track, each.name, each.state, count, size, each.form))
            if each.state is not checking.State.PRESENT:
                problems.append(each.problem)
            notes.extend(f"{each.track}, {each.name}: {sentence}" for sentence in each.notes)
    where = folder if folder is not None else "none (there is no home folder; ROBUSTOOD_DATA or --data-dir names one)"
    out.print(Text(f"data folder: {where}"), soft_wrap=True)
    _print_sets(out, rows)
    for sentence in notes:
        out.print(Text(f"note: {sentence}"), soft_wrap=True)
    for sentence in dict.fromkeys(problems):
        out.print(Text(f"error: {sentence}"), soft_wrap=True)
    if problems:
        raise typer.Exit(FAILED)


def _print_sets(out: Console, rows: list[tuple[str, ...]]) -> None:
    """One line a set; where files have long names, these stand below."""
    header = ("track", "set", "state", "images", "MiB", "form")
    if table_width([max(map(len, column)) for column in zip(header, *rows, strict=True)]) > out.width:
        out.print()
        print_stacked(out, header, rows, lead=5, right=_FIGURES)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in header:
        table.add_column(column, no_wrap=True, justify="right" if column in _FIGURES else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)


@app.command()
def download(track: TrackOption = None, data_dir: DataDirOption = None, workspace: WorkspaceOption = None) -> None:
    """Fetch what can be fetched, and say of the rest what to put where; exit code 2 if a file could not be had.

    Files come over https, are compared with the published sha256 and size, and get their names only then. What came of
    a download that ended early is kept, and the same command goes on from there.
    """
    folder, out = _folder(data_dir), console()
    assert folder is not None
    failed = False
    with TransferProgress(console(stderr=True)) as progress:
        fetching = downloading.Fetching(progress.told)
        sets = (each for card in _cards(catalog(workspace), track) for each in _specs(card))
        for spec in downloading.distinct(needed for each in sets for needed in downloading.read_by(each)):
            if not any(sources.fetchable(form.source) for form in spec.forms):
                continue  # embedded, or a folder of the user's own
            try:
                for sentence in downloading.fetch(spec, folder, fetching):
                    out.print(Text(sentence), soft_wrap=True)
            except DataError as error:
                for sentence in str(error).splitlines():
                    say(f"error: {sentence}")
                failed = True
            except KeyboardInterrupt:
                say("interrupted: what came of a file is kept, and the same command goes on from there.")
                raise typer.Exit(INTERRUPTED) from None
    if failed:
        raise typer.Exit(USAGE)


def _cards(found: Catalog, names: list[str] | None) -> list[TrackCard]:
    given = [part.strip() for name in names or () for part in name.split(",") if part.strip()]
    return [found.track(name) for name in given or found.names(Kind.TRACK)]


def _specs(card: TrackCard) -> Iterator[SetSpec]:
    yield from (card.train, card.calibration, card.test, *card.ood.values(), *card.outliers)


def _folder(data_dir: Path | None, *, needed: bool = True) -> Path | None:
    """The folder of data files; None where none is known and the embedded tracks need none."""
    if data_dir is not None:
        return expanded(data_dir, "--data-dir")
    try:
        return forms.default_data_dir()
    except DataError:
        if needed:
            raise
        return None
