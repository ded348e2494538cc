"""The tree of errors as it is drawn is that of the classes, and the exit codes are those that commands end with."""

import ast
import importlib
from pathlib import Path

import pytest

from bench import errors
from bench.cli.common import explain
from bench.errors import BenchError

ROOT = Path(errors.__file__).parent


def defining_modules():
    """The modules of bench that define an error."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ClassDef) and node.name.endswith("Error") for node in ast.walk(tree)):
            yield ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)


@pytest.fixture(scope="module")
def children():
    """Each error with those that are made from it, by name."""
    for name in defining_modules():
        importlib.import_module(name)

    def below(error):
        own = [child for child in error.__subclasses__() if child.__module__.startswith("bench.")]
        return {error: sorted(own, key=lambda child: child.__name__)} | {k: v for c in own for k, v in below(c).items()}

    return below(BenchError)


def drawn(children, error=BenchError, before="", last=True, top=True):
    """Lines of name, exit code, and the module where it is another one than `bench.errors`."""
    branch = "" if top else "└── " if last else "├── "
    where = "" if error.__module__ == "bench.errors" else error.__module__
    code = explain(error("said"))[1]
    yield f"{before + branch + error.__name__:<32}{code}  {where}".rstrip()
    inner = before + ("" if top else "    " if last else "│   ")
    for child in children[error]:
        yield from drawn(children, child, inner, child is children[error][-1], top=False)


def test_the_tree_in_the_module_is_that_of_the_classes(children):
    tree = "\n".join(drawn(children))
    assert tree in errors.__doc__, tree


def test_the_tree_in_the_docs_is_the_same(children):
    page = (ROOT.parent / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert "\n".join(drawn(children)) in page


def test_every_error_that_a_user_meets_says_in_its_docstring_what_it_is(children):
    assert [error.__name__ for error in children if not error.__dict__.get("__doc__")] == []
