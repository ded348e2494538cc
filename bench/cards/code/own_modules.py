"""Modules of the user's own in this process: what a card names is computed from its file as the file is now.

A notebook imports a module once; what is edited afterwards would be scored by the old code, under the key of the new
one. So the modules that a name in a card leads to are forgotten and imported again where a file has changed since they
were imported, or where nothing tells whether it has.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from bench.cards.code.source_hash import lives_in_memory_alone, own_modules, text_hash
from bench.errors import CardError


def forget_changed(root: str, search: Sequence[Path]) -> None:
    """Forget a module, and what it imports of the user's own, unless this process has all of it as the files are.

    Args:
        root: The module's dotted name; its next import runs its file.
        search: Folders to look in after `sys.path`.

    Raises:
        CardError: The module has no file, so that nothing would tell its changed code from the old one.
    """
    if root.partition(".")[0] == "bench":
        return
    if lives_in_memory_alone(root, search):
        raise CardError(
            f"module '{root}' has no file, so that nothing would tell its changed code from the old one; put it into "
            "a file, or hand the object itself to bench.evaluate."
        )
    own = own_modules(root, search)
    _RECORDER.watch(own)
    loaded = [name for name in own if name in sys.modules]
    if all(_is_current(name, own[name]) for name in loaded):
        return
    for name in list(sys.modules):
        if any(name == old or name.startswith(f"{old}.") for old in loaded):
            del sys.modules[name]


class _FromSource(SourceFileLoader):
    """Runs the source and no bytecode beside it, which is told from an older one by whole seconds alone."""

    def get_code(self, fullname: str) -> CodeType:
        content = self.get_data(self.path)
        _RECORDER.note(fullname, text_hash(content))
        code: CodeType = self.source_to_code(content, self.path)
        return code


class _Recorder:
    """A finder that notes which source a module of the user's own was made from, also where it is imported late."""

    def __init__(self) -> None:
        self._watched: set[str] = set()
        self._sources: dict[str, str] = {}

    def watch(self, names: Sequence[str] | dict[str, str]) -> None:
        """Note the sources of these modules from now on."""
        self._watched |= set(names)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def note(self, name: str, digest: str) -> None:
        """This source is about to run."""
        self._sources[name] = digest

    def source_of(self, module: ModuleType) -> str | None:
        """The hash of what a loaded module was made from, None where it came another way."""
        loader = getattr(module.__spec__, "loader", None)
        return self._sources.get(module.__name__) if isinstance(loader, _FromSource) else None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As other finders do it, for watched modules alone."""
        spec = PathFinder.find_spec(name, path) if name in self._watched else None
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        return spec


_RECORDER = _Recorder()


def _is_current(name: str, digest: str) -> bool:
    """Whether a loaded module was made from this source."""
    module = sys.modules[name]
    source = _RECORDER.source_of(module)
    if source is not None:
        return source == digest
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    try:
        status = Path(file).stat()
    except OSError:
        return False
    return max(status.st_mtime, status.st_ctime) < _process_start()


@cache
def _process_start() -> float:
    """When this process began, in seconds since the epoch and rather too early; 0 where the system does not tell.

    Some containers count the time since a start of their own, and the start of a process from the machine's: such a
    process seems to begin in the future, and its beginning counts as unknown.
    """
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
        age = since_boot - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
    return time.time() - age - 0.1 if age >= 0 else 0.0
