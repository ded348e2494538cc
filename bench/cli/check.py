"""`bench check`: whether detectors got worse, or attacks weaker, since a baseline was recorded."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bench.cli.common import FAILED, WorkspaceOption, catalog, console, notice
from bench.cli.places import DEFAULT, written_store
from bench.cli.stored import chosen_tables, say_notices
from bench.errors import DataError, UsageError
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    from bench.cli import computing
    from bench.evaluation import engine
    from bench.leaderboards import baseline as baselines
    from bench.leaderboards import recording, regression, regression_report, replay

if TYPE_CHECKING:
    from bench.evaluation.engine import CellDone
    from bench.leaderboards.baseline import Baseline, BaselineCell, Identity
    from bench.leaderboards.regression import Regression

EXAMPLES = (
    "bench check --baseline leaderboards/baselines/digits-fast.json",
    "bench check --baseline baseline.json --run runs",
    "bench check --baseline baseline.json --junit check.xml --markdown check.md --alpha 0.001",
)

MISSING = 3
_PIPE_WIDTH = 120


def command(
    *,
    baseline: Annotated[Path, typer.Option("--baseline", "-b", help="The file that `bench baseline` wrote.")],
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="STORE",
            help="Folder or URL of cells to check, as they are; else those of the baseline are run now.",
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="The largest change that does not count.")] = 0.005,
    alpha: Annotated[float, typer.Option(help="Chance of any false alarm over all cells together.")] = 0.01,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the summary as Markdown to this file.")] = None,
    out: Annotated[
        str, typer.Option(metavar="STORE", help="Folder or URL that keeps the cells that are run now.")
    ] = DEFAULT,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the table, notices and errors.")] = (
        False
    ),
) -> None:
    """Hold a run against a baseline: did a detector get worse, or an attack weaker?

    Worse: the AUROC fell. Attack weaker: it rose under attack although the detector computes the same scores. A change
    counts where it is larger than --tolerance and significant at --alpha. On side fool the share of images that
    withstood counts.

    Exit codes: 0 unchanged or better, 1 worse or an attack weaker, 2 a wrong request, 3 cells are missing (and no
    other is worse).
    """
    _check_numbers(tolerance, alpha)
    recorded = baselines.read_baseline(baseline, notice)
    reasons: dict[Identity, str] = {}
    if run is not None:
        now, reasons = _stored(recorded, run, workspace, data_dir)
    else:
        now, reasons = _computed(recorded, out, device, workspace, data_dir, quiet)
    found = regression.compare(recorded.cells, now, tolerance=tolerance, alpha=alpha, reasons=reasons)
    _report(found, junit, markdown)
    raise typer.Exit(FAILED if found.failed else MISSING if found.missing else 0)


def _check_numbers(tolerance: float, alpha: float) -> None:
    if not 0 <= tolerance < 1:
        raise UsageError(f"--tolerance is {tolerance}; allowed is a change of the AUROC, 0 or more and below 1.")
    if not 0 < alpha < 1:
        raise UsageError(f"--alpha is {alpha}; allowed is a chance between 0 and 1, such as 0.01.")


def _stored(
    recorded: "Baseline", run: str, workspace: Path | None, data_dir: Path | None
) -> "tuple[dict[Identity, BaselineCell], dict[Identity, str]]":
    """The cells of a folder that are those of the baseline, and what it holds in the place of others."""
    store = chosen_tables(run, [], [], []).store
    stored = store.cells()
    say_notices(store)
    today = replay.of_today(stored, catalog(workspace), data_dir=data_dir)
    return replay.current_cells(today, recorded.cells), replay.missing_reasons(today, recorded.cells)


def _computed(
    recorded: "Baseline", out: str, device: str, workspace: Path | None, data_dir: Path | None, quiet: bool
) -> "tuple[dict[Identity, BaselineCell], dict[Identity, str]]":
    """The cells of the baseline as they come out now, and why others do not."""
    cards = catalog(workspace)
    plan = replay.replay(recorded.cells, cards, data_dir=data_dir)
    with written_store(out) as store:
        try:
            outcomes = computing.compute_cells(
                cards, store, plan.planned, device=device, data_dir=data_dir, quiet=quiet
            )
        except DataError as error:  # nothing of it can be computed: all that could be planned is missing for this
            return {}, {**plan.reasons, **dict.fromkeys(plan.keys, str(error).rstrip("."))}
    say_notices(store)
    failures = {
        one.planned.key: _incomplete(one) if isinstance(one, engine.CellDone) else one.sentence
        for one in outcomes
        if not isinstance(one, engine.CellDone) or one.meta.failed_needs
    }
    reasons = dict(plan.reasons)
    now: dict[Identity, BaselineCell] = {}
    for identity, key in plan.keys.items():
        cell = None if key in failures else store.get(key)
        if cell is None:
            reasons[identity] = failures.get(key, "it was stored and is gone").rstrip(".")
        else:
            now |= {part.identity: part for part in recording.recorded_cells(cell) if part.identity == identity}
    return now, reasons


def _incomplete(done: "CellDone") -> str:
    """Why a cell cannot stand beside the baseline's: parts of its attack failed."""
    reasons = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in done.meta.failed_needs.items())
    return f"{done.planned.label}: parts of the attack failed ({reasons})"


def _report(found: "Regression", junit: Path | None, markdown: Path | None) -> None:
    """To the terminal, and to the files that are asked for."""
    for path, render in ((junit, regression_report.render_junit), (markdown, regression_report.render_markdown)):
        if path is not None:
            write_file(path, render(found).encode())
    out = console()
    ascii_only = not (out.encoding or "").lower().startswith("utf")
    width = out.width if out.is_terminal or "COLUMNS" in os.environ else _PIPE_WIDTH
    for line in regression_report.text_lines(found, width=width):
        text = line.text.replace("±", "+-") if ascii_only else line.text
        out.print(Text(text, style="bold" if line.kind == "header" else ""), soft_wrap=True)
    out.print(regression_report.summary(found), soft_wrap=True)
