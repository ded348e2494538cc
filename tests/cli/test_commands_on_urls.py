"""Commands on stores at URLs do what they do on folders: the same cells, whatever machine asks for them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from toy_runs import bench, make_workspace

import bench as package
from bench.errors import UsageError
from bench.evaluation.store import Store

SECRET = "a-secret-word"
SLOW = """

    class Slow(Dark):
        def score(self, x, *, noise=None):
            import os, time

            gate = os.environ["SHARED_GATE"]
            while gate and not os.path.exists(gate):
                time.sleep(0.02)
            return super().score(x)
"""
FEW = ["--steps", "2", "--restarts", "1", "--threat", "pgd-l2"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy workspace, of which this is the first machine."""
    on_machine(monkeypatch, tmp_path / "first")
    return make_workspace(tmp_path / "workspace")


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4().hex}"


def on_machine(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def run(workspace: Path, out: object, *more: object):
    options = ["--detector", "dark", "--track", "toy", "--workspace", workspace, "--eps", "0.5", *FEW]
    return bench("run", *options, "--out", out, *more)


def figures(cells) -> list[tuple]:
    """All that cells hold but for how long they took, the samples as bytes."""
    found = []
    for cell in cells:
        samples = cell.samples.to_csv(index=False)
        found.append((cell.meta.model_dump(exclude={"seconds", "samples_sha256", "arrays_sha256"}), samples))
    return sorted(found, key=lambda pair: pair[0]["key"])


def without_seconds(text: str) -> str:
    return re.sub(r" +[\d.]+$", "", text, flags=re.M)


def test_a_run_at_a_url_gives_the_cells_and_the_table_of_a_run_in_a_folder(workspace, url, tmp_path, monkeypatch):
    local = run(workspace, tmp_path / "runs")
    there = run(workspace, url)
    assert there.exit_code == 0, there.output
    assert f"2 cells in '{url}': 2 computed, 0 from the store." in there.stdout
    on_machine(monkeypatch, tmp_path / "second")
    found = package.load_results(url)
    assert figures(found.cells) == figures(Store(tmp_path / "runs").cells())
    tables = [bench("table", place).stdout for place in (url, tmp_path / "runs")]
    assert without_seconds(tables[0]) == without_seconds(tables[1])
    assert tables[0] in there.stdout
    assert local.exit_code == 0
    again = run(workspace, url)
    assert "0 computed, 2 from the store" in again.stdout


def test_every_command_that_takes_a_folder_of_cells_takes_a_url(workspace, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(workspace, url, "--diagnose").exit_code == 0
    on_machine(monkeypatch, tmp_path / "second")
    here = ("--workspace", workspace)
    status = json.loads(bench("status", url, "--json").stdout)
    assert (status["store"], status["stored"], [one["state"] for one in status["runs"]]) == (url, 2, ["ended"])
    assert status["runs"][0]["done"] == 2
    assert (
        "2 cells: 2 in"
        in bench("plan", "--detector", "dark", "--track", "toy", "--eps", "0.5", *FEW, "--out", url, *here).stdout
    )
    report = bench("report", url, *here)
    assert report.exit_code == 0, report.output
    assert "robustood report" in (tmp_path / "report.html").read_text()
    assert bench("baseline", url, "--to", "baseline.json", *here).exit_code == 0
    for option in ("--run", "--out"):
        checked = bench("check", "--baseline", "baseline.json", option, url, *here)
        assert checked.exit_code == 0, checked.output
    diagnosed = bench(
        "diagnose", "--detector", "dark", "--track", "toy", "--threat", "pgd-l2", "--eps", "0.5", "--steps", 2,
        "--restarts", 1, "--out", url, *here,
    )  # fmt: skip
    assert "AUROC" in diagnosed.stdout, diagnosed.output
    refused = bench("submit", "--run", url, "--detector", "dark", "--track", "toy", *here)
    assert refused.exit_code == 2
    assert "suite" in refused.stderr


def test_verdicts_reach_other_machines(workspace, url, tmp_path, monkeypatch):
    run(workspace, url)
    on_machine(monkeypatch, tmp_path / "second")
    assert run(workspace, url, "--diagnose").exit_code == 0
    on_machine(monkeypatch, tmp_path / "third")
    root = package.load_results(url).store.root
    kept = sorted((root / "verdicts").rglob("*.json"))
    assert len(kept) == 1  # of the attack
    on_machine(monkeypatch, tmp_path / "first")
    package.load_results(url)
    assert [path.read_bytes() for path in kept] == [
        path.read_bytes() for path in sorted((package.load_results(url).store.root / "verdicts").rglob("*.json"))
    ]


def test_a_grid_file_may_name_a_url(workspace, url, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text(f"detector: dark\ntrack: toy\nthreat: clean\nout: {url}\n")
    assert f"1 cells in '{url}'" in bench("run", "--grid", grid, "--workspace", workspace).stdout


def test_from_python_cells_are_kept_at_a_url(workspace, url, tmp_path, monkeypatch):
    asked = {"eps": 0.5, "track": "toy", "threat": "pgd-l2", "steps": 2, "restarts": 1, "workspace": workspace}
    first = package.evaluate("dark", store=url, **asked)
    on_machine(monkeypatch, tmp_path / "second")
    again = package.evaluate("dark", store=url, **asked)
    assert [meta.seconds for meta in again.metas] == [meta.seconds for meta in first.metas]  # not computed again
    both = (again.table(), package.load_results(url).table())
    pd.testing.assert_frame_equal(*(table.sort_values(["threat", "set"], ignore_index=True) for table in both))
    with pytest.raises(UsageError, match="half a URL"):
        package.load_results(Path(url))


@pytest.mark.parametrize("command", ["table", "report", "status", "baseline"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("memory://nothing-there", "there is no store at 'memory://nothing-there'"),
        (f"s3://me:{SECRET}@bucket/x", "holds a user, a password"),
        ("nothing://x", "there is no 'nothing://'"),
        ("s3:/bucket/x", "half a URL"),
        ("https://host/x", "cannot hold a store"),
        ("abfs://box/x", "needs the package adlfs: pip install adlfs"),
    ],
)
def test_what_is_wrong_with_a_url_is_one_sentence_and_exit_code_2(workspace, command, place, said):
    refused = bench(command, place)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert SECRET not in refused.output


def test_without_its_package_s3_says_how_it_is_installed(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    refused = bench("table", "s3://bucket/x")
    assert (refused.exit_code, SECRET in refused.output) == (2, False)
    assert "pip install 'robustood[remote]'" in refused.stderr


class Machine:
    """Runs commands in processes of their own, with a cache of their own.

    Args:
        root: Of the test.
        name: The machine's.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.cache, self.down, self.gate = root / name, root / f"{name}-down", root / f"{name}-gate"
        self.url = f"shared://{str(root).lstrip('/')}/objects"
        self.objects = root / "objects"
        self.workspace = root / "workspace"

    def begin(self, *arguments: object) -> subprocess.Popen[str]:
        paths = [Path(package.__file__).parents[1], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        own = {
            "XDG_CACHE_HOME": str(self.cache),
            "SHARED_DOWN": str(self.down),
            "SHARED_GATE": str(self.gate),
            "ROBUSTOOD_WORKERS": "1",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(Path(__file__).with_name("shared_objects.py")), *map(str, arguments)]
        return subprocess.Popen(
            command,
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *more: object, detector: str = "corner,slow") -> subprocess.Popen[str]:
        fixed = ["--track", "toy", "--workspace", self.workspace, "--eps", "0.25,0.5", *FEW]
        return self.begin("run", "--detector", detector, *fixed, "--out", self.url, *more)

    def published(self) -> list[Path]:
        return sorted((self.objects / "manifests").rglob("*.json"))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()  # what does not end would stay beside all other tests
    return process.returncode, out, err


@pytest.fixture
def machines(tmp_path: Path) -> list[Machine]:
    """Three machines, with a detector that waits until the machine's gate is opened."""
    workspace = make_workspace(tmp_path / "workspace")
    module = next(workspace.glob("toy_methods_*.py"))
    module.write_text(module.read_text() + "\n".join(line[4:] for line in SLOW.splitlines()) + "\n")
    card = f"name: slow\nsummary: waits\nmethod: {module.stem}:Slow\ntracks: {{toy: {{}}}}\n"
    (workspace / "detectors/slow.yaml").write_text(card)
    return [Machine(tmp_path, name) for name in ("first", "second", "third")]


def expected(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The same cells, computed into a folder of this machine."""
    folder = tmp_path / "local"
    monkeypatch.setenv("SHARED_GATE", "")
    options = ["--track", "toy", "--workspace", machine.workspace, "--eps", "0.25,0.5", *FEW, "--out", folder]
    assert bench("run", "--detector", "corner,slow", *options).exit_code == 0
    return figures(Store(folder).cells())


def at_url(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What another machine finds at the URL."""
    import fsspec
    from shared_objects import SharedFiles

    fsspec.register_implementation("shared", SharedFiles, clobber=True)
    on_machine(monkeypatch, tmp_path / "reader")
    return figures(package.load_results(machine.url).cells)


def test_shards_on_two_machines_make_the_cells_of_one_run(machines, tmp_path, monkeypatch):
    first, second, third = machines
    first.gate.touch()
    second.gate.touch()
    begun = [machine.run("--shard", f"{number}/2") for number, machine in enumerate((first, second), 1)]
    for process in begun:
        code, _, err = ended(process)
        assert code == 0, err
    code, out, err = ended(third.run())
    assert code == 0, err
    assert f"6 cells in '{third.url}': 0 computed, 6 from the store." in out
    assert at_url(third, tmp_path, monkeypatch) == expected(third, tmp_path, monkeypatch)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_what_another_machine_publishes_meanwhile(machines, workers):
    first, second, _ = machines
    slow = first.run("--workers", workers, detector="corner,slow,dark")
    until(first.published, slow)
    assert ended(second.run(detector="dark"))[0] == 0
    until(lambda: len(list(first.cache.rglob("cell.json"))) == 6, slow)
    first.gate.touch()
    code, out, err = ended(slow)
    assert code == 0, err
    if workers == 1:  # else the other process has computed some of them meanwhile
        assert f"9 cells in '{first.url}': 6 computed, 3 from the store." in out


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_a_kill_another_machine_goes_on_from_what_was_published(machines, tmp_path, monkeypatch, workers):
    first, second, _ = machines
    killed = first.run("--workers", workers)
    until(first.published, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    ended(killed)
    done = len(first.published())
    assert 0 < done < 6
    second.gate.touch()
    code, out, err = ended(second.run("--workers", workers))
    assert code == 0, err
    assert int(re.search(r"(\d+) from the store", out)[1]) >= done
    assert at_url(second, tmp_path, monkeypatch) == expected(second, tmp_path, monkeypatch)


def test_where_the_network_is_lost_all_is_computed_and_kept_and_the_next_command_publishes_it(
    machines, tmp_path, monkeypatch
):
    first, second, _ = machines
    process = first.run()
    until(first.published, process)
    first.down.touch()
    first.gate.touch()
    code, out, err = ended(process)
    assert code == 2
    assert "6 cells in" in out, "the table is printed all the same"
    last = err.splitlines()[-1]
    assert re.fullmatch(
        rf"error: \d cells? (is|are) not at '{first.url}' yet, and kept in '{first.cache}.*': the next command on that "
        r"URL publishes what is there: cannot \w+ the store '.*' \(ConnectionError\); .*",
        last,
    ), err
    assert SECRET not in out + err
    assert len(first.published()) < 6
    code, _, err = ended(first.begin("table", first.url))
    assert code == 2, "nothing is shown of a store that cannot be reached"
    first.down.unlink()
    assert ended(first.begin("table", first.url))[0] == 0
    assert len(first.published()) == 6
    assert at_url(second, tmp_path, monkeypatch) == expected(second, tmp_path, monkeypatch)


def test_an_interrupted_run_leaves_what_is_done_and_is_told_as_ended(machines):
    first, second, _ = machines
    process = first.run()
    until(first.published, process)
    os.kill(process.pid, signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130, err
    (one,) = json.loads(ended(second.begin("status", first.url, "--json"))[1])["runs"]
    assert one["state"] == "ended"
    assert 0 < one["done"] == len(first.published()) < 6


def test_another_machine_sees_how_far_a_run_is(machines):
    first, second, _ = machines
    process = first.run()
    until(first.published, process)
    (one,) = json.loads(ended(second.begin("status", first.url, "--json"))[1])["runs"]
    assert one["state"] == "running"
    assert (one["cells"], one["process"]) == (6, process.pid)
    assert one["done"] >= 1
    first.gate.touch()
    assert ended(process)[0] == 0


def until(there, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert process.poll() is None, ended(process)
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_at_an_s3_server_is_read_by_another_machine(s3, workspace, tmp_path, monkeypatch):
    url = f"{s3}/{uuid4().hex}"
    there = run(workspace, url, "--diagnose")
    assert there.exit_code == 0, there.output
    assert run(workspace, tmp_path / "runs").exit_code == 0
    on_machine(monkeypatch, tmp_path / "second")
    assert figures(package.load_results(url).cells) == figures(Store(tmp_path / "runs").cells())
    assert "2 cells are stored" in bench("status", url).stdout
    missing = run(workspace, "s3://no-such-bucket/x")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    assert "there is no such bucket" in missing.stderr
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    refused = bench("table", url)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "no credentials are found" in refused.stderr
