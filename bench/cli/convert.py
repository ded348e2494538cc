"""`bench convert`: weights of a published checkpoint for a detector."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import WorkspaceOption, catalog
from bench.cli.options import named_spec
from bench.lazy import lazily

with lazily():
    from bench.detectors import convert

EXAMPLES = (
    "bench convert resnet20.th --network resnet20",
    "bench convert last.ckpt --network my-net --key ema --out w.safetensors",
    "bench convert MNIST.ckpt --detector phlippe-ebm --track mnist --out w.safetensors",
)


def command(
    file: Annotated[Path, typer.Argument(help="A checkpoint: a PyTorch state_dict, alone or in any container.")],
    network: Annotated[str | None, typer.Option(help="The network that it is for, by its card.")] = None,
    detector: Annotated[str | None, typer.Option(help="Or a detector, or NAME.VARIANT, that has its own.")] = None,
    track: Annotated[str | None, typer.Option(help="The track on which the detector has that network.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; without it, the first weights file that the card names.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Where several states of the checkpoint fit, the key below which to look: ema.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Turn a published PyTorch checkpoint into safetensors; nothing in it is executed."""
    found = catalog(workspace)
    spec = named_spec(found, network, detector, track)
    path, sha256 = convert.convert_checkpoint(file, spec, found.track(spec.track), found, out=out, key=key)
    typer.echo(f"file:   {path}\nsha256: {sha256}")
