"""The workflow that guards a detector of one's own: every `bench` command in it, run in a copy of its repository."""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bench.cli.app import app

EXAMPLE = Path(__file__).parent.parent / "examples" / "ci"


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """One copy for all tests: what one has computed the next finds in its store."""
    folder = tmp_path_factory.mktemp("ci") / "repository"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("runs", "check.*"))
    return folder


@pytest.fixture
def repository(copied, monkeypatch):
    monkeypatch.chdir(copied)
    return copied


def steps():
    workflow = yaml.safe_load((EXAMPLE / ".github/workflows/robustness.yml").read_text())
    return workflow["jobs"]["check"]["steps"]


def commands():
    return [step["run"] for step in steps() if step.get("run", "").startswith("bench ")]


def test_every_bench_command_of_the_workflow_succeeds_where_nothing_changed(repository):
    assert [command.split()[1] for command in commands()] == ["validate", "check"]
    for command in commands():
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
    for kept in ("check.xml", "check.md"):
        assert (repository / kept).is_file()
        assert any(kept in str(step) for step in steps() if step.get("if") == "always()")


def test_the_check_fails_where_the_detector_was_made_worse(repository):
    card = repository / "detectors/pixel-gaussian.yaml"
    good = card.read_text()
    card.write_text(good.replace("fit_when_loaded: true\n", ""))  # it keeps what it starts with
    done = CliRunner().invoke(app, shlex.split(commands()[-1])[1:])
    card.write_text(good)
    assert done.exit_code == 1, done.output
    assert "| worse |" in (repository / "check.md").read_text(encoding="utf-8")


def test_the_commands_of_its_readme_are_those_of_the_command_line(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ bench ")]
    assert [line.split()[1] for line in lines] == ["run", "baseline", "check"]
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
