"""One workspace with finished rows for all tests of this folder, and copies of it for those that change something."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from row_world import make_world, rows, run_suite, submit

from bench.cards.catalog import Catalog


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the cells and the row of `bent`; tests must not change it."""
    root = make_world(tmp_path_factory.mktemp("finished"))
    assert run_suite(root).exit_code == 0
    result = submit(root)
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished workspace, its cells included."""
    return Path(shutil.copytree(finished, tmp_path / "world"))


@pytest.fixture
def row_path(world: Path) -> Path:
    """The row of the copy."""
    (path,) = rows(world)
    return path


@pytest.fixture
def fresh_world(tmp_path: Path) -> Callable[[], Path]:
    """Makes workspaces without cells."""
    return lambda: make_world(tmp_path / "fresh")


@pytest.fixture(scope="session")
def cards(finished: Path) -> Catalog:
    return Catalog(finished)
