"""`bench init`: a folder for cards and code of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import console, say
from bench.lazy import lazily

with lazily():
    from bench.scaffolds import writing

EXAMPLES = ("bench init", "bench init my-detectors")


def command(
    folder: Annotated[Path, typer.Argument(help="The folder, made where it is not there; else the current one.")] = (
        Path()
    ),
) -> None:
    """Make a folder a workspace, for cards and code of your own."""
    for path in writing.init_workspace(folder):
        console().print(f"wrote {path}", soft_wrap=True)
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder}; "
    say(f"next: {inside}bench new track NAME --id FOLDER --ood FOLDER, or bench new detector NAME")
