"""`bench verify`: how far a row of the leaderboard can be trusted."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.common import FAILED, WorkspaceOption, catalog, console, say
from bench.cli.options import comma_separated
from bench.cli.places import written_store
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.leaderboards.reattack import Fresh
    from bench.leaderboards.row import Row

EXAMPLES = (
    "bench verify leaderboards/digits/gat@0123456789ab.json",
    "bench verify leaderboards/digits/gat@0123456789ab.json --level re-attacked --out fresh --record",
)
_LEVELS = ("claimed", "re-scored", "re-attacked")


def command(
    row: Annotated[Path, typer.Argument(help="The row's JSON file, with its companions beside it.")],
    *,
    level: Annotated[str, typer.Option(help="claimed, re-scored (the default) or re-attacked.")] = "re-scored",
    seeds: Annotated[
        list[str] | None,
        typer.Option(help="Of re-attacked: 3 or more other seeds than the row's; repeatable or commas."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Write what was reached beside the row.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="STORE", help="Folder or URL that keeps the cells of fresh attacks.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the verdict and errors.")] = False,
) -> None:
    """Verify a row: its hashes and arithmetic, its scores by its weights, its attack by fresh ones.

    claimed: schema, hashes and arithmetic, without weights or data. re-scored: the weights give the row's scores on
    the track's images and on the kept attacked ones, and images that beat it do what their record says. re-attacked:
    with 3 or more other seeds at equal budget the claimed AUROC is at most their mean + max(0.005, 3 sd), and no
    weaker image by image. Exit code: 0 the level was reached, 1 it was not, or a record of images is wrong, 2 the file
    is no row or the request is wrong.
    """
    if level not in _LEVELS:
        raise UsageError(f"--level is {level[:40]}; allowed is {', '.join(_LEVELS)}.")
    chosen = _seeds(comma_separated(seeds))
    cards = catalog(workspace)
    from bench.cli.devices import resolve_device
    from bench.leaderboards.submit import figure
    from bench.leaderboards.verify import Level, verify

    with nullcontext() if out is None else written_store(out) as store:
        found = verify(
            row, Level(level), cards, device=resolve_device(device), data_dir=data_dir, seeds=chosen,
            out=None if store is None else store.root, tell=(lambda sentence: None) if quiet else say,
        )  # fmt: skip
    for sentence in found.remarks:
        say(f"notice: {sentence}")
    for sentence in (*found.problems, *found.beaten):
        say(f"error: {sentence}")
    own = found.row
    console().print(
        f"{found.badge} {own.detector.name} on {own.track.name}: worst-case AUROC {figure(own.worst)} under "
        f"{own.worst_entry.threat}, clean {figure(own.clean)}",
        soft_wrap=True,
    )
    if found.fresh is not None:
        _print_fresh(found.row, found.fresh)
    if record and found.reached is not None:
        from bench.leaderboards.records import write_record

        written = write_record(row, found)
        say(f"written: {written}" if written else "kept: the record beside the row is of a higher level.")
    raise typer.Exit(FAILED if found.problems or found.beaten else 0)


def _print_fresh(row: "Row", fresh: "Fresh") -> None:
    seeds = ", ".join(map(str, fresh.seeds))
    for entry, again in zip(row.entries, fresh.entries, strict=True):
        figures = ", ".join(f"{auroc:.4f}" for auroc in again.aurocs)
        console().print(
            f"  {entry.threat} at {entry.norm} {entry.eps:g}: claimed {entry.mean.auroc:.4f}, fresh {figures} "
            f"(seeds {seeds}), allowed {again.allowed:.4f}, median {again.median:.4f}",
            soft_wrap=True,
        )


def _seeds(given: list[str]) -> tuple[int, ...]:
    if wrong := [text for text in given if not (text.isascii() and text.isdigit() and len(text) < 10)]:
        raise UsageError(f"--seeds holds {wrong[0][:40]}; allowed are integers from 0 to 999999999.")
    return tuple(int(text) for text in given)
