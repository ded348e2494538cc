"""A Ray cluster gives the same bits as one process, also where its workers die."""

import os
import signal
import threading
import time

import pandas as pd
import pytest

from bench.engines.base import Setup
from bench.engines.run import run_on
from bench.errors import UsageError
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.store import MemoryStore, Store

ray = pytest.importorskip("ray")

from bench.engines.on_ray import RayEngine  # noqa: E402 - where there is Ray


@pytest.fixture(scope="module")
def cluster():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def frames(outcomes, store):
    assert all(isinstance(one, CellDone) for one in outcomes), outcomes
    return [store.get(one.meta.key).samples for one in outcomes]


def assert_as_in_one_process(outcomes, store, plan, catalog):
    memory = MemoryStore()
    for here, there in zip(frames(outcomes, store), frames(list(run_plan(plan, memory, catalog)), memory), strict=True):
        pd.testing.assert_frame_equal(here, there, check_exact=True)


@pytest.mark.parametrize("count", [1, 2])
def test_a_grid_on_ray_has_the_bits_of_one_process(cluster, planned, catalog, tmp_path, count):
    store = Store(tmp_path / "runs")
    plan = planned(["net", "labelled"], ["pgd", "noise"], "0.3", micro_batch=8)
    setup = Setup(catalog.workspace, catalog.builtin, store.root)
    outcomes = list(run_on(plan, store, lambda: RayEngine(setup, count)))
    assert_as_in_one_process(outcomes, store, plan, catalog)


def test_an_actor_that_dies_is_replaced_and_nothing_is_lost(cluster, planned, catalog, tmp_path):
    store, killed = Store(tmp_path / "runs"), []
    plan = planned(["net", "labelled"], ["pgd", "noise", "mirror"], None, micro_batch=8)
    setup = Setup(catalog.workspace, catalog.builtin, store.root)

    def begin():
        engine = RayEngine(setup, 2)

        def kill():
            for number in (0, 1):
                pid = ray.get(engine._actors[number].pid.remote())
                time.sleep(0.3)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        threading.Thread(target=kill, daemon=True).start()
        return engine

    outcomes = list(run_on(plan, store, begin))
    assert len(killed) == 2
    assert_as_in_one_process(outcomes, store, plan, catalog)


def test_a_cluster_that_is_not_there_is_told_in_a_sentence(tmp_path):
    ray.shutdown()
    setup = Setup(None, tmp_path, tmp_path)
    with pytest.raises(UsageError, match=r"no Ray cluster at '127\.0\.0\.1:1'.*leave --address out"):
        RayEngine(setup, 1, address="127.0.0.1:1")
