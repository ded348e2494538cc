"""Imports run one way through the rooms of the package, in the order of CONTRIBUTING's table, also inside functions."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bench
from bench.cards.code.imports import imported_names

PACKAGE = Path(bench.__file__).parent
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"
GROUND = "ground"
"""The single modules in the package itself: every room stands on them."""

UPWARD = {
    ("bench", "report"): "the front door: `bench.evaluate` and `bench.load_results` are imported when asked for",
    ("bench", "datasets"): "the same of `bench.make_track`",
    ("bench", "evaluation"): "the same of `bench.load_detector`",
    ("bench", "metrics"): "the same of `bench.metrics`",
    ("bench", "testing"): "the same of `bench.testing`",
    ("bench.__main__", "cli"): "the front door of `python -m bench`",
    ("bench.cards.detector_names", "detectors"): "the methods of wrapped detectors, named as a card file names them",
    ("bench.cards.threat_names", "threat_models"): "libraries that may be absent, imported when one is named",
}
"""(module, room) -> why it may name a room above its own; everything else points down."""


def rooms_of_the_table() -> list[str]:
    table = CONTRIBUTING.read_text().split("Imports run one way")[1].split("\n\n")[1]
    return re.findall(r"^\| `bench/(\w+)/` \|", table, re.M)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "_content" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else GROUND


def named(module: str, source: bytes) -> Iterator[str]:
    """Modules of bench that a module imports, wherever in it, or names in a text that is nothing but a path."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    texts = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    paths = {
        text.partition(":")[0]
        for text in texts
        if isinstance(text, str) and re.fullmatch(r"bench(\.\w+)+(:\w+)?", text)
    }
    for name in sorted(imported_names(source, package) | paths):
        if name.partition(".")[0] == "bench":
            yield known(name)


def known(name: str) -> str:
    """A module itself, or the one whose attribute it is."""
    return name if name in MODULES or "." not in name else known(name.rpartition(".")[0])


def arrows_up(module: str, source: bytes) -> set[tuple[str, str]]:
    order = [*rooms_of_the_table(), GROUND]
    own = order.index(room_of(module))
    return {(module, room_of(name)) for name in named(module, source) if order.index(room_of(name)) < own}


def test_the_table_has_every_room_once():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(rooms_of_the_table()) == sorted(folders)


def test_no_module_names_a_room_above_its_own():
    found = {arrow for module, path in MODULES.items() for arrow in arrows_up(module, path.read_bytes())}
    assert found - set(UPWARD) == set()
    assert set(UPWARD) - found == set(), "reasons for what no longer is"


@pytest.mark.parametrize(
    "source",
    [
        "from bench.detectors.base import Detector",
        "def late():\n    from bench.detectors import base",
        "if TYPE_CHECKING:\n    import bench.detectors.base as b",
        "from ..detectors import base",
        "import importlib\nimportlib.import_module('bench.detectors.base')",
        "from bench import detectors",
        "METHOD = 'bench.detectors.energy:Energy'",
    ],
)
def test_an_arrow_up_is_found_however_it_is_written(source):
    assert arrows_up("bench.cards.track", source.encode()) == {("bench.cards.track", "detectors")}


@pytest.mark.parametrize("source", ["from bench.errors import BenchError", "from .base import Card", "import bench"])
def test_an_arrow_down_or_within_a_room_is_none(source):
    assert arrows_up("bench.cards.track", source.encode()) == set()


def test_no_modules_import_each_other_in_a_circle():
    graph = {}
    for module, path in MODULES.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        names = {name for name in imported_names(path.read_bytes(), package) if name in MODULES}
        above = {name for name in names if module == name or module.startswith(f"{name}.")}
        graph[module] = set() if module == "bench" else names - above  # what a package imports late is no circle of it
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
