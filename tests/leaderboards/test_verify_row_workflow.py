"""The workflow that attacks the rows of a pull request again: its steps, run in a repository with a tiny track."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from row_tampering import reseal, with_scores
from row_world import allow, line_for, new_key, public_half, records, rows
from safetensors.numpy import load
from test_row_tampering import with_figures

from bench.leaderboards.row import SCORES_SUFFIX, read_row

WORKFLOW = Path(__file__).parents[2] / ".github/workflows/verify-row.yml"
CONTENT = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
STEPS = CONTENT["jobs"]["verify"]["steps"]


def git(repository, *arguments):
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *own, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.fixture
def repository(attested, tmp_path):
    """A repository whose base has a verified row, at a branch that will be merged as a pull request."""
    root = tmp_path / "checkout"
    shutil.copytree(attested, root, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "base")
    git(root, "switch", "-q", "-c", "pull")
    return root


def run_steps(repository, tmp_path, without=()):
    """Merge the branch and run the steps; the exit code of the last one."""
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--allow-empty", "-m", "pull")
    git(repository, "switch", "-q", "main")
    git(repository, "merge", "-q", "--no-ff", "-m", "merged", "pull")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"bench": f'exec {sys.executable} -m bench "$@"', "pip": 'test -d "${@: -1}"'}.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    summary = tmp_path / "summary.md"
    env = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_WORKSPACE": str(repository),
        "WORK": str(tmp_path / "verified"),
        "PYTHONPATH": str(WORKFLOW.parents[2]),
        "ROBUSTOOD_WORKERS": "1",
    }
    codes = {}
    for step in STEPS:
        if "run" in step and step["name"] not in without:
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True, check=False)
            codes[step["name"]] = done.returncode
            if done.returncode and not step["name"].startswith("Fail"):
                raise AssertionError(done.stdout + done.stderr)
    return codes["Fail where a claim did not stand up to it"]


def forged(path):
    """The row with scores of an attack that did nothing."""
    row = read_row(path)
    arrays = load(path.with_name(row.scores.file).read_bytes())
    clean = arrays["clean"][row.scores.sets["test"] :]
    idle = {name: clean if name.startswith(("worst", "member")) else array for name, array in arrays.items()}
    changed, scores = with_scores(row.model_copy(update={"images": None}), {k: np.asarray(v) for k, v in idle.items()})
    return reseal(path, with_figures(changed, idle), {SCORES_SUFFIX: scores})


def test_a_forged_row_is_refuted_beside_its_claim_and_what_else_is_changed_counts_for_nothing(repository, tmp_path):
    (path,) = rows(repository)
    (record,) = records(path)
    forged(path)
    record.unlink()
    thief = new_key(tmp_path, "thief")
    allow(repository, line_for(thief))
    (repository / "threat_models/climb-l2.yaml").write_text("{}")  # a weaker one would be as bad
    (repository / "notes $(touch x)`x`.md").write_text("mine")
    (path.parent / "bent@000000000000.json").write_text("<script>")
    (repository / "detectors/mine.py").write_text("")
    with (repository / "detectors/shaken.yaml").open("a") as card:
        card.write("\n")
    assert run_steps(repository, tmp_path) == 1
    said = (tmp_path / "summary.md").read_text()
    assert (repository / "comparison.md").read_text() == said
    assert "It could not be verified (exit code 2)" in said and "    error: row " in said and "\n<script>" not in said
    assert f"### leaderboards/small/{path.name}" in said and "refuted" in said
    assert "| figure | claimed | verifier's |" in said
    before, _, after = said.partition("## The board after")
    assert "| 1 | bent | re-attacked |" in before.partition("## The board before")[2]
    assert "| bent | not verified |" in after and "| 1 | bent |" not in after
    assert "it changes who may verify" in said and "it changes threat_models/climb-l2.yaml (not used here)" in said
    assert f"removes a record of verification: leaderboards/small/{record.name}" in said
    assert "it brings code, which has run here: detectors/mine.py" in said
    assert "it changes or removes what other rows may stand on: detectors/shaken.yaml" in said
    assert not (repository / "x").exists()
    assert public_half(thief) not in (tmp_path / "verified/leaderboards/allowed_signers").read_text()


def test_a_new_row_whose_claim_stands_up_to_it_passes(repository, tmp_path):
    (path,) = rows(repository)
    files = {own: own.read_bytes() for own in path.parent.iterdir()}
    for own in files:
        own.unlink()
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "without rows")
    git(repository, "branch", "-f", "main", "pull")
    for own, content in files.items():
        if ".verified-" not in own.name:
            own.write_bytes(content)
    code = run_steps(repository, tmp_path, without=("Show the board as it is",))
    assert code == 0
    before = (tmp_path / "summary.md").read_text().partition("## The board before")[2]
    assert before.startswith("\n\nIt could not be shown.\n\n## The board after")  # and the rest is told all the same
    assert "\\[re-attacked\\] bent on small" in (tmp_path / "verified.rows.md").read_text()


def test_the_workflow_gives_strangers_no_secret_and_no_right_to_write():
    text = WORKFLOW.read_text()
    assert CONTENT["permissions"] == {"contents": "read"} and "permissions" not in CONTENT["jobs"]["verify"]
    assert set(CONTENT[True]) == {"pull_request"}  # YAML reads `on` as true
    assert "secrets." not in text and "--sign" not in text.partition("name: verify-row")[2]
    for step in STEPS:
        assert "${{" not in step.get("run", "")  # nothing of an event becomes part of a program
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step.get("uses", f"actions/x@{'0' * 40}"))
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
