"""Workers on a Ray cluster that share no folder with the run put their cells where the run finds them: at the URL."""

from uuid import uuid4

import pandas as pd
import pytest

from bench.engines.base import Setup
from bench.engines.run import run_on
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.mirror import published
from bench.evaluation.remote_store import written_store
from bench.evaluation.store import MemoryStore
from bench.evaluation.store_places import store_place

ray = pytest.importorskip("ray")

from bench.engines.on_ray import RayEngine  # noqa: E402 - where there is Ray


def test_workers_without_a_shared_folder_publish_the_bits_of_one_process(s3, planned, catalog, tmp_path, monkeypatch):
    url = f"{s3}/{uuid4().hex}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "workers"))  # those of the cluster have it from here on
    ray.shutdown()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "run"))
        plan = planned("net", ["pgd", "noise"], "0.3", micro_batch=8)
        with written_store(store_place(url), said=pytest.fail) as store:
            setup = Setup(catalog.workspace, catalog.builtin, tmp_path / "none", url=url, store_id=store.id)
            outcomes = list(run_on(plan, store, lambda: RayEngine(setup, 2)))
            keys = published(store.objects)
        memory = MemoryStore()
        for here, there in zip(outcomes, run_plan(plan, memory, catalog), strict=True):
            assert isinstance(here, CellDone), here.sentence
            cells = store.get(here.meta.key), memory.get(there.meta.key)
            pd.testing.assert_frame_equal(*(cell.samples for cell in cells), check_exact=True)
    finally:
        ray.shutdown()
    assert sorted(keys) == sorted(one.meta.key for one in outcomes)
    assert not (tmp_path / "none").exists()
    workers = {path.parent.name for path in (tmp_path / "workers").rglob("cell.json")}
    assert workers == set(keys)
