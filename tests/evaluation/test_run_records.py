"""What a run leaves for `bench status`: whole, bounded, and never taken for alive when its process is dead."""

import fcntl
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bench.evaluation import run_records
from bench.evaluation.run_records import (
    FOLDER,
    KEPT,
    SILENT_SECONDS,
    CellRecord,
    Place,
    RunRecord,
    State,
    clear_old_runs,
    found_runs,
    settled,
    share_done,
)

KEY = "ab" * 32


def record(**over: object) -> RunRecord:
    return RunRecord.new([CellRecord(key=KEY, label="one")], 2).model_copy(update=over)


def write(root: Path, **over: object) -> Place:
    place = Place(root)
    place.write(record(**over))
    return place


def test_a_record_that_is_written_is_read_again_and_lives_as_long_as_its_lock_is_held(tmp_path):
    place = write(tmp_path)
    (found,) = found_runs(tmp_path)
    assert found.alive
    assert found.record.cells == [CellRecord(key=KEY, label="one")]
    assert (found.record.process, found.record.workers) == (os.getpid(), 2)
    os.close(place._descriptor)  # what the system does when the process dies
    assert [run.alive for run in found_runs(tmp_path)] == [False]


def test_two_that_look_at_the_same_time_do_not_take_each_other_for_the_run(tmp_path):
    place = write(tmp_path)
    os.close(place._descriptor)
    looking = os.open(place._lock, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert [run.alive for run in found_runs(tmp_path)] == [False]
    os.close(looking)


def test_a_run_that_ended_by_itself_is_over_and_leaves_no_lock(tmp_path):
    place = write(tmp_path)
    place.write(record(ended=time.time()))
    place.close()
    assert [run.alive for run in found_runs(tmp_path)] == [False]
    assert [path.suffix for path in (tmp_path / FOLDER).iterdir()] == [".json"]


def test_the_newest_run_is_the_first(tmp_path):
    for started in (5.0, 9.0, 7.0):
        write(tmp_path, started=started)
    assert [run.record.started for run in found_runs(tmp_path)] == [9.0, 7.0, 5.0]


def test_a_killed_process_is_not_alive(tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        from bench.evaluation.run_records import CellRecord, Place, RunRecord
        place = Place(Path(sys.argv[1]))
        place.write(RunRecord.new([CellRecord(key="ab" * 32, label="one")], 1))
        print("written", flush=True)
        time.sleep(60)
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"written\n"
    assert [found.alive for found in found_runs(tmp_path)] == [True]
    run.kill()
    run.wait()
    run.stdout.close()
    assert [found.alive for found in found_runs(tmp_path)] == [False]


@pytest.mark.parametrize("age", [0.5, 1.5])
def test_a_run_of_another_machine_lives_by_its_last_word(tmp_path, age):
    place = write(tmp_path)
    place._lock.write_text("the boot of another machine 5")
    moment = time.time() - age * SILENT_SECONDS
    os.utime(place._file, (moment, moment))
    assert [run.alive for run in found_runs(tmp_path)] == [age < 1]


def test_where_nobody_can_lock_the_last_word_decides(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    place = write(tmp_path)
    assert [run.alive for run in found_runs(tmp_path)] == [True]
    os.utime(place._file, (0, 0))
    assert [run.alive for run in found_runs(tmp_path)] == [False]


HOSTILE = {
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "another version": json.dumps({**json.loads(record().model_dump_json()), "format": 2}).encode(),
    "a further field": json.dumps({**json.loads(record().model_dump_json()), "path": "/etc"}).encode(),
    "endless time": record().model_dump_json().replace('"started":', '"started":1e999,"begun":').encode(),
    "a key that is a path": record().model_dump_json().replace(KEY, "../" + KEY[3:]).encode(),
    "a long label": record().model_dump_json().replace('"one"', json.dumps("x" * 1001)).encode(),
    "a share above 1": record().model_dump_json().replace('"share":0.0', '"share":1.5').encode(),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_record_is_passed_over_and_the_others_are_read(tmp_path, content):
    write(tmp_path)
    (tmp_path / FOLDER / f"{'0' * 32}.json").write_bytes(content)
    assert len(found_runs(tmp_path)) == 1


def test_too_large_a_file_a_link_a_pipe_and_other_names_are_passed_over(tmp_path, monkeypatch):
    place = write(tmp_path)
    folder = tmp_path / FOLDER
    monkeypatch.setattr(run_records, "_MAX_BYTES", place._file.stat().st_size)
    (folder / f"{'1' * 32}.json").write_bytes(place._file.read_bytes() + b" ")
    (folder / f"{'2' * 32}.json").symlink_to(place._file)
    os.mkfifo(folder / f"{'3' * 32}.json")
    (folder / "mine.json").write_bytes(place._file.read_bytes())
    assert len(found_runs(tmp_path)) == 1


def test_nothing_is_written_or_read_through_a_link(tmp_path):
    elsewhere, store = tmp_path / "elsewhere", tmp_path / "store"
    (elsewhere / FOLDER).mkdir(parents=True)
    write(elsewhere)
    store.mkdir()
    (store / FOLDER).symlink_to(elsewhere / FOLDER)
    assert found_runs(store) == []
    with pytest.raises(OSError, match="is a link"):
        Place(store)


def test_records_of_runs_that_are_over_go_but_for_the_newest(tmp_path):
    living = write(tmp_path, started=1.0)
    for number in range(KEPT + 5):
        place = write(tmp_path, started=100.0 + number)
        os.close(place._descriptor)
        os.utime(place._file, (number, number))
    (tmp_path / FOLDER / "notes.txt").write_text("mine")
    clear_old_runs(tmp_path)
    left = {run.record.started for run in found_runs(tmp_path)}
    assert left == {1.0, *(105.0 + number for number in range(KEPT))}
    assert len(list((tmp_path / FOLDER).glob("*.lock"))) == KEPT + 1
    assert (tmp_path / FOLDER / "notes.txt").exists()
    living.close()


def test_a_cell_that_the_store_holds_is_done_whoever_computed_it():
    cells = [CellRecord(key=f"{n}{n}" * 32, label=str(n), cost=n + 1, state=State.RUNNING, share=0.5) for n in range(3)]
    now = settled(cells, ["00" * 32, "ff" * 32])
    assert [cell.state for cell in now] == [State.DONE, State.RUNNING, State.RUNNING]
    assert share_done(now) == pytest.approx((1 + 0.5 * 2 + 0.5 * 3) / 6)
    assert share_done([]) == 1.0
