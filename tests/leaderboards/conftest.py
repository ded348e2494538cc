"""One workspace with finished rows for all tests of this folder, and copies of it for those that change something."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from row_world import allow, line_for, make_world, new_key, rows, run_suite, submit, verify

from bench.cards.catalog import Catalog
from bench.report.html.drawing import Drawing

EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the cells and the row of `bent`; tests must not change it."""
    root = make_world(tmp_path_factory.mktemp("finished"))
    assert run_suite(root).exit_code == 0
    result = submit(root)
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private key of somebody who may verify in the finished and the verified workspace."""
    return new_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def attested(finished: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished workspace, whose row was attacked again and signed for; tests must not change it."""
    root = Path(shutil.copytree(finished, tmp_path_factory.mktemp("attested") / "world"))
    allow(root, line_for(key))
    result = verify(root, rows(root)[0], "re-attacked", "--sign", key, "--seeds", "1,2,3", "-q")
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def honest(attested: Path, tmp_path: Path) -> Path:
    """A copy of the verified workspace, without its cells."""
    return Path(shutil.copytree(attested, tmp_path / "honest", ignore=shutil.ignore_patterns("runs")))


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


@pytest.fixture(scope="module")
def undrawn():
    """Figures without their marks, for tests that are not about figures: to draw them takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drawing, "svg", lambda self, *, wide=False: EMPTY)
        yield
