"""From `package.module:attribute` in a card to the object it names.

A card executes code: importing the module of a method runs it. Before anything is imported, the module's source is
read (`static_code`): Python's own library, programs' `__main__`, and installed modules that know nothing of `bench` are
refused unrun. What was imported must then be of the kind that its place in the card asks for (`wanted`), or it is not
called. So a card alone runs no module but those of bench, of plug-ins for it, and of the workspace; use only workspaces
and plug-ins that you would run as programs.
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

from bench.cards.code.own_modules import forget_changed
from bench.cards.code.static_code import find_module, lies_below, look_up, refuse_foreign
from bench.cards.code.wanted import Wanted
from bench.errors import CardError, shorten


def import_method(path: str, workspace: Path | None = None, wanted: Wanted | None = None) -> Any:
    """The object that `package.module:attribute` names.

    Args:
        path: The method of a card.
        workspace: A folder that is searched for modules after everything that is installed.
        wanted: What it must be; None accepts anything, for a caller that does not call it.

    Raises:
        CardError: In one sentence, why it could not be imported, or that it is not what is wanted.
    """
    module_name, attribute = check_unrun(path, workspace, wanted)
    with importable(workspace):
        module = _module(module_name, path, workspace)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        near = difflib.get_close_matches(attribute, public_names(module), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "give the name of a class or function in it."
        raise CardError(f"method '{path}': module '{module_name}' has no '{attribute}'; {hint}") from None
    if wanted is not None and not wanted.fits(found):
        raise CardError(f"{shorten(path)} is {_described(found)}; allowed: {wanted.sentence}.")
    return found


def check_unrun(path: str, workspace: Path | None, wanted: Wanted | None) -> tuple[str, str]:
    """Module and attribute of a path, after all checks that can be made without running anything.

    Raises:
        CardError: It is no such path, the module can hold nothing that a card may name, or its source has no such name.
    """
    module, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise CardError(f"method {shorten(path)} is not allowed; give package.module:attribute.")
    refuse_foreign(module, path)
    if module in sys.modules or wanted is None:
        return module, attribute
    named = look_up(module, attribute, workspace)
    own = lies_below(find_module(module, workspace), workspace)
    if wanted.needs_bench and not own and not named.knows_bench:
        raise CardError(
            f"method '{path}': the installed module '{module}' imports nothing of bench, so it holds no "
            f"{wanted.sentence.removeprefix('a ')}; it was not imported."
        )
    return module, attribute


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


def _described(found: Any) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"


def _module(name: str, path: str, workspace: Path | None) -> ModuleType:
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
