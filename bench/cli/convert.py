"""`bench convert`: weights of a published checkpoint for a detector."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import WorkspaceOption, catalog

EXAMPLES = (
    "bench convert resnet20.th --detector msp --track cifar10",
    "bench convert baseline_epoch_9.pt --detector msp.hendrycks-baseline --track mnist --out w.safetensors",
)


def command(
    file: Annotated[Path, typer.Argument(help="A checkpoint: a PyTorch state_dict, alone or below 'state_dict'.")],
    detector: Annotated[str, typer.Option(help="The detector, or NAME.VARIANT, whose network it is for.")],
    track: Annotated[str, typer.Option(help="The track on which the detector has that network.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; without it, the first weights file that the card names.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Turn a published PyTorch checkpoint into safetensors; nothing in it is executed."""
    from bench.detectors.convert import convert_checkpoint

    found = catalog(workspace)
    spec = found.detector_spec(detector, track)
    path, sha256 = convert_checkpoint(file, spec, found.track(track), found, out=out)
    typer.echo(f"file:   {path}\nsha256: {sha256}")
