"""The threat and the track that the documentation makes."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cards.code.methods import importable
from bench.cards.threat import Norm
from bench.cli.app import app
from bench.testing import check_threat

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def workspace(request, tmp_path, monkeypatch):
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder, ignore=shutil.ignore_patterns("runs", "data", "__pycache__"))
    monkeypatch.chdir(folder)
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, ["run", *arguments, "--quiet"])
    assert done.exit_code == 0, done.output
    cells = [json.loads(file.read_text()) for file in Path("runs").glob("cells/*/*/cell.json")]
    return {(cell["threat"], cell["eps"]): cell["mean"]["auroc"] for cell in cells}


@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, 0.1), (Norm.L2, 1.0)])
def test_the_threat_keeps_the_contract(norm, eps):
    with importable(EXAMPLES / "own-threat"):
        from brightness import Brightness

    check_threat(Brightness(), norm=norm, eps=eps)


@pytest.mark.parametrize("workspace", ["own-threat"], indirect=True)
def test_the_threat_runs_by_its_card_and_lowers_the_auroc(workspace):
    checked = CliRunner().invoke(app, ["validate", "threat_models/brightness-linf.yaml"])
    assert checked.exit_code == 0, checked.output
    found = run("--detector", "msp", "--threat", "brightness-linf", "--limit", "40")
    assert set(found) == {("clean", None), ("brightness-linf", 0.03), ("brightness-linf", 0.1)}
    assert found["brightness-linf", 0.1] < found["brightness-linf", 0.03] < found["clean", None]


@pytest.mark.parametrize("workspace", ["own-track"], indirect=True)
def test_the_track_is_made_checked_and_run(workspace):
    runpy.run_path("make_images.py", run_name="__main__")
    checked = CliRunner().invoke(app, ["data", "check", "--track", "shapes", "--data-dir", "data"])
    assert checked.exit_code == 0, checked.output
    attack = ("--threat", "pgd-l2", "--eps", "2", "--steps", "5", "--restarts", "1", "--limit", "40")
    found = run("--track", "shapes", "--detector", "callable:centre:score", "--data-dir", "data", *attack)
    assert found["clean", None] > 0.99 > found["pgd-l2", 2.0]
