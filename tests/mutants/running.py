"""Runs of pytest in copies of the tree, each in a process forked from one that has imported torch already.

The working tree is never written to. A fork saves the seconds that importing the libraries takes, so a mutant costs
what its tests cost.
"""

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = (
    "coverage", "torch", "torchvision", "numpy", "scipy.stats", "sklearn.covariance", "sklearn.linear_model",
    "sklearn.metrics", "pandas", "pyarrow.parquet", "pydantic", "yaml", "rich.console", "rich.table", "typer",
    "safetensors.torch", "hypothesis", "pytest", "jinja2", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "PIL.Image", "foolbox", "hypothesis.strategies", "typer.testing",
)  # fmt: skip
PASSED, FAILED, TIMEOUT, NO_TESTS = "survived", "killed", "timeout", "untested"


def preload() -> None:
    """Import what the tests import, except the code under test."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert not any(name == "bench" or name.startswith("bench.") for name in sys.modules), "bench must not be loaded"


@contextlib.contextmanager
def copied(root: Path, folder: Path) -> Iterator[Path]:
    """A copy of what git knows or would add, with its bytecode; pyc files are checked by content, not by time."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (root / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "bench", "tests"],
        cwd=folder,
        check=False,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_tests(folder: Path, arguments: list[str], log: Path, timeout: float, record: Path | None = None) -> str:
    """Run pytest in a copy: `survived` where all passed, `killed`, or `timeout`; the output goes to `log`."""
    child = os.fork()
    if child == 0:
        _child(folder, arguments, log, record)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)  # what a test may have left running
            return PASSED if os.waitstatus_to_exitcode(status) == 0 else FAILED
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return TIMEOUT


def _end_group(child: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def _child(folder: Path, arguments: list[str], log: Path, record: Path | None) -> None:
    """The forked process: its own group, the copy first on the path, and pytest."""
    code = 3
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path[:] = [str(folder), *(entry for entry in sys.path if entry and not (Path(entry) / "bench").is_dir())]
        sys.path_importer_cache.clear()
        import pytest

        plugins = []
        if record is not None:
            from .recording import OUTPUT, Recorder

            os.environ[OUTPUT] = str(record)
            plugins.append(Recorder(folder))
        code = int(pytest.main(["-q", "-p", "no:cacheprovider", "--no-header", *arguments], plugins=plugins))
        sys.stdout.flush()
    finally:
        os._exit(code)
