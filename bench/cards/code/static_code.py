"""What a card's `package.module:attribute` names, read from source text: nothing is imported and nothing runs.

A card of a stranger may name any module that is installed. Importing a module runs it, so `methods` asks here first:
Python's own library holds no detector, threat or network, a program's `__main__` is none, and an installed module whose
source imports nothing of `bench` can hold no class of it.
"""

import ast
import difflib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import CardError

MAX_SOURCE_BYTES = 4_000_000
_MAX_STEPS = 8
"""Re-exports and base classes that are followed from module to module."""


@dataclass(frozen=True)
class Named:
    """Where a name leads to.

    Attributes:
        kind: `class`, `function`, or `value` where only running the module would tell.
        file: The source file it is in; None where there is none to read.
        knows_bench: Whether that file, or one on the way to it or to its base classes, imports `bench`.
    """

    kind: str
    file: Path | None
    knows_bench: bool


def find_module(name: str, workspace: Path | None = None) -> Path | None:
    """The source file of a module, found on the path without importing it or its parents; None where there is none."""
    top, *inner = name.split(".")
    folders = [Path(entry) for entry in sys.path]
    found = _module_in(top, [*folders, workspace] if workspace is not None else folders)
    if found is None:
        spec = importlib.util.find_spec(top)  # of what an installer put elsewhere; a name without dots imports nothing
        if spec is None or spec.origin is None:
            return None
        found = Path(spec.origin)
    for part in inner:
        folder = found if found.is_dir() else found.parent if found.name == "__init__.py" else None
        found = _module_in(part, [folder]) if folder is not None else None
        if found is None:
            return None
    return found if found.suffix == ".py" else None


def _module_in(name: str, folders: list[Path]) -> Path | None:
    """The file of a module or package, or the folder of a package without one, in the order of imports."""
    for folder in folders:
        for candidate in (folder / name / "__init__.py", folder / f"{name}.py"):
            if candidate.is_file():
                return candidate
    return next((folder / name for folder in folders if (folder / name).is_dir()), None)


def refuse_foreign(module: str, path: str) -> None:
    """Refuse what can hold nothing that a card may name.

    Raises:
        CardError: The module belongs to Python's own library, or is a program's start.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise CardError(
            f"method '{path}': '{top}' belongs to Python's own library, which holds nothing that a card may name; "
            "name a class of bench, of the workspace or of an installed plug-in."
        )
    if "__main__" in module.split("."):
        raise CardError(f"method '{path}': '__main__' is the start of a program; name a module that holds a class.")


def look_up(module: str, attribute: str, workspace: Path | None = None) -> Named:
    """What `module:attribute` is, as far as its source says.

    Raises:
        CardError: There is no such module, its source cannot be read, or it defines no such name.
    """
    path = f"{module}:{attribute}"
    file = find_module(module, workspace)
    if file is None:
        where = f"installed or below {workspace}" if workspace is not None else "installed"
        raise CardError(
            f"method '{path}': there is no module '{module}' with a source file; allowed is what is {where}; "
            "check the spelling, or name the workspace with --workspace."
        )
    tree = _tree(file, path)
    if attribute not in (names := dict(_definitions(tree))) and not _imports_stars(tree):
        near = difflib.get_close_matches(attribute, [name for name in names if not name.startswith("_")], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "give the name of a class or function in it."
        raise CardError(f"method '{path}': module '{module}' has no '{attribute}'; {hint}")
    return _follow(module, attribute, workspace, _MAX_STEPS)


def lies_below(file: Path | None, folder: Path | None) -> bool:
    """Whether a file lies in a folder, links resolved."""
    return file is not None and folder is not None and file.resolve().is_relative_to(folder.resolve())


def _follow(module: str, attribute: str, workspace: Path | None, steps: int) -> Named:
    file = find_module(module, workspace)
    if file is None or steps == 0:
        return Named("value", None, module.partition(".")[0] == "bench")
    try:
        tree = _tree(file, f"{module}:{attribute}")
    except CardError:
        return Named("value", file, False)
    knows = module.partition(".")[0] == "bench" or _imports_bench(tree)
    node = dict(_definitions(tree)).get(attribute)
    if isinstance(node, ast.ImportFrom):
        origin = _absolute(node, module, file)
        original = next((each.name for each in node.names if (each.asname or each.name) == attribute), attribute)
        there = _follow(origin, original, workspace, steps - 1) if origin else Named("value", None, False)
        return Named(there.kind, there.file, knows or there.knows_bench)
    if isinstance(node, ast.ClassDef):
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        knows = knows or any(_follow(module, base, workspace, steps - 1).knows_bench for base in bases)
        return Named("class", file, knows)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return Named("function", file, knows)
    return Named("value", file, knows)


def _tree(file: Path, path: str) -> ast.Module:
    try:
        if file.stat().st_size > MAX_SOURCE_BYTES:
            raise CardError(f"method '{path}': {file} is larger than {MAX_SOURCE_BYTES:,} bytes; split it.")
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise CardError(
            f"method '{path}': importing '{path.partition(':')[0]}' failed in {file}:{line} with "
            f"{type(error).__name__}: {str(error)[:200]}; correct that module."
        ) from error
    except OSError as error:
        raise CardError(f"method '{path}': {file} cannot be read ({error.strerror}); check its permissions.") from error


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Names that a module binds at its top level, also below `if` and `try`."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, node
        else:
            todo += [child for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node]


def _imports_stars(tree: ast.Module) -> bool:
    """Whether names may come that only running the module shows."""
    stars = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    return stars or any(name == "__getattr__" for name, _ in _definitions(tree))


def _imports_bench(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if any(name == "bench" or name.startswith("bench.") for name in names):
            return True
    return False


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    """The module that a `from … import` names, relative ones made absolute."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])
