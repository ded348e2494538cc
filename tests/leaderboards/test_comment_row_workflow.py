"""The workflow that makes a comparison a comment: its steps, run with a stand-in for GitHub's program."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

WORKFLOW = Path(__file__).parents[2] / ".github/workflows/comment-row.yml"
CONTENT = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
JOB = CONTENT["jobs"]["comment"]
SHA = "c" * 40

GH = """
import json, os, subprocess, sys
from pathlib import Path

world, asked = json.loads(Path("world.json").read_text()), sys.argv[1:]
with open("asked", "a") as log:
    print(json.dumps(asked), file=log)
if asked[:2] == ["run", "download"]:
    if world["text"] is None:
        sys.exit(1)
    path = Path(asked[asked.index("--dir") + 1]) / "comparison.md"
    if world["text"].startswith("link to "):
        path.symlink_to(world["text"].removeprefix("link to "))
    else:
        path.write_bytes(world["text"].encode())
elif "--method" in asked and asked[asked.index("--method") + 1] in ("POST", "PATCH"):
    place = next(word for word in asked if word.startswith("repos/"))
    body = json.loads(sys.stdin.read())["body"]
    Path("sent").write_text(json.dumps([asked[asked.index("--method") + 1], place, body]))
else:
    place = next(word for word in asked if word.startswith("repos/")).partition("?")[0].split("/")[-1]
    answer = json.dumps(world[place])
    sys.exit(subprocess.run(["jq", "-r", asked[asked.index("--jq") + 1]], input=answer, text=True).returncode)
"""

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq, which GitHub's machines have, is not here")


def files(*names):
    return [{"filename": name} for name in names]


WORLD = {
    "pulls": [
        {"number": 7, "head": {"sha": SHA}},
        {"number": 8, "head": {"sha": "d" * 40}},
    ],
    "files": files(
        "leaderboards/small/bent@0123456789ab.json", "detectors/bent.yaml", "detectors/weights/b.safetensors"
    ),
    "comments": [],
    "text": "## Rows\n\n| figure | claimed |\n|---|---|\n| x | 0.9 |\n",
}


def sent(tmp_path, **world):
    """What the steps sent: method, place and text of the comment; None where they sent nothing."""
    (tmp_path / "world.json").write_text(json.dumps({**WORLD, **world}))
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gh.py").write_text(GH)
    (programs / "gh").write_text(f'#!/bin/bash\nexec {sys.executable} {programs / "gh.py"} "$@"\n')
    (programs / "gh").chmod(0o755)
    env = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "REPOSITORY": "owner/bench", "RUN": "42",
        "ENDED": "failure", "HEAD_SHA": SHA, "HEAD_OWNER": "someone", "HEAD_BRANCH": "rows", "GH_TOKEN": "none",
    }  # fmt: skip
    for step in JOB["steps"]:
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    path = tmp_path / "sent"
    return json.loads(path.read_text()) if path.exists() else None


@needs_jq
def test_the_comparison_becomes_a_comment_of_the_pull_request_with_that_commit(tmp_path):
    method, place, body = sent(tmp_path)
    assert (method, place) == ("POST", "repos/owner/bench/issues/7/comments")
    assert body.startswith("<!-- verify-row -->\n") and SHA in body and "| x | 0.9 |" in body
    first = json.loads((tmp_path / "asked").read_text().splitlines()[0])
    assert "head=someone:rows" in first and "state=open" in first


@needs_jq
def test_a_second_run_renews_its_own_comment_and_nobody_else_s(tmp_path):
    comments = [
        {"id": 1, "user": {"login": "thief"}, "body": "<!-- verify-row -->"},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "another"},
        {"id": 3, "user": {"login": "github-actions[bot]"}, "body": "<!-- verify-row -->\nold"},
    ]
    assert sent(tmp_path, comments=comments)[:2] == ["PATCH", "repos/owner/bench/issues/comments/3"]


@needs_jq
def test_a_pull_request_that_has_moved_on_gets_no_comment(tmp_path):
    assert sent(tmp_path, pulls=[{"number": 7, "head": {"sha": "e" * 40}}]) is None


@needs_jq
@pytest.mark.parametrize("name", [".github/workflows/verify-row.yml", ".github/actions/x/action.yml"])
def test_what_a_changed_workflow_printed_is_not_repeated(tmp_path, name):
    body = sent(tmp_path, files=files(*(own["filename"] for own in WORLD["files"]), name), text="**honest**")[2]
    assert "honest" not in body and "changes workflows" in body and name in body
    assert '"download"' not in (tmp_path / "asked").read_text()


@needs_jq
def test_a_renamed_workflow_is_a_changed_one(tmp_path):
    moved = {"filename": "notes.yml", "previous_filename": ".github/workflows/verify-row.yml"}
    assert "changes workflows" in sent(tmp_path, files=[moved])[2]


@needs_jq
def test_more_files_than_github_lists_are_as_good_as_a_changed_workflow(tmp_path):
    assert "changes workflows" in sent(tmp_path, files=files(*(f"leaderboards/a/{n}.json" for n in range(3000))))[2]


@needs_jq
@pytest.mark.parametrize(
    "name", ["detectors/mine.py", "leaderboards/allowed_signers", "bench/errors.py", "detectors/a\nb.yaml", "x/y.yaml"]
)
def test_the_text_of_a_pull_request_with_code_is_no_markdown_and_the_code_is_named(tmp_path, name):
    body = sent(tmp_path, files=files(name), text="[click](https://example.org)\n\n**[re-attacked]** first")[2]
    assert "brings more than rows" in body and json.dumps(name) in body
    assert "\n    [click](https://example.org)\n" in body and "\n[click]" not in body
    assert "\n    **[re-attacked]** first" in body


@needs_jq
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("ask @someone, and @org/team", "ask @\u200bsomeone, and @\u200borg/team"),
        ("bent@0123456789ab", "bent@0123456789ab"),
        ("a\r# title\x1b[2J\x00", "a# title[2J"),
        ("@first", "@\u200bfirst"),
    ],
)
def test_a_stranger_s_text_calls_nobody_and_holds_no_control_characters(tmp_path, text, kept):
    body = sent(tmp_path, text=text)[2]
    assert body.endswith(f"\n{kept}") or body.endswith(f"\n{kept}\n")


@needs_jq
def test_a_text_without_end_is_cut(tmp_path):
    assert 50_000 <= len(sent(tmp_path, text="x" * 200_000)[2]) < 60_000  # GitHub takes 65,536 characters


@needs_jq
def test_a_link_is_not_followed_and_a_run_without_a_comparison_is_said(tmp_path):
    (tmp_path / "secret").write_text("a secret")
    body = sent(tmp_path, text=f"link to {tmp_path / 'secret'}")[2]
    assert "a secret" not in body and "left no comparison" in body


@needs_jq
def test_a_run_that_left_nothing_is_said(tmp_path):
    assert "left no comparison" in sent(tmp_path, text=None)[2]


def test_it_may_read_artifacts_and_comment_and_nothing_else():
    assert CONTENT["permissions"] == {} and JOB["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert set(CONTENT[True]) == {"workflow_run"} and CONTENT[True]["workflow_run"]["workflows"] == ["verify-row"]
    assert JOB["if"] == "github.event.workflow_run.event == 'pull_request'"
    for step in JOB["steps"]:
        assert set(step) == {"name", "run"} and "${{" not in step["run"]  # no action, no event in a program
    assert "secrets." not in WORKFLOW.read_text()
