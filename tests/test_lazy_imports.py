"""Imports stand at the top of a module; those that would slow every start are imported at their first use."""

import ast
import builtins
import importlib
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import bench
from bench.lazy import lazily

PACKAGE = Path(bench.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "_content" not in path.parts]

SLOW = """
import time
TIMES.append(1)
time.sleep(0.05)
answer = 42
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `some_package` that notes how often its module `slow` was run."""
    times = []
    folder = tmp_path / "some_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "slow.py").write_text(SLOW)
    (folder / "broken.py").write_text("import there_is_no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "TIMES", times, raising=False)
    importlib.invalidate_caches()
    yield times
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_package"]:
        del sys.modules[name]


def importer(block):
    """The globals of a module with this block of imports."""
    found = {"__name__": "importer", "lazily": lazily}
    exec("with lazily():\n    " + block, found)
    return found


def test_a_module_is_imported_when_something_is_asked_of_it_and_then_stands_under_its_name(package):
    found = importer("from some_package import slow as renamed")
    assert not package
    assert "some_package" not in sys.modules
    assert found["renamed"].answer == 42
    assert package == [1]
    assert isinstance(found["renamed"], ModuleType)
    assert found["renamed"] is sys.modules["some_package.slow"]


def test_two_modules_may_name_the_same_one_and_neither_imports_it(package):
    first, second = importer("from some_package import slow"), importer("from some_package import slow")
    assert not package
    assert first["slow"].answer == second["slow"].answer == 42
    assert package == [1]


def test_threads_that_use_it_first_at_the_same_time_all_get_the_whole_module(package):
    slow = importer("from some_package import slow")["slow"]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: slow.answer, range(8))) == [42] * 8
    assert package == [1]


def test_what_an_import_raises_is_raised_at_the_first_use_and_at_the_next(package):
    found = importer("from some_package import broken\n    import there_is_no_such_library")
    for name in ("broken", "there_is_no_such_library", "broken"):
        with pytest.raises(ModuleNotFoundError, match="No module named 'there_is_no_such_library'"):
            _ = found[name].anything


def test_replacing_an_attribute_replaces_that_of_the_module(package, monkeypatch):
    slow = importer("from some_package import slow")["slow"]
    with monkeypatch.context() as patched:
        patched.setattr(slow, "answer", 43)
        assert sys.modules["some_package.slow"].answer == 43
    assert sys.modules["some_package.slow"].answer == 42


def test_another_module_imports_as_ever_meanwhile(package):
    before = builtins.__import__
    with lazily():
        assert builtins.__import__ is not before
        other = {"__name__": "other"}
        exec("from some_package import slow", other)
    assert builtins.__import__ is before
    assert isinstance(other["slow"], ModuleType)


def test_a_block_that_fails_leaves_imports_as_they_were():
    before = builtins.__import__
    with pytest.raises(ImportError, match=r"'import os\.path'; write 'from package import module'"):
        importer("import os.path")
    assert builtins.__import__ is before


def test_it_is_pickled_as_the_module_that_it_stands_for(package):
    assert pickle.loads(pickle.dumps(importer("from some_package import slow")["slow"])).answer == 42


def blocks(tree):
    """The imports of each `with lazily()` of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr) == "lazily()":
            yield node


def bound_lazily(tree):
    """Each name that is bound lazily, and the dotted name that it stands for."""
    for node in (each for block in blocks(tree) for each in block.body):
        for alias in node.names:
            full = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            yield alias.asname or alias.name, full


LAZY = {path: found for path in FILES if (found := dict(bound_lazily(ast.parse(path.read_bytes()))))}


def test_a_name_that_is_imported_lazily_is_that_of_a_module():
    wrong = [
        f"{path.relative_to(PACKAGE)}: {full}"
        for path, found in LAZY.items()
        for full in found.values()
        if not is_module(full)
    ]
    assert LAZY
    assert wrong == []


def is_module(full):
    """Whether the package's attribute of this name is the module, and nothing that the package binds over it."""
    package, _, name = full.rpartition(".")
    if find_spec(full.partition(".")[0]) is None:
        return True  # an extra that is not installed
    if not package:
        return True
    return find_spec(full) is not None and isinstance(getattr(importlib.import_module(package), name, sys), ModuleType)


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        ("bench.evaluation.engine", True),
        ("bench.metrics", True),
        ("bench.metrics.auroc", False),
        ("bench.cli.nothing", False),
    ],
)
def test_functions_and_what_is_not_there_are_no_modules(full, expected):
    assert is_module(full) is expected


def test_a_lazy_block_stands_at_the_top_and_holds_only_imports():
    for path in FILES:
        tree = ast.parse(path.read_bytes())
        for block in blocks(tree):
            assert block in tree.body, path
            assert all(isinstance(each, ast.Import | ast.ImportFrom) for each in block.body), path


def used_at_once(tree, names):
    """Names of these that a module uses while it is imported, which would import what they stand for."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and node.id in names:
            yield node.id
        if isinstance(node, ast.Lambda | ast.If):
            continue  # an `if TYPE_CHECKING`, or later
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            notes = [each.annotation for each in arguments if each.annotation] + (
                [node.returns] if node.returns else []
            )
            defaults = [each for each in node.args.kw_defaults if each is not None]
            todo += [*node.decorator_list, *node.args.defaults, *defaults, *notes]
        else:
            todo += ast.iter_child_nodes(node)


def test_no_module_uses_a_lazy_name_while_it_is_imported_itself():
    found = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, names in LAZY.items()
        for name in used_at_once(ast.parse(path.read_bytes()), names)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    ["x = a.b", "def f(x: a.b): pass", "def f(x=a.b): pass", "class C:\n    y = a.b", "@a.b\ndef f(): pass"],
)
def test_a_use_at_once_is_found_wherever_it_stands(source):
    assert list(used_at_once(ast.parse(source), {"a"})) == ["a"]
    assert list(used_at_once(ast.parse("def f():\n    return a.b"), {"a"})) == []


def test_an_import_inside_a_function_says_why():
    """That there is no other is held by ruff (PLC0415)."""
    for path in FILES:
        lines = path.read_text().splitlines()
        excused = [number for number, line in enumerate(lines) if "noqa: PLC0415" in line]
        for number in excused:
            reason = lines[number].partition("PLC0415")[2].strip(" #")
            assert reason or number - 1 in excused, f"{path}:{number + 1}"
