"""Which source code a cell depends on, and its hash, found without importing any of it."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

# Their effect is in the key already (resolved cards, the version), or they only word errors.
_COVERED = frozenset({"bench", "bench.allocator", "bench.errors", "bench.specs", "bench.catalog"})


def source_hash(modules: Iterable[str], search: Sequence[Path] = ()) -> str:
    """sha256 of the source of these modules and of what they import from their own package and from `bench`.

    Args:
        modules: Dotted names; one that cannot be found counts by its name alone (loading it will say what is wrong).
        search: Folders to look in beside `sys.path`, such as a workspace.
    """
    where = tuple(str(path) for path in search)
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in _COVERED:
            continue
        path = _locate(name, where)
        if path is None:
            found[name] = ""
            continue
        digest, imports = _read(path, path.stat().st_mtime_ns, name)
        found[name] = digest
        own = {name.partition(".")[0], "bench"}
        waiting += [other for other in imports if other.partition(".")[0] in own and _locate(other, where)]
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(found.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


@cache
def _read(path: Path, _changed: int, name: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a file's text (any line ends) and the names that it may import."""
    text = path.read_bytes().replace(b"\r\n", b"\n")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return hashlib.sha256(text).hexdigest(), ()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return hashlib.sha256(text).hexdigest(), tuple(sorted(set(_imports(tree, package))))


def _imports(tree: ast.Module, package: str) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                base = f"{above}.{base}" if base else above
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # kept only where it is a module


@cache
def _locate(name: str, search: tuple[str, ...]) -> Path | None:
    """The source file of a module; its parents are not imported, as `importlib.util.find_spec` would."""
    first, *rest = name.split(".")
    spec = _top_level(first, search)
    full = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        full = f"{full}.{part}"
        spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _top_level(name: str, search: tuple[str, ...]) -> ModuleSpec | None:
    if name in sys.builtin_module_names:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module such as __main__ that has no spec
        return None
    return spec or PathFinder.find_spec(name, list(search))
