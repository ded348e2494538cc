"""Several processes give the same bits as one, whatever becomes of them."""

import os
import random
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny_workspace import MANY

from bench.cards.catalog import Catalog
from bench.engines import local
from bench.engines.base import Setup
from bench.engines.local import LocalEngine, default_workers, usable_cores
from bench.engines.run import run_on
from bench.evaluation.engine import CellDone, CellFailure, run_plan
from bench.evaluation.plan import plan as plan_of
from bench.evaluation.spending import Evidence
from bench.evaluation.store import MemoryStore, Store, StoreError


@pytest.fixture
def on_workers(catalog, tmp_path):
    """Runs cells in several processes; gives outcomes and the store."""

    def run(plan, count=2, during=None, name="runs"):
        store = Store(tmp_path / name)
        setup = Setup(catalog.workspace, catalog.builtin, store.root)
        started = []

        def begin():
            started.append(LocalEngine(setup, count))
            if during is not None:
                threading.Thread(target=during, args=(started[0],), daemon=True).start()
            return started[0]

        return list(run_on(plan, store, begin)), store

    return run


def in_one(plan, catalog):
    store = MemoryStore()
    return list(run_plan(plan, store, catalog)), store


def without_seconds(cell):
    return cell.meta.model_copy(update={"seconds": 0.0})


def assert_same_cells(outcomes, store, expected, kept):
    assert [type(one) for one in outcomes] == [type(one) for one in expected]
    for here, there in zip(outcomes, expected, strict=True):
        assert here.planned.key == there.planned.key
        if isinstance(here, CellFailure):
            assert (type(here.error), str(here.error)) == (type(there.error), str(there.error))
            continue
        one, other = store.get(here.meta.key), kept.get(there.meta.key)
        pd.testing.assert_frame_equal(one.samples, other.samples, check_exact=True)
        assert one.arrays.keys() == other.arrays.keys()
        for name, values in one.arrays.items():
            np.testing.assert_array_equal(values, other.arrays[name], err_msg=name)
        assert without_seconds(one) == without_seconds(other).model_copy(
            update={"samples_sha256": one.meta.samples_sha256, "arrays_sha256": one.meta.arrays_sha256}
        )


GRID = ["net", "random", "nan", "misrecorded"], ["pgd", "noise"], "0.3"


def test_a_grid_on_two_processes_has_the_bits_and_the_failures_of_one(planned, catalog, on_workers):
    plan = [*planned(*GRID, micro_batch=8), *planned("labelled", ["transferred", "worst"], None, micro_batch=8)]
    outcomes, store = on_workers(plan)
    assert_same_cells(outcomes, store, *in_one(plan, catalog))
    assert any(isinstance(one, CellFailure) for one in outcomes)


@pytest.mark.parametrize("side", ["evade", "alarm", "both"])
def test_one_cell_cut_by_its_images_has_the_bits_of_one_process(planned, catalog, on_workers, side):
    plan = planned("labelled", "fooling", "0.3", side=side, micro_batch=8)
    outcomes, store = on_workers(plan, 3)
    assert_same_cells(outcomes, store, *in_one(plan, catalog))


@pytest.mark.parametrize("tolerance", [0.1, 1e-12])
def test_one_cell_with_an_audit_has_the_bits_of_one_process(write_world, on_workers, tolerance):
    catalog, evidence = Catalog(write_world(**MANY)), Evidence(tolerance)
    plan = plan_of(catalog, ["labelled"], ["costly"], None, ["tiny"], micro_batch=8, evidence=evidence)
    outcomes, store = on_workers(plan, 3)
    assert_same_cells(outcomes, store, *in_one(plan, catalog))
    assert outcomes[-1].meta.evidence is not None


def test_nested_radii_have_the_bits_of_one_process_also_where_workers_die(write_world, on_workers):
    catalog, evidence, kills = Catalog(write_world(**MANY)), Evidence(0.1), []
    plan = plan_of(
        catalog, ["labelled"], ["costly"], "0.1,0.3,0.6", ["tiny"], micro_batch=8, evidence=evidence, nested=True
    )

    def kill(engine):
        while len(kills) < 4:
            time.sleep(0.3)
            victim = engine._workers[len(kills) % 2].process
            if victim.is_alive() and victim.pid:
                os.kill(victim.pid, signal.SIGKILL)
                kills.append(victim.pid)

    on_workers(plan, 2, during=kill)
    again, store = on_workers(plan, 2)
    assert_same_cells(again, store, *in_one(plan, catalog))


def test_workers_that_are_killed_lose_nothing_and_change_no_bit(planned, catalog, on_workers):
    plan = planned(["net", "labelled"], ["pgd", "fgm", "noise", "mirror"], None, micro_batch=8)
    chance, kills = random.Random(0), []

    def kill(engine):
        while len(kills) < 20:
            time.sleep(chance.uniform(0.02, 0.4))
            victim = chance.choice(engine._workers).process
            if victim.is_alive() and victim.pid:
                os.kill(victim.pid, signal.SIGKILL)
                kills.append(victim.pid)

    outcomes, store = on_workers(plan, 2, during=kill)
    expected, kept = in_one(plan, catalog)
    given_up = [one for one in outcomes if isinstance(one, CellFailure)]
    assert all("3 workers died over it" in str(one.error) for one in given_up)
    again, _ = on_workers(plan)  # what was given up is tried again, and the rest is there
    assert_same_cells(again, store, expected, kept)
    assert all(one.from_store for one, before in zip(again, outcomes, strict=True) if isinstance(before, CellDone))


def test_a_second_run_finds_everything_and_starts_no_process(planned, on_workers):
    plan = planned("net", "pgd", "0.3")
    on_workers(plan)
    outcomes, _ = on_workers(plan, during=lambda engine: pytest.fail("processes were started"))
    assert all(one.from_store for one in outcomes)


def test_progress_of_several_cells_is_heard(planned, catalog, tmp_path):
    heard = []
    store = Store(tmp_path / "runs")
    plan = planned(["net", "labelled"], "pgd", "0.3")
    setup = Setup(catalog.workspace, catalog.builtin, store.root)

    def hear(cell, share, auroc):
        heard.append((cell.key, share))

    list(run_on(plan, store, lambda: LocalEngine(setup, 2), progress=hear))
    assert {key for key, _ in heard} == {cell.key for cell in plan}
    assert all(0 <= share <= 1 for _, share in heard)


def test_no_process_is_left_when_a_run_is_broken_off(planned, catalog, tmp_path):
    store = Store(tmp_path / "runs")
    setup = Setup(catalog.workspace, catalog.builtin, store.root)
    engines = []

    def begin():
        engines.append(LocalEngine(setup, 2))
        return engines[0]

    outcomes = run_on(planned("net", "pgd", ["0.3", "0.6"]), store, begin)
    next(outcomes)
    outcomes.close()
    assert not any(one.process.is_alive() for one in engines[0]._workers)


def test_there_are_no_more_workers_than_cores_and_at_least_one():
    assert 1 <= default_workers() <= usable_cores() <= (os.cpu_count() or 1)


def test_the_memory_that_is_there_bounds_the_workers(monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: 64)
    for room, expected in ((None, 64), (2**40, 64), (3 * 2**30, 2), (2**20, 1)):
        monkeypatch.setattr(local, "available_memory", lambda room=room: room)
        assert default_workers() == expected


def test_a_process_that_outlives_its_run_ends_by_itself(planned, catalog, tmp_path):
    setup = Setup(catalog.workspace, catalog.builtin, tmp_path / "runs")
    engine = LocalEngine(setup, 1)
    one = engine._workers[0]
    one.pipe.close()  # what the end of the run's process does, however it ends
    one.process.join(60)
    assert one.process.exitcode == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, "by SIGKILL"), (3, "with exit code 3"), (0, "with exit code 0"), (None, "with exit code None")],
)
def test_how_a_worker_ended_is_said_by_its_signal_or_code(code, said, monkeypatch):
    closed, waited = [], []
    process = SimpleNamespace(exitcode=code, join=waited.append)
    engine = object.__new__(LocalEngine)
    engine._setup = None
    engine._workers = ["first", local._Process(process, SimpleNamespace(close=lambda: closed.append(True)))]
    monkeypatch.setattr(engine, "_start", lambda setup: "fresh", raising=False)
    assert engine._replace(1) == said
    assert engine._workers == ["first", "fresh"]
    assert (closed, waited) == ([True], [5])


def test_nothing_is_begun_where_nothing_can_be_stored(planned, tmp_path, monkeypatch):
    store, begun = Store(tmp_path / "runs"), []

    def refuse():
        raise StoreError("no room")

    monkeypatch.setattr(store, "check_writable", refuse)
    with pytest.raises(StoreError, match="no room"):
        list(run_on(planned("net", "pgd", "0.3"), store, lambda: begun.append(True)))
    assert begun == []
