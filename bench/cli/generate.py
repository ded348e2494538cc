"""`bench generate`: new images from a detector, as a picture."""

import io
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import devices
from bench.cli.common import WorkspaceOption, catalog
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    import numpy as np
    import torch
    from PIL import Image

    from bench import metrics, randomness
    from bench.datasets import track as tracks
    from bench.detectors import loading
    from bench.evaluation import generating

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = (
    "bench generate --detector gat --track digits --start letters",
    "bench generate --detector glow --how sample --out glow.png",
    "bench generate --detector jem --how langevin --steps 500 --step-size 0.25",
)

ROW = 8
"""Images in a row of the picture."""


class How(StrEnum):
    """How images are made."""

    ASCENT = "ascent"
    SAMPLE = "sample"
    LANGEVIN = "langevin"


def command(
    detector: Annotated[str, typer.Option("--detector", "-d", help="A detector, or NAME.VARIANT of one.")],
    track: Annotated[str, typer.Option("--track", help="The track.")] = "digits",
    how: Annotated[How, typer.Option(help="Ascent on the score, samples (glow, gbz, pixelcnn), or chains (jem).")] = (
        How.ASCENT
    ),
    start: Annotated[str | None, typer.Option(help="The set where ascent starts; else the track's first OOD set.")] = (
        None
    ),
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many images.")] = 16,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of ascent, or of a chain.")] = 100,
    step_size: Annotated[float, typer.Option(min=0, help="L2 length of a step of ascent; Langevin's step size.")] = 0.1,
    radius: Annotated[float | None, typer.Option(min=0, help="How far ascent may go in L2; else anywhere.")] = None,
    seed: Annotated[int, typer.Option(help="Of samples and chains.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="The PNG file.")] = Path("generated.png"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Make new images with a detector and draw them as a picture.

    A detector that knows what the in-distribution looks like turns other images into it. Ascent starts from images of a
    set, which the picture shows above what they became. The threshold is that of 95 % of the calibration images.
    """
    found = catalog(workspace)
    spec = found.detector_spec(detector, track)
    data = tracks.Track(found.track(track), data_dir, workspace=found.workspace)
    made_by = loading.load_detector(spec, data.card, found, devices.resolve_device(device))
    place = next(iter(made_by.state_dict().values()), torch.zeros(())).device
    generator = torch.Generator().manual_seed(randomness.derive_seed(seed, "generate"))
    first = start if start is not None else next(iter(data.card.ood))
    starts = None
    if how is How.ASCENT:
        starts = data.set(first).limited(count).pixels().to(place)
        images = generating.ascended(made_by, starts, steps=steps, step_size=step_size, radius=radius)
    elif how is How.SAMPLE:
        images = generating.sampled(made_by, count, generator)
    else:
        images = generating.chained(made_by, count, generator, steps=steps, step_size=step_size)
    with torch.no_grad():
        inside = made_by.score(data.set("calibration").limited(500).pixels().to(place)).cpu().numpy()
        threshold = metrics.threshold_at_tpr(inside)
        for name, shown in ((f"start ({first})", starts), ("made", images)):
            if shown is not None:
                score = made_by.score(shown)
                accepted = int((score >= threshold).sum())
                typer.echo(f"{name}: mean score {float(score.mean()):.4g}, {accepted} of {len(shown)} accepted")
    if starts is not None:
        typer.echo(f"moved: mean L2 distance {float((images - starts).flatten(1).norm(dim=1).mean()):.4g}")
    write_file(out, picture(images, starts))
    typer.echo(f"threshold: {threshold:.4g}\npicture: {out}")


def picture(images: "Tensor", starts: "Tensor | None") -> bytes:
    """A PNG file of (N, C, H, W) images in rows, each row below the row of images that it began with."""
    rows = []
    for first in range(0, len(images), ROW):
        for shown in (starts, images):
            if shown is not None:
                chosen = shown[first : first + ROW].detach().cpu().mul(255).round().byte().numpy()
                padded = np.full((ROW, *chosen.shape[1:]), 255, dtype=np.uint8)
                padded[: len(chosen)] = chosen
                rows.append(np.concatenate([image.transpose(1, 2, 0) for image in padded], axis=1))
    whole = np.concatenate(rows).repeat(3, axis=0).repeat(3, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole).save(buffer, "PNG")
    return buffer.getvalue()
