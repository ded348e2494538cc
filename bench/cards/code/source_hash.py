"""Which source code a cell depends on, and its hash, found without importing any of it.

The user's own modules are followed wherever they lie: beside a card, in the current folder, in a package that is
installed in place. What an installer put into `site-packages` counts by name and version of its distribution, and the
standard library not at all. Files of data that a module reads by itself cannot be found so.
"""

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from bench.cards.code.imports import imported_names, listed_names

_COVERED = frozenset({"bench", "bench.allocator", "bench.cards", "bench.errors", "bench.lazy"})
"""Modules, and packages with all that is in them but for `bench` itself, that count in no key.

Their effect is in the key already (resolved cards, the version), or they only word errors and find modules.
"""

_SAME_EVERYWHERE = frozenset({"torch", "numpy"})
"""The harness computes with these too; their versions stand in every cell, and do not change its key."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def source_hash(modules: Iterable[str], search: Sequence[Path] = ()) -> str:
    """sha256 of the source of these modules and of all code of the user's own and of `bench` that they import.

    Args:
        modules: Dotted names; one that cannot be found counts by its name alone (loading it will say what is wrong).
        search: Folders to look in after `sys.path`, such as a workspace.
    """
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(followed(modules, search).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def followed(modules: Iterable[str], search: Sequence[Path] = ()) -> dict[str, str]:
    """Every module that counts, and the hash of its file; for what is installed the version. As `source_hash`."""
    where = tuple(str(path) for path in search)
    roots = set(modules)
    tops = {name.partition(".")[0] for name in roots}
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = sorted(roots)
    importlib.invalidate_caches()  # a module may have been written since its folder was last listed
    while waiting:
        name = waiting.pop()
        if name in seen or _is_covered(name):
            continue
        seen.add(name)
        spec = _located(name, where)
        if spec is None:
            if name in roots:
                found[name] = ""
            elif "." in name:  # an attribute of a module
                waiting.append(name.rpartition(".")[0])
            continue
        top = name.partition(".")[0]
        waiting += _parents(name)
        if spec.origin is None or not spec.has_location:
            continue  # a namespace, or built in
        if top == "bench":
            found[name], names = _read_bench(name, spec)
            waiting += [each for each in names if each.partition(".")[0] == "bench"]
        elif top not in tops and _is_installed(spec.origin):
            found |= {version: "" for version in _distributions(top) if top not in _SAME_EVERYWHERE}
        elif not _is_standard(spec.origin):
            found[name], names = _read(name, spec, where)
            waiting += names
    return found


def own_modules(root: str, search: Sequence[Path] = ()) -> dict[str, str]:
    """The modules of the user's own that a module imports, itself among them, with the hash of each file.

    Nothing that an installer put into `site-packages` is among them, also where the root itself lies there.
    """
    where = tuple(str(path) for path in search)
    if _lies_installed(root, where):
        return {}
    return {
        name: digest
        for name, digest in followed([root], search).items()
        if digest and name.partition(".")[0] != "bench" and not _lies_installed(name, where)
    }


def lives_in_memory_alone(name: str, search: Sequence[Path] = ()) -> bool:
    """Whether this process has a module that no file tells of, such as the cells of a notebook."""
    return name in sys.modules and _located(name, tuple(map(str, search))) is None and not _is_builtin(name)


def _is_covered(name: str) -> bool:
    return name in _COVERED or any(name.startswith(f"{room}.") for room in _COVERED if room != "bench")


def is_own(name: str) -> bool:
    """Whether a loaded module is the user's: neither bench, nor installed, nor Python's own."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return name.partition(".")[0] != "bench" and file is not None and not _is_installed(file) and not _is_standard(file)


def text_hash(content: bytes) -> str:
    """sha256 of a source, whatever its line ends."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def _parents(name: str) -> list[str]:
    """The packages above a module, whose `__init__` runs before it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _read(name: str, spec: ModuleSpec, where: tuple[str, ...]) -> tuple[str, frozenset[str]]:
    """The hash of a module's file (any line ends) and the names that it may import."""
    content = _content(spec)
    if not (spec.origin or "").endswith(".py"):
        return text_hash(content), frozenset()
    names = imported_names(content, _package(name, spec))
    return text_hash(content), names | _starred(names, where)


def _read_bench(name: str, spec: ModuleSpec) -> tuple[str, frozenset[str]]:
    path = Path(spec.origin or "")
    return _read_unless_changed(path, path.stat().st_mtime_ns, _package(name, spec))


@cache
def _read_unless_changed(path: Path, _changed: int, package: str) -> tuple[str, frozenset[str]]:
    content = path.read_bytes()
    return text_hash(content), imported_names(content, package)


def _package(name: str, spec: ModuleSpec) -> str:
    return name if spec.submodule_search_locations is not None else name.rpartition(".")[0]


def _starred(names: Iterable[str], where: tuple[str, ...]) -> frozenset[str]:
    """What star imports among these names take from packages that list their modules in `__all__`."""
    found: set[str] = set()
    for package in (name.removesuffix(".*") for name in names if name.endswith(".*")):
        spec = _located(package, where)
        if spec is not None and (spec.origin or "").endswith("__init__.py"):
            found |= {f"{package}.{word}" for word in listed_names(_content(spec))}
    return frozenset(found)


def _content(spec: ModuleSpec) -> bytes:
    """The bytes of a module's file, which may lie in an archive; of one that cannot be read, none."""
    try:
        return Path(spec.origin or "").read_bytes()
    except OSError:
        pass
    try:
        return bytes(spec.loader.get_data(spec.origin))  # type: ignore[union-attr]
    except (AttributeError, OSError):
        return b""


def _located(name: str, where: tuple[str, ...]) -> ModuleSpec | None:
    """Where an import would find a module; its parents are not imported, as `importlib.util.find_spec` would."""
    top = name.partition(".")[0]
    if _is_builtin(top):
        return None
    if top == "bench":
        return _located_bench(name)
    path: list[str] | None = [*sys.path, *(folder for folder in where if folder not in sys.path)]
    spec: ModuleSpec | None = None
    full = ""
    for part in name.split("."):
        if full and path is None:
            return None
        full = f"{full}.{part}" if full else part
        spec = _found_by_finders(full, path, top=full == part)
        if spec is None:
            return _loaded(full) if full == name else None
        path = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else None
    return spec


@cache
def _located_bench(name: str) -> ModuleSpec | None:
    spec = _loaded("bench")
    for full in [*_parents(name)[1:], name] if "." in name else []:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    return spec


def _found_by_finders(name: str, path: list[str] | None, *, top: bool) -> ModuleSpec | None:
    """What the finders of this process say, in their order: packages that are installed in place bring their own."""
    for finder in sys.meta_path:
        spec = None
        with suppress(Exception):  # a finder of others may fail; an import would fail in it too
            spec = finder.find_spec(name, path if finder is PathFinder or not top else None)
        if spec is not None:
            return spec
    return None


def _loaded(name: str) -> ModuleSpec | None:
    """The spec of a module that no finder knows, and this process has."""
    module = sys.modules.get(name)
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if isinstance(spec, ModuleSpec):
        return spec
    return importlib.util.spec_from_file_location(name, file) if file else None  # such as a script that runs


def _is_builtin(name: str) -> bool:
    return name in sys.builtin_module_names


def _lies_installed(name: str, where: tuple[str, ...]) -> bool:
    spec = _located(name, where)
    return spec is not None and _is_installed(spec.origin or "")


def _is_installed(origin: str) -> bool:
    return not _INSTALLED.isdisjoint(Path(origin).parts)


@cache
def _standard_folders() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def _is_standard(origin: str) -> bool:
    path = Path(origin)
    return not _is_installed(origin) and any(
        folder in path.parents or folder in path.resolve().parents for folder in _standard_folders()
    )


@cache
def _distributions(top: str) -> tuple[str, ...]:
    """Name and version of what brought an installed module."""
    try:
        return (f"{top} {metadata.version(top)}",)
    except metadata.PackageNotFoundError:
        return tuple(f"{name} {metadata.version(name)}" for name in sorted(set(_by_module().get(top, ()))))


@cache
def _by_module() -> Mapping[str, Sequence[str]]:
    return metadata.packages_distributions()
