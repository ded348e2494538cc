"""From `package.module:attribute` in a card to the object it names.

A card executes code: importing the module of a method runs it. Use only cards, and workspaces, that you would run as
programs.
"""

import difflib
import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import CardError
from bench.own_modules import forget_changed
from bench.yaml_cards import shorten


def import_method(path: str, workspace: Path | None = None) -> Any:
    """The object that `package.module:attribute` names.

    Args:
        path: The method of a card.
        workspace: A folder that is searched for modules after everything that is installed.

    Raises:
        CardError: In one sentence, why it could not be imported.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise CardError(f"method {shorten(path)} is not allowed; give package.module:attribute.")
    with importable(workspace):
        module = _module(module_name, path, workspace)
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = difflib.get_close_matches(attribute, public_names(module), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "give the name of a class or function in it."
        raise CardError(f"method '{path}': module '{module_name}' has no '{attribute}'; {hint}") from None


@contextmanager
def importable(workspace: Path | None) -> Iterator[None]:
    """Make a workspace's modules importable, last in order, so that they replace nothing that is installed."""
    root = str(workspace) if workspace is not None else None
    if root is None or root in sys.path:
        yield
        return
    sys.path.append(root)
    try:
        yield
    finally:
        if root in sys.path:
            sys.path.remove(root)


def public_names(module: ModuleType) -> list[str]:
    """The names in a module that do not begin with an underscore."""
    return [name for name in vars(module) if not name.startswith("_")]


def _module(name: str, path: str, workspace: Path | None) -> ModuleType:
    importlib.invalidate_caches()  # a module may have been written since the folder was last listed
    forget_changed(name, [workspace] if workspace is not None else [])
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            where = f"installed or below {workspace}" if workspace is not None else "installed"
            raise CardError(
                f"method '{path}': there is no module '{error.name}'; allowed is what is {where}; "
                "check the spelling, or name the workspace with --workspace."
            ) from error
        raise CardError(f"method '{path}': its module needs '{error.name}', which is not here; install it.") from error
    except (Exception, SystemExit) as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise CardError(
            f"method '{path}': importing '{name}' failed in {line.filename}:{line.lineno} with "
            f"{type(error).__name__}: {shorten(str(error), 200)}; correct that module."
        ) from error
