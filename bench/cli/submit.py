"""`bench submit`: a row of the leaderboard from a run, or images that beat one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import devices
from bench.cli.common import FAILED, WorkspaceOption, catalog, console, say
from bench.cli.places import DEFAULT, RunOption, read_store
from bench.errors import UsageError
from bench.lazy import lazily

with lazily():
    from bench.leaderboards import adversarials, build, submit

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog
    from bench.evaluation.store import Store

EXAMPLES = (
    "bench submit --run runs --detector gat --dry-run",
    "bench submit --run runs --detector gat --track digits --images 16",
    "bench submit --adversarials mine.npz --beats leaderboards/digits/gat@0123456789ab.json",
)


def command(
    *,
    run: RunOption = DEFAULT,
    detector: Annotated[str | None, typer.Option(help="The detector of the row.")] = None,
    track: Annotated[
        str | None, typer.Option(help="The track, whose card names the suite that a row needs; else that of the cells.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder of leaderboards; else that of the workspace, or leaderboards.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=0, help="Images of the worst case to keep of every set that counts; 16, 0 for none."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what a reviewer would see; write nothing.")] = False,
    adversarials: Annotated[
        Path | None, typer.Option(help="An .npz of `images` (float32 or uint8, N x C x H x W) and `ids`.")
    ] = None,
    beats: Annotated[Path | None, typer.Option(help="The row that those images beat.")] = None,
    threat: Annotated[str | None, typer.Option(help="With --beats: the attack of the suite; else the worst.")] = None,
    device: Annotated[str, typer.Option(help="With --beats: auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
) -> None:
    """Build a row of the leaderboard from the cells of a run, or hand in images that beat a row.

    A row needs every attack of the track's suite on as many images as the track asks for, computed with the cards,
    weights, data and code that are here, and no soundness check that fails. Exit code: 0 done, 1 the images do not
    beat the row, 2 the request is wrong or the run is incomplete.
    """
    cards = catalog(workspace)
    if (adversarials is None) != (beats is None):
        raise UsageError("--adversarials and --beats go together: give the images and the row that they beat.")
    if adversarials is not None and beats is not None:
        if detector is not None:
            raise UsageError("the row names its detector; leave --detector out.")
        raise typer.Exit(_beat(adversarials, beats, cards, threat, device, data_dir, dry_run=dry_run))
    if detector is None:
        raise UsageError("no detector is named; give --detector NAME, one whose cells are in the run.")
    store = read_store(run)
    kept = build.IMAGES if images is None else images
    chosen = track if track is not None else _track_of(store, detector)
    built = build.build_row(cards, store.root, detector, chosen, images=kept, data_dir=data_dir, called=store.name)
    root = to if to is not None else (cards.workspace or Path.cwd()) / submit.FOLDER
    folder = root / built.row.track.name
    planned = [folder / f"{built.row.stem}{ending}" for ending in (*built.files, ".json")]
    # Before anything is printed: a reader that closes the pipe early must not cost the row.
    written = planned if dry_run else submit.write_row(built, root)
    out = console()
    for line in submit.review_lines(built, cards):
        out.print(line, soft_wrap=True)
    said = f"written: {written[-1]} and {len(written) - 1} beside it."
    say("nothing was written (--dry-run)." if dry_run else said)
    for line in submit.request_lines(built.row, written, cards):
        out.print(line, soft_wrap=True)


def _track_of(store: "Store", detector: str) -> str:
    """The one track on which the run has cells of the detector; `digits` where there are none, which is then said."""
    found = sorted({meta.track for meta in store.metas() if meta.detector == detector})
    if len(found) > 1:
        raise UsageError(f"the run has cells of '{detector}' on {', '.join(found)}; choose one by --track.")
    return found[0] if found else "digits"


def _beat(
    images: Path, row: Path, cards: "Catalog", threat: str | None, device: str, data_dir: Path | None, *, dry_run: bool
) -> int:
    found = adversarials.beat_row(
        images, row, cards, threat=threat, device=devices.resolve_device(device), data_dir=data_dir
    )
    for line in found.lines():
        console().print(line, soft_wrap=True)
    if not found.accepted:
        return FAILED
    if not dry_run:
        say(f"written: {adversarials.write_beaten(row, found)} and the images beside it.")
    return 0
