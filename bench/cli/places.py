"""The stores that commands are given: a folder, or a URL, whatever the command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.common import notice
from bench.errors import UsageError
from bench.evaluation.store_places import StorePlace, store_place
from bench.lazy import lazily

with lazily():
    from bench.evaluation import remote_store
    from bench.report import radii
    from bench.soundness import files

if TYPE_CHECKING:
    from bench.evaluation.notes import Notes
    from bench.evaluation.store import Store

DEFAULT = "runs"
"""The folder of cells where none is named."""

_WRITTEN = "The folder or URL that `bench run --out` wrote."

StoreArgument = Annotated[str, typer.Argument(metavar="[STORE]", help=_WRITTEN)]
RunOption = Annotated[str, typer.Option("--run", metavar="STORE", help=_WRITTEN)]
OutOption = Annotated[
    str | None,
    typer.Option(
        metavar="STORE",
        help="Folder, or URL such as s3://BUCKET/PREFIX, that keeps the cells; runs where none is named.",
    ),
]

OldOut = Annotated[str | None, typer.Option("--out", "-o", metavar="STORE", hidden=True)]
"""Of commands that read a store and write a file, where `--out` once named the file."""


def refuse_out(command: str, out: str | None) -> None:
    """Say what to type in place of `--out` where a command computes no cells.

    Raises:
        UsageError: `out` was given.
    """
    if out is not None:
        raise UsageError(
            f"--out names a store of cells, as in `bench run`, and '{out[:200]}' was given; `bench {command} STORE` "
            f"reads one, and `bench {command} STORE --to FILE` writes to a file."
        )


def read_store(given: str | StorePlace, *, absent: bool = False) -> "Store":
    """A store for a command that computes nothing; see `bench.evaluation.remote_store.read_store`."""
    place = store_place(given)
    return remote_store.read_store(place, notes=_notes(place), said=notice, absent=absent)


@contextmanager
def written_store(given: str | StorePlace) -> "Iterator[Store]":
    """A store for a command that computes; see `bench.evaluation.remote_store.written_store`."""
    place = store_place(given)
    with remote_store.written_store(place, notes=_notes(place), said=notice) as store:
        yield store


def _notes(place: StorePlace) -> "tuple[Notes, ...]":
    """What travels with the cells; the modules that know of it are not imported for a folder."""
    if place.url is None:
        return ()
    return files.NOTES, radii.NOTES
