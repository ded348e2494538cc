"""What the README tells a stranger to do with a detector of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "own-detector"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "own-detector"
    shutil.copytree(EXAMPLE, folder)
    return folder


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_a_detector_of_ones_own_is_trained_and_attacked_from_its_own_folder(workspace):
    trained = bench("train", "--detector", "nearest-mean", "--track", "digits", cwd=workspace)
    assert trained.returncode == 0, trained.stderr
    assert (workspace / "detectors" / "weights" / "nearest-mean-digits.safetensors").is_file()
    options = ("--limit", "20", "--steps", "3", "--restarts", "1")
    run = bench("run", "--detector", "nearest-mean", "--threat", "pgd-l2", "--eps", "1", *options, cwd=workspace)
    assert run.returncode == 0, run.stderr
    assert "nearest-mean" in run.stdout


def test_its_module_is_as_short_as_promised():
    lines = (EXAMPLE / "nearest_mean.py").read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith('"""')]) <= 20
