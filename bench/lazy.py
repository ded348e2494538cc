"""Imports that stand at the top of a module and run when what they name is first used: a short command starts quickly.

`importlib.util.LazyLoader` is not used: it leaves half-made modules in `sys.modules`, where a second import of the same
module loads them (Python 3.11), and so does whoever looks through all modules, as `inspect.getmodule` does.
"""

import builtins
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from types import SimpleNamespace
from typing import Any

_BLOCK = Lock()
"""Held while one block binds its names, which loads nothing and waits for nothing."""


@contextmanager
def lazily() -> Iterator[None]:
    """A block of imports of modules, each of which is imported at its first use.

        with lazily():
            import torch
            from bench.evaluation import engine

    Each name is bound to a stand-in, and to the module itself once it was used: what an import raises is raised then.
    Only modules can be named so, since a function or a class would have to be there to be bound.
    """
    importer = sys._getframe(2).f_globals  # of the module with the block; between lies contextlib
    with _BLOCK:
        ordinary = builtins.__import__

        def bind(
            name: str,
            globals: Mapping[str, object] | None = None,
            locals: Mapping[str, object] | None = None,
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> Any:
            if globals is not importer or level:  # such as another thread that imports meanwhile
                return ordinary(name, globals, locals, fromlist or (), level)
            if "." in name and not fromlist:
                raise ImportError(f"lazily() was given 'import {name}'; write 'from package import module'.")
            if fromlist:
                return SimpleNamespace(**{each: _Later(f"{name}.{each}", importer) for each in fromlist})
            return _Later(name, importer)

        builtins.__import__ = bind
        try:
            yield
        finally:
            builtins.__import__ = ordinary


class _Later:
    """Stands for a module until something is asked of it; even its `__dict__` is that of the module."""

    __slots__ = ("_importer", "_name")

    def __init__(self, name: str, importer: dict[str, Any]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_importer", importer)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._module(), attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(self._module(), attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(self._module(), attribute)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self._name,)

    def _module(self) -> Any:
        """Import it, and bind it where this stands for it."""
        module = import_module(self._name)
        for bound in [key for key, value in list(self._importer.items()) if value is self]:
            self._importer[bound] = module
        return module
