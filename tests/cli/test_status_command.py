"""`bench status`: what another shell sees of a run while it goes on, after it ended, and after it was killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_runs import bench, make_workspace

from bench.cli import run_report
from bench.evaluation.run_records import FOLDER, CellRecord, Place, RunRecord, State
from bench.evaluation.store import Store

KEYS = [f"{number:x}{number:x}" * 32 for number in range(5)]


def status(store: Path, *options: str) -> list[dict]:
    result = bench("status", store, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["runs"]


def leave(store: Path, **over: object) -> Place:
    states = (State.DONE, State.RUNNING, State.FAILED, State.WAITING, State.WAITING)
    cells = [CellRecord(key=key, label=f"cell {n}", state=states[n]) for n, key in enumerate(KEYS)]
    cells[1].share, cells[2].error = 0.5, "cell 2: it broke."
    now = time.time()
    place = Place(store)
    place.write(RunRecord.new(cells, 2).model_copy(update={"started": now - 50.0, "written": now, **over}))
    return place


def test_a_run_that_goes_on_is_told_with_the_time_that_its_work_still_takes(tmp_path):
    leave(tmp_path)
    (one,) = status(tmp_path)
    assert (one["state"], one["cells"], one["done"], one["waiting"]) == ("running", 5, 1, 2)
    assert one["running"] == [{"cell": "cell 1", "share": 0.5}]
    assert one["failed"] == [{"cell": "cell 2", "why": "cell 2: it broke."}]
    assert one["share"] == pytest.approx(0.5)
    assert one["seconds_left"] == pytest.approx(50.0)  # as long as the first half took
    text = bench("status", tmp_path).stdout
    assert "1 of 5 cells done, 1 failed, 1 running, 2 waiting; about 50 s still." in text
    assert "running: cell 1, 50 %" in text
    assert "failed: cell 2: it broke." in text


def test_the_store_is_runs_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    leave(tmp_path / "runs")
    assert "in 'runs'" in bench("status").stdout


def test_a_killed_run_is_told_as_such_and_what_was_running_waits(tmp_path):
    place = leave(tmp_path)
    os.close(place._descriptor)
    (one,) = status(tmp_path)
    assert (one["state"], one["running"], one["waiting"], one["seconds_left"]) == ("killed", [], 3, None)
    assert "was killed or its machine went away" in bench("status", tmp_path).stdout


def test_of_runs_that_are_over_the_newest_is_told_and_all_where_they_are_asked_for(tmp_path):
    for started in (10.0, 20.0):
        leave(tmp_path, started=started, ended=started + 5).close()
    assert [one["started"] for one in status(tmp_path)] == [20.0]
    assert [one["started"] for one in status(tmp_path, "--all")] == [20.0, 10.0]
    leave(tmp_path, started=5.0)
    assert [one["state"] for one in status(tmp_path)] == ["running"]


def test_several_runs_on_a_store_are_told_one_by_one(tmp_path):
    places = [leave(tmp_path, started=started) for started in (10.0, 20.0)]
    assert [one["state"] for one in status(tmp_path)] == ["running", "running"]
    for place in places:
        place.close()


def test_a_run_leaves_its_record_and_a_run_that_computes_nothing_leaves_none(tmp_path):
    workspace, out = make_workspace(tmp_path / "workspace"), tmp_path / "runs"
    line = ("run", "--workspace", workspace, "--track", "toy", "--detector", "dark,nan", "--threat", "noise-l2")
    assert bench(*line, "--eps", 1, "--out", out).exit_code == 1  # one of them has scores that are not finite
    (one,) = status(out)
    assert (one["state"], one["cells"], one["done"], len(one["failed"]), one["waiting"]) == ("ended", 4, 2, 2, 0)
    assert "nan" in one["failed"][0]["why"]
    before = list((out / FOLDER).iterdir())
    assert bench(*line, "--eps", 1, "--out", out, "--detector", "dark").exit_code == 1
    bench("run", *line[1:5], "--detector", "dark", "--threat", "noise-l2", "--eps", 1, "--out", out)
    assert len(list((out / FOLDER).iterdir())) <= len(before) + 1
    assert bench("table", out).exit_code == 0


def test_a_run_that_cannot_leave_a_record_goes_on_without(tmp_path):
    workspace, out = make_workspace(tmp_path / "workspace"), tmp_path / "runs"
    out.mkdir()
    (out / FOLDER).write_text("in the way")
    result = bench(
        "run", "--workspace", workspace, "--track", "toy", "--detector", "dark", "--threat", "clean", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert len(Store(out).keys()) == 1


def test_an_interrupted_run_has_ended_and_what_it_left_waits(tmp_path):
    workspace, out = make_workspace(tmp_path / "workspace"), tmp_path / "runs"
    line = ("--workspace", workspace, "--track", "toy", "--detector", "interrupted", "--threat", "pgd-l2", "--eps", 1)
    assert bench("run", *line, "--out", out).exit_code == 130
    (one,) = status(out)
    assert (one["state"], one["done"], one["waiting"]) == ("ended", 0, 2)


def test_another_process_sees_a_run_that_goes_on_and_that_it_was_killed(tmp_path):
    workspace, out = make_workspace(tmp_path / "workspace"), tmp_path / "runs"
    line = ["--workspace", workspace, "--track", "toy", "--detector", "dark", "--threat", "square-l2", "--eps", "1"]
    run = subprocess.Popen([sys.executable, "-m", "bench", "run", *map(str, line), "--out", str(out)], cwd=tmp_path)
    try:
        while not (runs := status(out) if out.is_dir() else []):
            assert run.poll() is None
            time.sleep(0.02)
        assert (runs[0]["process"], runs[0]["state"]) == (run.pid, "running")
    finally:
        run.kill()
        run.wait()
    assert [one["state"] for one in status(out)] == ["killed"]


def test_a_store_without_runs_is_told_and_no_folder_is_a_wrong_request(tmp_path):
    assert "no run has left word here.\n0 cells are stored" in bench("status", tmp_path).stdout
    result = bench("status", tmp_path / "none")
    assert (result.exit_code, "is not a folder" in result.stderr) == (2, True)


def test_texts_of_a_record_cannot_draw_on_the_terminal(tmp_path):
    cells = [CellRecord(key=KEYS[0], label="a\x1b[31m\nrun of root", state=State.RUNNING)]
    place = Place(tmp_path)
    place.write(RunRecord.new(cells, 1))
    text = bench("status", tmp_path).stdout
    assert "\x1b" not in text
    assert not any(line.startswith("run of root") for line in text.splitlines())
    place.close()


def test_a_record_is_written_while_the_run_goes_on_and_not_for_every_word(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(run_report, "_BETWEEN_WRITES", 0.02)
    monkeypatch.setattr(Place, "write", lambda self, record: written.append(record))

    class Cell:
        key, label, params = KEYS[0], "one", {}

    with run_report.RunReport(tmp_path, [Cell()], 1) as report:
        for share in range(1000):
            report.watch(Cell(), share / 1000)
        for _ in range(500):
            if len(written) > 1:
                break
            time.sleep(0.01)
    assert written[0].cells[0].state is State.WAITING
    assert written[1].cells[0].share > 0.9
    assert len(written) < 20
    assert written[-1].ended is not None
