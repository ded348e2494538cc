"""Which modules a Python source may import, read from its text alone."""

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache

_IMPORTERS = frozenset({"import_module", "__import__"})

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements hold others."""


@lru_cache(maxsize=4096)
def imported_names(source: bytes, package: str) -> frozenset[str]:
    """Dotted names that the source may import, wherever in it the import stands.

    A name such as `a.b` stands for what may be a module or an attribute of one. Imports that only the running program
    could tell (`import_module(name)` of a variable) are not among them.

    Args:
        source: The text of a module.
        package: The package that its relative imports start from.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    if source.isascii() and not any(word.encode() in source for word in _IMPORTERS):  # then no call imports
        nodes, called = _statements(tree), _IMPORTERS
    else:
        nodes = list(ast.walk(tree))
        called = _importers(nodes)
    return frozenset(name for node in nodes for name in _names(node, package, called) if name)


@lru_cache(maxsize=4096)
def listed_names(source: bytes) -> frozenset[str]:
    """What `__all__` of a package lists literally: a star import takes these, where they are modules too."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    lists = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
        and any(isinstance(target, ast.Name) and target.id == "__all__" for target in _targets(node))
    ]
    words = (
        item.value
        for value in lists
        if isinstance(value, ast.List | ast.Tuple)
        for item in value.elts
        if isinstance(item, ast.Constant)
    )
    return frozenset(word for word in words if isinstance(word, str))


def _targets(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _statements(tree: ast.Module) -> list[ast.AST]:
    """Every statement, however deep, and no expression, of which there are ten times as many."""
    found: list[ast.AST] = [tree]
    for node in found:  # which grows meanwhile
        for block in _BLOCKS:
            inner = getattr(node, block, None)
            if isinstance(inner, list):
                found += inner
    return found


def _importers(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """The names under which the source calls `import_module`."""
    renamed = {
        alias.asname
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "importlib"
        for alias in node.names
        if alias.name == "import_module" and alias.asname
    }
    return _IMPORTERS | renamed


def _names(node: ast.AST, package: str, importers: frozenset[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute("." * node.level + (node.module or ""), package)
        if base is not None:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function, given = node.func, node.args[0].value
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in importers and isinstance(given, str):
            yield _absolute(given, package) or ""


def _absolute(name: str, package: str) -> str | None:
    """The full name of a module that is named with leading dots, None beyond the top package."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    return ".".join([*parts[: len(parts) - level + 1], *([name.lstrip(".")] if name.lstrip(".") else [])])
