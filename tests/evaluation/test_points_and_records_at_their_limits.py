"""Points of smaller radii set by set and row by row, and records of runs at exactly their limits."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bench.datasets.base import ImageSet
from bench.evaluation import run_records
from bench.evaluation.locks import UNKNOWN
from bench.evaluation.nesting import Points
from bench.evaluation.run_records import (
    BEAT_SECONDS,
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

# --------------------------------------------------------------------------- points of a smaller radius

SIZES = {"test": 3, "calibration": 2, "far": 4}


def sets():
    """Three sets of which every image is its own number, in 255ths."""
    first, found = 0, {}
    for name, size in SIZES.items():
        numbers = torch.arange(first, first + size, dtype=torch.uint8)[:, None, None, None]
        found[name] = ImageSet(name, numbers, torch.zeros(size), torch.arange(size), "")
        first += size
    return SimpleNamespace(sets=lambda: found)


def cell(**arrays):
    return SimpleNamespace(meta=SimpleNamespace(eps=0.125, detector="net"), arrays=arrays)


def of(values):
    return np.asarray(values, dtype=np.float32)[:, None, None, None]


def flat(points):
    return {name: images.ravel().tolist() for name, images in points.items()}


BEST = {"image_rows": np.array([0, 1, 2, 5, 6, 7, 8]), "images": of([10, 11, 12, 15, 16, 17, 18])}


def test_points_are_the_attacked_images_of_each_set_by_its_own_rows():
    points = Points.of(cell(**BEST), sets())
    assert points.eps == 0.125
    assert flat(points.best) == {"test": [10, 11, 12], "far": [15, 16, 17, 18]}
    assert points.plain is points.best
    assert points.note == "the attack goes on from the best points at radius 0.125."


@pytest.mark.parametrize(
    ("rows", "test", "far"),
    [
        ([0], [100, 11, 12], [15, 16, 17, 18]),
        ([2], [10, 11, 100], [15, 16, 17, 18]),
        ([5], [10, 11, 12], [100, 16, 17, 18]),
        ([8], [10, 11, 12], [15, 16, 17, 100]),
        ([1, 2, 6, 8], [10, 100, 101], [15, 102, 17, 103]),
        ([3, 4], [10, 11, 12], [15, 16, 17, 18]),
    ],
)
def test_audited_images_have_a_plain_point_of_their_own_and_their_best_one_stays(rows, test, far):
    images = sets()
    arrays = {**BEST, "image_rows": np.arange(9), "images": of([10, 11, 12, 13, 14, 15, 16, 17, 18])}
    plain = {"plain_rows": np.array(rows), "plain_images": of(range(100, 100 + len(rows)))}
    points = Points.of(cell(**arrays, **plain), images)
    assert flat(points.best) == {"test": [10, 11, 12], "calibration": [13, 14], "far": [15, 16, 17, 18]}
    found = flat(points.plain)
    assert (found["test"], found["far"]) == (test, far)
    assert (found["calibration"] == [13, 14]) == (rows != [3, 4])


def test_points_are_asked_for_by_positions_over_the_named_sets_alone():
    points = Points(0.1, {"test": of([10, 11, 12]), "far": of([15, 16])}, {"test": of([0, 1, 2]), "far": of([5, 6])})
    for full, expected in ((True, [10, 12, 15, 16]), (False, [0, 2, 5, 6])):
        assert points.at(["test", "far"], np.array([0, 2, 3, 4]), full=full).ravel().tolist() == expected
    assert points.at(["far", "test"], np.array([0, 1, 2, 4]), full=True).ravel().tolist() == [15, 16, 10, 12]
    assert points.at(["test", "far"], np.array([3]), full=True).ravel().tolist() == [15]
    assert points.at(["test", "far"], np.array([2]), full=True).ravel().tolist() == [12]


# --------------------------------------------------------------------------- records of runs

KEY = "ab" * 32
NOW = 1_000_000.0


def record(**over):
    told = {
        "host": "here",
        "process": 7,
        "workers": 2,
        "started": 1.0,
        "written": 2.0,
        "cells": [CellRecord(key=KEY, label="one")],
    }
    return RunRecord(**{**told, **over})


def left(root, number, **over):
    """The files of a run, as another machine may have left them."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    file = folder / f"{number:032x}.json"
    file.write_bytes(record(**over).model_dump_json().encode())
    file.with_suffix(".lock").write_bytes(UNKNOWN.encode())
    return file


def test_a_new_record_is_of_this_process_and_begins_now(monkeypatch):
    monkeypatch.setattr(run_records.socket, "gethostname", lambda: "h" * 1001)
    monkeypatch.setattr(run_records.time, "time", lambda: NOW)
    assert RunRecord.new([], 3).model_dump() == {
        "format": 1, "host": "h" * 1000, "process": os.getpid(), "workers": 3, "started": NOW, "written": NOW,
        "ended": None, "cells": [],
    }  # fmt: skip


def test_a_cell_waits_costs_one_and_has_done_nothing_unless_it_says_so():
    assert CellRecord(key=KEY, label="one").model_dump() == {
        "key": KEY,
        "label": "one",
        "state": State.WAITING,
        "cost": 1.0,
        "share": 0.0,
        "error": None,
    }
    assert (BEAT_SECONDS, SILENT_SECONDS, KEPT) == (10.0, 90.0, 20)


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"process": 0}, {"process": -1}),
        ({"process": 2**63 - 1}, {"process": 2**63}),
        ({"workers": 1}, {"workers": 0}),
        ({"workers": 100_000}, {"workers": 100_001}),
        ({"started": 0.0}, {"started": -1e-9}),
        ({"written": 1e12}, {"written": 1.1e12}),
        ({"host": "h" * 1000}, {"host": "h" * 1001}),
        ({"format": 1}, {"format": 2}),
    ],
)
def test_a_record_is_bounded_at_its_limits(allowed, refused):
    record(**allowed)
    with pytest.raises(ValidationError):
        record(**refused)


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"cost": 0.0}, {"cost": -1e-9}),
        ({"cost": 1e15}, {"cost": 1.1e15}),
        ({"share": 1.0}, {"share": 1.1}),
        ({"share": 0.0}, {"share": -0.1}),
        ({"key": "0" * 64}, {"key": "0" * 63}),
        ({"key": "f" * 64}, {"key": "G" * 64}),
        ({"error": "e" * 1000}, {"error": "e" * 1001}),
    ],
)
def test_a_cell_is_bounded_at_its_limits(allowed, refused):
    CellRecord(**{"key": KEY, "label": "one", **allowed})
    with pytest.raises(ValidationError):
        CellRecord(**{"key": KEY, "label": "one", **refused})


@pytest.mark.parametrize(("age", "alive"), [(SILENT_SECONDS - 1, True), (SILENT_SECONDS, False), (0.0, True)])
def test_a_run_of_another_machine_is_dead_from_just_so_many_silent_seconds_on(tmp_path, monkeypatch, age, alive):
    file = left(tmp_path, 1)
    os.utime(file, (NOW - age, NOW - age))
    monkeypatch.setattr(run_records.time, "time", lambda: NOW)
    assert [run.alive for run in found_runs(tmp_path)] == [alive]


def test_a_run_that_says_that_it_ended_is_over_though_its_lock_is_there(tmp_path):
    left(tmp_path, 1, ended=3.0)
    assert [(run.alive, run.record.ended) for run in found_runs(tmp_path)] == [(False, 3.0)]


def test_a_lock_that_is_no_regular_file_or_a_link_is_no_sign_of_life(tmp_path):
    file = left(tmp_path, 1)
    lock = file.with_suffix(".lock")
    lock.rename(tmp_path / "other")
    lock.symlink_to(tmp_path / "other")
    assert [run.alive for run in found_runs(tmp_path)] == [False]
    lock.unlink()
    os.mkfifo(lock)
    assert [run.alive for run in found_runs(tmp_path)] == [False]


def test_a_record_of_just_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path, monkeypatch):
    file = left(tmp_path, 1)
    monkeypatch.setattr(run_records, "_MAX_BYTES", file.stat().st_size)
    assert len(found_runs(tmp_path)) == 1
    monkeypatch.setattr(run_records, "_MAX_BYTES", file.stat().st_size - 1)
    assert found_runs(tmp_path) == []


def test_no_more_than_so_many_records_are_looked_at(tmp_path, monkeypatch):
    for number in range(5):
        left(tmp_path, number)
    monkeypatch.setattr(run_records, "_MAX_FILES", 3)
    assert len(found_runs(tmp_path)) == 3


def test_of_runs_that_are_over_the_newest_stay_whatever_their_names_and_others_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(run_records, "KEPT", 2)
    monkeypatch.setattr(run_records.time, "time", lambda: NOW)
    ages = {1: 500.0, 2: 200.0, 3: 400.0, 4: 300.0, 5: 1.0}  # the last one lives
    for number, age in ages.items():
        os.utime(left(tmp_path, number), (NOW - age, NOW - age))
    (tmp_path / FOLDER / "note.txt").write_text("mine")
    clear_old_runs(tmp_path)
    names = sorted(path.name.lstrip("0") for path in (tmp_path / FOLDER).iterdir())
    assert names == ["2.json", "2.lock", "4.json", "4.lock", "5.json", "5.lock", "note.txt"]


def test_a_place_keeps_a_short_record_under_a_fresh_name_and_its_lock_goes_with_it(tmp_path):
    first, second = Place(tmp_path), Place(tmp_path)
    first.write(record())
    second.write(record(ended=3.0))
    files = sorted((tmp_path / FOLDER).glob("*.json"))
    contents = sorted((json.loads(file.read_text()) for file in files), key=len)
    assert contents[0] == {
        "host": "here",
        "process": 7,
        "workers": 2,
        "started": 1.0,
        "written": 2.0,
        "cells": [{"key": KEY, "label": "one"}],
    }
    assert contents[1] == {**contents[0], "ended": 3.0}
    first.close()
    assert len(list((tmp_path / FOLDER).glob("*.lock"))) == 1
    second.close()
    assert list((tmp_path / FOLDER).glob("*.lock")) == []


def test_what_is_stored_is_done_and_all_else_stays_as_it_was():
    cells = [CellRecord(key=digit * 64, label=digit, state=State.FAILED, error="why", cost=3.0) for digit in "ab"]
    done, other = settled(cells, ["a" * 64, "c" * 64])
    assert (done.state, done.cost, done.label) == (State.DONE, 3.0, "a")
    assert other == cells[1]


def test_the_share_that_is_done_weighs_cells_by_their_cost():
    cells = [
        CellRecord(key=KEY, label="", state=State.DONE, cost=1.0, share=0.5),
        CellRecord(key=KEY, label="", state=State.FAILED, cost=2.0),
        CellRecord(key=KEY, label="", state=State.RUNNING, cost=4.0, share=0.25),
        CellRecord(key=KEY, label="", state=State.WAITING, cost=9.0, share=0.5),
    ]
    assert share_done(cells) == (1.0 + 2.0 + 4.0 * 0.25) / 16.0
    assert share_done(cells[3:]) == 0.0
    assert share_done([]) == share_done([CellRecord(key=KEY, label="", cost=0.0)]) == 1.0
