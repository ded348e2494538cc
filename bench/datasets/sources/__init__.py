"""Where images come from: one module a source, each with `load(args, data_dir) -> RawImages`.

A card's `source` is the name of a module here, `folder:PATH`, or `package.module:function` for a user's own.
"""

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.cards.code.methods import import_method, importable
from bench.datasets.base import RawImages
from bench.datasets.wanted import SOURCE
from bench.errors import BenchError, CardError, DataError, shorten

Loader = Callable[[dict[str, Any], Path], RawImages]
"""Called with a card's `args` and the data folder."""


def source_names() -> tuple[str, ...]:
    """The sources that ship with the package."""
    return tuple(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))  # sorted already


def reads_files(source: str) -> bool:
    """Whether a source reads the data folder: what is embedded or drawn does not; of a user's own it is not known."""
    return ":" in source or source in ("background", "corrupted", "folder", "npz", "torchvision")


def fetchable(source: str) -> bool:
    """Whether files of a source may have a public home, from which `bench data download` fetches them."""
    return source in ("npz", "torchvision")


def load_source(source: str, args: dict[str, Any], data_dir: Path, workspace: Path | None = None) -> RawImages:
    """The images of one source.

    Args:
        source: A name of `source_names`, `folder:PATH`, or `package.module:function`.
        args: What the card gives to the source.
        data_dir: Where data files lie.
        workspace: A folder that is searched for a user's module after everything that is installed.

    Raises:
        DataError: There is no such source, its arguments are wrong, its files are missing or unreadable, or what it
            returns is no set of images.
    """
    if source.startswith("folder:"):
        source, args = "folder", {**args, "path": source.removeprefix("folder:")}
    with importable(workspace):  # also for what a source imports only when it is called
        load = _find(source, workspace)
        try:
            raw = load(args, data_dir)
        except BenchError:
            raise
        except Exception as error:  # whatever a parser, or a user's own source, makes of a stranger's bytes
            raise DataError(
                f"source '{source}' cannot read its images ({type(error).__name__}: {shorten(str(error), 200)}): "
                "correct its files, or its code where it is your own."
            ) from error
    _check(raw, source)
    return raw


def _find(source: str, workspace: Path | None) -> Loader:
    if ":" not in source:
        if source not in source_names():
            known = ", ".join(source_names())
            raise DataError(f"unknown source '{source}': allowed are {known}, folder:PATH and package.module:function.")
        source = f"{__name__}.{source}:load"
    try:
        found = import_method(source, workspace, SOURCE)
    except CardError as error:
        raise DataError(f"the source cannot be used: {error}") from error
    return cast(Loader, found)


def _check(raw: RawImages, source: str) -> None:
    """What a user's own source may have got wrong."""
    images, labels = getattr(raw, "images", None), getattr(raw, "labels", None)
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        raise DataError(f"source '{source}' returned {type(raw).__name__}: it must return RawImages with arrays.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"source '{source}' gave {images.dtype} {images.shape}: images must be uint8 (N, H, W, 1 or 3)."
        )
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"source '{source}' gave {labels.dtype} {labels.shape}: labels must be int64 ({len(images)},).")
