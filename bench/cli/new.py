"""`bench new`: cards that validate and run, with comments that say what to change."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from bench.cards.catalog import Catalog
from bench.cli.common import WorkspaceOption, catalog, console, say
from bench.errors import BenchError, UsageError, shorten
from bench.lazy import lazily

with lazily():
    from bench.datasets import track as tracks
    from bench.scaffolds import network as network_scaffold
    from bench.scaffolds import plain as plain_scaffold
    from bench.scaffolds import track as track_scaffold
    from bench.scaffolds import writing
    from bench.validation import checks

if TYPE_CHECKING:
    from bench.scaffolds.network import Look

EXAMPLES = (
    "bench new track birds --id photos/birds --ood planes=photos/planes --ood photos/cats",
    "bench new network mine --from my_module:build --weights mine.pth --track birds",
    "bench new network vit --from timm:vit_tiny_patch16_224 --weights vit.pth --track birds",
    "bench new detector my-score",
    "bench new threat my-threat",
)

CHECKED = 200
"""So many ID test images are classified, to say whether the network was put together rightly."""

app = typer.Typer(help="Write a new card: a track, a network, a detector or a threat.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(help="Its name: small letters, digits and '-'.")]


@app.command("track")
def track(
    name: Named,
    inside: Annotated[Path, typer.Option("--id", help="Folder of ID images; its folders are the classes.")],
    ood: Annotated[list[str], typer.Option(help="Folder of an OOD set, or NAME=FOLDER; repeatable.")],
    size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Height and width of all images; else of the first, up to 224.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="How many classes, where no folders say it.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Images of one channel.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a track of image folders: the ID folder cut in three, and a set of OOD images for each other folder."""
    found = _workspace(workspace)
    path = track_scaffold.new_track(found, name, inside, _sets(ood), size=size, classes=classes, grey=grey)
    _wrote([path])
    _check(found, path)
    say(f"next: bench new network NAME --from my_module:build --weights FILE --track {name}")


@app.command("network")
def network(
    name: Named,
    method: Annotated[
        str,
        typer.Option(
            "--from", help="my_module:build, my_module:made, torchvision:NAME, timm:NAME, hf:NAME, file:PATH."
        ),
    ],
    track: Annotated[str, typer.Option(help="The track that it classifies.")],
    weights: Annotated[Path | None, typer.Option(help="A checkpoint: PyTorch's or safetensors.")] = None,
    key: Annotated[str | None, typer.Option(help="Below which key of it, where several states fit.")] = None,
    arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for what makes it; repeatable.")] = None,
    mean: Annotated[str | None, typer.Option(help="Subtracted from each channel: 0.49,0.48,0.45")] = None,
    std: Annotated[str | None, typer.Option(help="Divided by, for each channel.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Side that images are brought to; else found.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a network of this name, and make it the track's own.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of the data files.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Look at a network, write its card and its weights, and say what was found in it."""
    found = _workspace(workspace)
    card = found.track(track)
    path, look = network_scaffold.new_network(
        found,
        name,
        method,
        card,
        weights=weights,
        key=key,
        args=_arguments(arg or []),
        mean=_numbers(mean, "mean"),
        std=_numbers(std, "std"),
        size=size,
        replace=replace,
    )
    again = Catalog(found.workspace, builtin=found.builtin)
    adopted, stands = network_scaffold.adopt(again, track, name, replace=replace)
    _wrote([path, *([adopted] if adopted is not None else [])])
    for part, what in look.parts.items():
        console().print(f"  {part}: {what}")
    for sentence in look.told:
        say(f"notice: {sentence}")
    say(stands)
    _say_accuracy(again, look, track, data_dir)
    _check(Catalog(found.workspace, builtin=found.builtin), path)
    say(f"next: bench run --detector all-scores --network {name} --track {track} --threat clean,pgd-linf --limit 100")


@app.command("detector")
def detector(name: Named, workspace: WorkspaceOption = None) -> None:
    """Write a score on any network, and its module."""
    found = _workspace(workspace)
    paths = plain_scaffold.new_detector(found, name)
    _wrote(paths)
    _check(Catalog(found.workspace, builtin=found.builtin), paths[0])
    say(f"next: bench run --detector {name} --threat clean,pgd-l2 --limit 100")


@app.command("threat")
def threat(name: Named, workspace: WorkspaceOption = None) -> None:
    """Write a threat, and its module."""
    found = _workspace(workspace)
    paths = plain_scaffold.new_threat(found, name)
    _wrote(paths)
    _check(Catalog(found.workspace, builtin=found.builtin), paths[0])
    say(f"next: bench run --detector energy --threat {name} --limit 100")


def _workspace(named: Path | None) -> Catalog:
    found, written = writing.new_workspace(catalog(named))
    _wrote(written)
    return found


def _wrote(paths: Iterable[Path]) -> None:
    for path in paths:
        console().print(f"wrote {path}", soft_wrap=True)


def _check(found: Catalog, path: Path) -> None:
    """Validate what was written, with what is said of it.

    Raises:
        UsageError: It cannot be used; the file stays, to be corrected.
    """
    checked = checks.check_file(path, found)
    if not checked.ok:
        raise UsageError(" ".join(checked.problems))


def _say_accuracy(found: Catalog, look: "Look", track: str, data_dir: Path | None) -> None:
    try:
        test = tracks.Track(found.track(track), data_dir, workspace=found.workspace).set("test").limited(CHECKED)
        share = network_scaffold.quick_accuracy(look.network, test.pixels(), test.labels)
    except BenchError as error:
        say(f"notice: its accuracy was not tried: {error}")
        return
    if share is not None:
        doubt = "where that is too few, look at mean and std, and at the order of the classes"
        say(f"it classifies {share:.1%} of {len(test)} ID test images correctly; {doubt}.")


def _sets(given: list[str]) -> dict[str, Path]:
    sets: dict[str, Path] = {}
    for text in given:
        name, sign, folder = text.partition("=")
        path = Path(folder if sign else text)
        plain = "".join(s if s.isalnum() else "-" for s in (name if sign else path.resolve().name).lower()).strip("-")
        if not plain or plain in sets:
            raise UsageError(f"--ood {shorten(text)} gives no new name; write NAME=FOLDER.")
        sets[plain] = path
    return sets


def _arguments(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"--arg is {shorten(text)}; allowed is NAME=VALUE.")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--arg {name} is {shorten(value)}; allowed is a value as YAML writes it.") from None
    return found


def _numbers(given: str | None, what: str) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError:
        raise UsageError(f"--{what} is {shorten(given)}; allowed are numbers with commas, one a channel.") from None
