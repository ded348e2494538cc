"""A page's commands and code, one after the other in one folder, as a reader would do them."""

import contextlib
import io
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from doc_pages import Command, Fence
from doc_workspace import LIMIT, SMALLER, add_cards, make_folder
from typer.testing import CliRunner

import bench
import bench.training.job
from bench.cli.app import app
from bench.training.base import Recipe

TRAINING_STEPS = 2


class Unexplained(AssertionError):
    """A command, or a block of code, of which nothing says how it is run."""


class NeedsWeights(Exception):
    """A command about published weights that do not ship, where they are not."""


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int = 0
    stdout: str = ""
    stderr: str = ""


@dataclass
class Session:
    """The shell that a page's commands are typed into.

    Attributes:
        page: The page.
        root: The folder that belongs to this page.
        data_dir: Made-up data.
        cwd: The current folder.
        names: What the page's Python has defined so far.
        submitted: The last `bench submit`, from which a row is made when a later command needs one.
    """

    page: str
    root: Path
    data_dir: Path
    cwd: Path = field(init=False)
    names: dict[str, Any] = field(default_factory=dict)
    submitted: list[str] | None = None

    def __post_init__(self) -> None:
        self.cwd = make_folder(self.root, self.page)

    def bench(self, arguments: list[str]) -> Ran:
        """Run `bench` in this process, which has torch already."""
        add_cards(self.cwd, self.data_dir)
        with self._inside():
            result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def script(self, file: str, arguments: list[str]) -> Ran:
        """Run a Python file in this process, as `python FILE` does."""
        said = io.StringIO()
        code: int | str | None = 0
        with self._inside(), pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            patch.setattr(sys, "argv", [file, *arguments])
            try:
                runpy.run_path(file, run_name="__main__")
            except SystemExit as end:
                code = end.code
        return Ran(code if isinstance(code, int) else int(code is not None), said.getvalue())

    def program(self, words: list[str]) -> Ran:
        """Run a program."""
        done = subprocess.run(words, cwd=self.cwd, capture_output=True, text=True, check=False, timeout=120)
        return Ran(done.returncode, done.stdout, done.stderr)

    def python(self, fence: Fence) -> None:
        """Execute a block of Python; it sees what earlier ones of the page have defined."""
        add_cards(self.cwd, self.data_dir)
        code = compile(fence.text, fence.place, "exec")
        with self._inside():
            exec(code, self.names)

    def write(self, path: str, text: str) -> Path:
        """Put a file that the page shows where the page says that it is."""
        target = (self.cwd / path).resolve()
        if not target.is_relative_to(self.root.resolve()):
            raise ValueError(f"{path} would leave the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """The current folder, where training and `bench.evaluate` are cut short."""
        with contextlib.chdir(self.cwd), pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench.training.job, "build_recipe", _short(bench.training.job.build_recipe))
            patch.setattr(bench, "evaluate", _smaller(bench.evaluate))
            yield


@contextlib.contextmanager
def hermetic(session: Session) -> Iterator[None]:
    """No network, no data, weights or caches of the user, and no modules of another page's folder."""
    root = session.root
    stems = {path.stem for path in (root / "examples").rglob("*.py")}
    aside = {name: sys.modules.pop(name) for name in stems & set(sys.modules)}
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTOOD_DATA", str(session.data_dir))
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.delenv("COLUMNS", raising=False)
        patch.setattr("socket.socket.connect", _no_network)
        patch.setattr(sys, "path", list(sys.path))
        yield
    torch.set_num_threads(threads)
    for name, module in list(sys.modules.items()):
        if _lies_below(module, root):
            del sys.modules[name]
    sys.modules.update(aside)


def _lies_below(module: ModuleType, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(root)


_CONNECT = socket.socket.connect


def _no_network(given: socket.socket, *to: Any) -> None:
    if given.family == getattr(socket, "AF_UNIX", None):  # to processes of this machine
        _CONNECT(given, *to)
        return
    raise OSError("a command of the documentation asked for the network")


def _short(build: Any) -> Any:
    """`build_recipe` whose recipes take no more than `TRAINING_STEPS` steps."""

    def built(*args: Any, **kwargs: Any) -> Recipe:
        recipe = build(*args, **kwargs)
        steps = min(TRAINING_STEPS, recipe.total_steps)
        recipe.__class__ = type("Short", (type(recipe),), {"total_steps": property(lambda _: steps)})
        return recipe

    return built


def _smaller(evaluate: Any) -> Any:
    """`bench.evaluate` with no more images and steps than the command line is given here."""

    def evaluated(*args: Any, **kwargs: Any) -> Any:
        most = {"limit": LIMIT, **SMALLER}
        given = {name: min(value, most[name]) if name in most else value for name, value in kwargs.items()}
        return evaluate(*args, **{"limit": LIMIT, **given})

    return evaluated


def describe(command: Command, ran: Ran) -> str:
    """What a person needs in order to mend a page or a command."""
    return (
        f"{command.place}: `{' '.join(command.words)}` ended with {ran.code}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    )
