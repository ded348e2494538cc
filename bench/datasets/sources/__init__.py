"""Where images come from: one module a source, each with `load(args, data_dir) -> RawImages`.

A card's `source` is the name of a module here, `folder:PATH`, or `package.module:function` for a user's own.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from bench.datasets.base import RawImages
from bench.errors import DataError

Loader = Callable[[dict[str, Any], Path], RawImages]
"""Called with a card's `args` and the data folder."""


def source_names() -> tuple[str, ...]:
    """The sources that ship with the package."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load_source(source: str, args: dict[str, Any], data_dir: Path) -> RawImages:
    """The images of one source.

    Args:
        source: A name of `source_names`, `folder:PATH`, or `package.module:function`.
        args: What the card gives to the source.
        data_dir: Where data files lie.

    Raises:
        DataError: There is no such source, its arguments are wrong, or its files are missing or unreadable.
    """
    if source.startswith("folder:"):
        source, args = "folder", {**args, "path": source.removeprefix("folder:")}
    return _find(source)(args, data_dir)


def _find(source: str) -> Loader:
    module, _, function = source.partition(":")
    if not function:
        if module not in source_names():
            known = ", ".join(source_names())
            raise DataError(f"unknown source '{source}': allowed are {known}, folder:PATH and package.module:function.")
        module, function = f"{__name__}.{module}", "load"
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DataError(f"source '{source}' cannot be imported ({error}): check the name and the workspace.") from error
    if not callable(found):
        raise DataError(f"source '{source}' is not a function: give package.module:function.")
    return cast(Loader, found)
