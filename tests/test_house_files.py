"""Workflows, forms, containers and the citation: actions are pinned, and the commands in them exist."""

import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

import bench
from bench.cli.app import app

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / "action.yml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
pytestmark = pytest.mark.skipif(not ACTION.is_file(), reason="the tests run from an installed package")


def read(path):
    """A workflow; YAML 1.1 reads its key `on` as true."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in found.items()}


def steps(path):
    content = read(path)
    jobs = content["jobs"].values() if "jobs" in content else [content["runs"]]
    return [step for job in jobs for step in job.get("steps", ())]


def bench_commands(text):
    """Every `bench ...` of a script, as words, up to the first operator of the shell."""
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.finditer(r"(?:^|[\s/;{])bench (?=[a-z])([^|>;&]*)", line):
            yield shlex.split(found[1])


def check_command(words):
    """Raise where a subcommand or an option does not exist."""
    found = typer.main.get_command(app)
    assert words[0] in found.commands, f"there is no `bench {words[0]}`"
    inner = found.commands[words[0]]
    known = {name for parameter in inner.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in words[1:] if word.startswith("-")} - known
    assert not unknown, f"`bench {' '.join(words)}`: no such option: {', '.join(unknown)}"


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_every_action_of_others_is_pinned_by_its_commit_with_its_version_beside_it(path):
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    used = [line for line in used if not line.startswith("OWNER/")]
    assert used or path.name == "comment-row.yml"
    for line in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"{path.name}: {line}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_its_jobs_ask_for_more_and_end(path):
    content = read(path)
    assert content["permissions"] in ({}, {"contents": "read"})
    assert all(job["timeout-minutes"] <= 350 for job in content["jobs"].values())


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_every_command_of_the_scripts_exists(path):
    scripts = [step["run"] for step in steps(path) if "run" in step]
    for script in scripts:
        for words in bench_commands(script):
            check_command(words)
    if path.name in ("tests.yml", "pages.yml", "release.yml", "action.yml"):
        assert any(list(bench_commands(script)) for script in scripts)


def test_the_tests_run_on_every_python_that_is_supported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    matrix = read(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"][0] == oldest == matrix["include"][0]["python"]
    assert {matrix["resolution"][0], matrix["include"][0]["resolution"]} == {"highest", "lowest-direct"}


def test_only_the_job_that_publishes_may_speak_for_the_repository():
    jobs = read(ROOT / ".github/workflows/release.yml")["jobs"]
    assert "permissions" not in jobs["build"] and jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"] == "pypi"


def test_texts_of_others_reach_no_script_of_a_workflow_or_of_the_action():
    for path in (*WORKFLOWS, ACTION):
        for step in steps(path):
            assert "${{" not in step.get("run", ""), f"{path.name}: {step['run'][:60]}: pass it by env"


@pytest.mark.parametrize("form", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.stem)
def test_a_form_asks_for_something_and_each_answer_has_a_name(form):
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    asked = [part for part in content["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)
    for part in asked:
        for words in bench_commands(str(part["attributes"].get("placeholder", ""))):
            check_command(words)
    for page in re.findall(r"docs/[\w-]+\.md", form.read_text(encoding="utf-8")):
        assert (ROOT / page).is_file(), page


def test_the_citation_is_of_this_version_and_licence():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (bench.__version__, project["license"])


def test_containers_take_pytorch_without_cuda_and_no_user_is_root():
    docker = (ROOT / "Dockerfile").read_text()
    commands = [line.split()[0] for line in docker.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert commands[0] == "FROM" and ":latest" not in docker
    assert docker.index("whl/cpu") < docker.index("COPY") < docker.index("USER 1000") < docker.index("ENTRYPOINT")
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["postCreateCommand"].index("whl/cpu") < container["postCreateCommand"].index("-e '.[test]'")
    assert "# robustood for CPUs: docker build" in docker


def test_the_readme_is_short_and_its_commands_for_an_own_network_are_those_that_are_timed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    spec = importlib.util.spec_from_file_location("first_table", ROOT / "benchmarks/first_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    lines = script.commands(text)
    assert [line.split()[:2] for line in lines] == [["bench", "new"], ["bench", "new"], ["bench", "run"]]
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] == "run":
            check_command(words)


def test_what_does_not_exist_is_found_out():
    (words,) = bench_commands("cd x; bench run --fast | tee log")
    with pytest.raises(AssertionError, match="no such option: --fast"):
        check_command(words)
    with pytest.raises(AssertionError, match="no `bench fly`"):
        check_command(["fly"])
