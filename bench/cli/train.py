"""`bench train`: make a card's weights."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cli import devices
from bench.cli.common import WorkspaceOption, catalog, console, printable
from bench.cli.options import named_spec
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    from bench.training import job

EXAMPLES = (
    "bench train --detector gat --track digits --out weights",
    "bench train --network convnet-digits --out weights",
    "bench train --detector gat --track digits --out weights --curve gat.csv",
)


CURVE_POINTS = 50


def command(
    detector: Annotated[
        str | None, typer.Option("--detector", "-d", help="A detector, or NAME.VARIANT of one.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Or a network, by its card, on the track of its card.")] = None,
    track: Annotated[
        str | None, typer.Option("--track", help="The track whose images are seen; else the network's, or digits.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the weights [default: the workspace's detectors/weights, or a cache]."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the card's.")] = None,
    device: Annotated[str, typer.Option(help="Where to train: auto, cpu, cuda, ...")] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on from an interrupted training.")] = False,
    threads: Annotated[
        int, typer.Option(min=1, max=256, help="Processor threads; another number gives other last bits.")
    ] = 1,
    curve: Annotated[
        Path | None,
        typer.Option(help="CSV file for some 50 points of what this run trains: mean losses, held-out figures."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of the data files.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Train the weights of a detector or a network by its card's recipe.

    An interrupted training goes on where it was when the same command is given again. The end is a safetensors file
    and its sha256, for the card.
    """
    found = catalog(workspace)
    if curve is not None:
        _write_curve(curve, ())  # before an hour of training
    spec = named_spec(found, network, detector, "digits" if network is None and track is None else track)
    screen = console()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    with Progress(*columns, *times, TextColumn("{task.fields[note]}"), console=screen) as bar:
        task = bar.add_task(printable(f"{spec.name} on {spec.track}"), total=None, note="")

        def tell(done: int, total: int, note: str) -> None:
            bar.update(task, completed=done, total=total, note=note)

        made = job.train_weights(
            found,
            spec,
            data_dir=data_dir,
            out=out,
            seed=seed,
            device=devices.resolve_device(device),
            fresh=fresh,
            threads=threads,
            progress=tell,
            curve_points=CURVE_POINTS if curve is not None else 0,
        )
    report = made.report
    if curve is not None:
        _write_curve(curve, report.curve)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in report.figures.items())
    resumed = f" (went on from step {report.resumed_at})" if report.resumed_at else ""
    screen.print(f"{report.steps} steps in {report.seconds:.0f} s{resumed}{': ' if figures else ''}{figures}")
    screen.print(f"{made.path}\nsha256: {made.sha256}", soft_wrap=True)
    used = found.weights_path(made.path.name)
    if used is not None and used.resolve() != made.path.resolve():
        screen.print(f"Runs go on using {used}; put the new file there, or into a workspace's detectors/weights.")
    if made.expected is None:
        screen.print("The card declares no sha256; write this one under its weights to pin them.")
    elif made.expected == made.sha256:
        screen.print("The same bytes as the card's weights.")
    else:
        screen.print(
            f"The card declares {made.expected}: other bits. Another processor or torch version does that; "
            "compare the figures, and write the new sha256 into the card to use these weights."
        )


def _write_curve(path: Path, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """A line a point: the step, and every figure that any point has."""
    names = list(dict.fromkeys(name for _, figures in points for name in figures))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {"step": step, **{name: f"{value:.6g}" for name, value in figures.items()}} for step, figures in points
    )
    write_file(path, text.getvalue().encode(), remedy="name another file (--curve)")
