"""`bench repro`: make tables and figures of papers again, and lay them beside what was published."""

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from bench.cli import devices
from bench.cli.common import FAILED, WorkspaceOption, catalog, console, notice, say
from bench.cli.places import DEFAULT, OutOption, read_store, written_store
from bench.cli.rows import print_stacked, table_width
from bench.errors import UsageError
from bench.files import write_file
from bench.lazy import lazily
from bench.own_files import write_own
from bench.repro.entry import Scale

with lazily():
    from bench.cli import computing, request
    from bench.evaluation import engine
    from bench.repro import changed, closed_forms, drawing, experiments, library, planning, records, trained
    from bench.repro import page as pages

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog
    from bench.evaluation.engine import CellDone, CellFailure
    from bench.evaluation.planned import PlannedCell
    from bench.evaluation.results import Cell
    from bench.evaluation.store import Store
    from bench.repro.entry import Entry, Setting
    from bench.repro.experiments import Outcome
    from bench.repro.library import PaperEntries
    from bench.repro.planning import Place
    from bench.repro.records import Record

EXAMPLES = (
    "bench repro list",
    "bench repro gat-attacked",
    "bench repro all --scale small --page reproduction.md",
    "bench repro page --page reproduction.md",
)

LIST, ALL, PAGE = "list", "all", "page"
_PAGE = Path("reproduction.md")
_ANOTHER = "name another page (--page)"


def command(
    name: Annotated[str, typer.Argument(help="list, page, one entry, all entries of a paper, or all.")],
    *,
    scale: Annotated[
        Scale, typer.Option(help="small: what is at hand; paper: the paper's own data, networks and counts.")
    ] = Scale.SMALL,
    page: Annotated[
        Path | None,
        typer.Option(help="Page of all entries, pictures in images/ beside it; of `all` and `page`, reproduction.md."),
    ] = None,
    out: OutOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes; as many as there are cores where none is named.")
    ] = None,
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Make tables and figures of papers again from stored cells, and lay them beside what was published.

    Cells that the store of --out holds are not computed again, so the same command goes on after an interruption. Of
    several entries, one that cannot be run is named and the others go on. `page` runs nothing and writes the page from
    what is kept of earlier runs. Exit code 1: something could not be computed.
    """
    cards = catalog(workspace)
    found = library.papers(cards)
    if name == LIST:
        _print_list(found, read_store(out or DEFAULT, absent=True), scale)
        return
    if name == PAGE:
        _write_page(found, read_store(out or DEFAULT), scale, page)
        return
    chosen = library.asked_for(found, name)
    with written_store(out or DEFAULT) as store:
        runner = _Runner(cards, store, scale, device, workers, data_dir, quiet)
        code = runner.run_all(chosen, alone=name not in (ALL, *(one.name for one in found)))
        if page is not None or name == ALL:
            _write_page(found, store, scale, page)
    raise typer.Exit(code)


class _Runner:
    """Runs entries one after the other, and keeps what came of each."""

    def __init__(
        self,
        cards: "Catalog",
        store: "Store",
        scale: Scale,
        device: str,
        workers: int | None,
        data_dir: Path | None,
        quiet: bool,
    ) -> None:
        self._cards, self._store, self._scale = cards, store, scale
        self._device, self._workers, self._data_dir, self._quiet = device, workers, data_dir, quiet

    def run_all(self, entries: "Sequence[Entry]", *, alone: bool) -> int:
        """The exit code; an entry that cannot be run stops the command only where it was asked for alone."""
        code = 0
        for entry in entries:
            try:
                code = max(code, self._run(entry))
            except UsageError as error:
                if alone:
                    raise
                say(f"notice: '{entry.name}' is not run: {error}")
        return code

    def _run(self, entry: "Entry") -> int:
        setting = entry.at(self._scale)
        if setting.missing is not None:
            console().print(f"{entry.name} is not run at this scale: {setting.missing}", soft_wrap=True)
            return 0
        if setting.closed_form is not None:
            record = self._derived(entry)
        else:
            trained = self._train(setting)
            planned = planning.planned_runs(setting, self._cards, self._data_dir, self._store.root)
            record = self._computed(entry, planned, planning.places(entry, setting, planned), trained)
        records.write_record(self._store.root, record)
        _print_entry(entry, record, self._scale)
        return FAILED if record.failed else 0

    def _derived(self, entry: "Entry") -> "Record":
        setting, began = entry.at(self._scale), time.monotonic()
        assert setting.closed_form is not None
        figures = planning.checked_places(entry, closed_forms.figures_of(setting.closed_form, setting.args))
        return records.Record(
            entry=entry.name,
            scale=self._scale,
            date=_today(),
            seconds=time.monotonic() - began,
            gradients=0,
            device="cpu",
            cells=0,
            figures=records.stored_figures(figures),
        )

    def _train(self, setting: "Setting") -> float:
        """Train what the runs of an entry name and no file holds; the seconds that all of it took."""
        if all(run.train is None for run in setting.runs):
            return 0.0
        device = devices.resolve_device(self._device)
        return trained.train_missing(setting.runs, self._cards, self._store.root, self._data_dir, device=device)

    def _computed(
        self, entry: "Entry", planned: "Mapping[str, list[PlannedCell]]", wanted: "Sequence[Place]", trained: float
    ) -> "Record":
        outcomes = self._cells(entry, planned)
        metas = {one.planned.key: one.meta for one in outcomes if isinstance(one, engine.CellDone)}
        failed = {one.planned.label: one.sentence for one in outcomes if not isinstance(one, engine.CellDone)}

        def stored(cell: "PlannedCell") -> "Cell | None":
            return self._store.get(metas[cell.key].key) if cell.key in metas else None

        figures = planning.read_figures(wanted, stored)
        panels = planning.histograms(entry.at(self._scale), planned, stored)
        began = time.monotonic()
        found = self._experimented(entry, planned, stored)
        own = time.monotonic() - began if entry.at(self._scale).experiments else 0.0
        return records.Record(
            entry=entry.name,
            scale=self._scale,
            date=_today(),
            seconds=sum(meta.seconds for meta in metas.values()) + trained + max(own, found.seconds),
            gradients=sum(m.gradients for m in metas.values()),
            device=", ".join(sorted({meta.device for meta in metas.values()})) or "cpu",
            cells=len(metas),
            figures=records.stored_figures(figures | planning.placed(entry, found.figures)),
            failed={k[:2000]: v[:2000] for k, v in failed.items()},
            panels=(*panels, *found.panels),
        )

    def _cells(self, entry: "Entry", planned: "Mapping[str, list[PlannedCell]]") -> "list[CellDone | CellFailure]":
        """What came of an entry's cells; one process computes those of what was trained for it."""
        own = any(run.train is not None for run in entry.at(self._scale).runs)
        cards = changed.ChangedCatalog(self._cards, weights=self._store.root / changed.WEIGHTS) if own else self._cards
        outcomes: dict[str, CellDone | CellFailure] = {}
        for together in planning.computed_together(planned):
            found = computing.compute_cells(
                cards,
                self._store,
                together,
                device=self._device,
                data_dir=self._data_dir,
                quiet=self._quiet,
                hands=request.Hands(1 if own else self._workers),
            )
            outcomes |= {one.planned.key: one for one in found}
        for sentence in self._store.notices:
            notice(sentence)
        self._store.notices.clear()
        return list(outcomes.values())

    def _experimented(
        self,
        entry: "Entry",
        planned: "Mapping[str, list[PlannedCell]]",
        stored: "Callable[[PlannedCell], Cell | None]",
    ) -> "Outcome":
        asked = entry.at(self._scale).experiments
        if not asked:
            return experiments.Outcome()

        def cells(run: str) -> "list[tuple[PlannedCell, Cell]]":
            return [(cell, found) for cell in planned.get(run, ()) if (found := stored(cell)) is not None]

        device = devices.resolve_device(self._device)
        return experiments.run_experiments(
            asked, experiments.Surroundings(self._cards, self._data_dir, self._store.root, cells, device)
        )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _records(found: "Sequence[PaperEntries]", store: "Store", scale: Scale) -> "dict[str, Record]":
    names = [entry.name for one in found for entry in one.entries]
    return {name: record for name in names if (record := records.read_record(store.root, name, scale)) is not None}


def _write_page(found: "Sequence[PaperEntries]", store: "Store", scale: Scale, page: Path | None) -> None:
    """The page, and beside it in `images/` the pictures of the entries that have one."""
    path = page or _PAGE
    records = _records(found, store, scale)
    drawn = [
        (entry.name, picture)
        for one in found
        for entry in one.entries
        if entry.name in records and (picture := drawing.draw(entry, records[entry.name])) is not None
    ]
    pictures = {name: f"images/{picture.name}.png" for name, picture in drawn}
    own = {path.parent / pictures[name]: picture.png() for name, picture in drawn}
    text = pages.render_page(found, records, scale, pictures).encode()
    write_own({**own, **({} if page is not None else {path: text})}, _ANOTHER)
    if page is not None:
        write_file(path, text, remedy=_ANOTHER)
    typer.echo(
        f"the page is in '{path}'" + (f", and {len(drawn)} pictures in '{path.parent / 'images'}'." if drawn else ".")
    )


def _print_entry(entry: "Entry", record: "Record", scale: Scale) -> None:
    out = console()
    for line in pages.render_entry(pages.judged_by(entry, record, scale), record, scale):
        out.print(line, soft_wrap=True)
    out.print()


def _print_list(found: "Sequence[PaperEntries]", store: "Store", scale: Scale) -> None:
    records = _records(found, store, scale)
    header = ("entry", "status", "can be run", "paper", "table or figure", "what it shows")
    rows = [
        (
            entry.name, str(pages.judged_by(entry, records.get(entry.name), scale).status),
            ", ".join(at for at in Scale if entry.at(at).missing is None) or "no",
            one.name, ", ".join(entry.items), entry.title,
        )
        for one in found for entry in one.entries
    ]  # fmt: skip
    out = console()
    sizes = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    if table_width(sizes) > out.width:
        print_stacked(out, header, rows, lead=3)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in header:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)
