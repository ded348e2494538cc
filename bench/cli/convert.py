"""`bench convert`: weights of a published checkpoint for a detector."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import WorkspaceOption, catalog

EXAMPLES = (
    "bench convert resnet20.th --detector msp --track cifar10",
    "bench convert last.ckpt --detector msp --track cifar10 --key ema --out w.safetensors",
    "bench convert baseline_epoch_9.pt --detector msp.hendrycks-baseline --track mnist --out w.safetensors",
)


def command(
    file: Annotated[Path, typer.Argument(help="A checkpoint: a PyTorch state_dict, alone or in any container.")],
    detector: Annotated[str, typer.Option(help="The detector, or NAME.VARIANT, whose network it is for.")],
    track: Annotated[str, typer.Option(help="The track on which the detector has that network.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; without it, the first weights file that the card names.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Where several states of the checkpoint fit, the key below which to look: ema.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Turn a published PyTorch checkpoint into safetensors; nothing in it is executed."""
    from bench.detectors.convert import convert_checkpoint

    found = catalog(workspace)
    spec = found.detector_spec(detector, track)
    path, sha256 = convert_checkpoint(file, spec, found.track(track), found, out=out, key=key)
    typer.echo(f"file:   {path}\nsha256: {sha256}")
