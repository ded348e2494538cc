"""What a worker does with a unit, in this process: engines run it in processes of their own, where no test looks."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.engines.base import Failure, Setup, Unit
from bench.engines.worker import Worker
from bench.errors import CellError
from bench.evaluation.planned import Part
from bench.evaluation.store import MemoryStore, Store
from bench.evaluation.workbench import Workbench


@pytest.fixture
def worker(catalog, tmp_path):
    return Worker(Setup(catalog.workspace, catalog.builtin, tmp_path / "runs"), fitting=lambda *words: None)


def test_shares_of_a_cell_are_attacked_packed_and_put_together_again(worker, planned, catalog, tmp_path):
    clean, cell = planned("net", "pgd", "0.3", micro_batch=8)
    heard = []
    assert worker.do(Unit(clean), lambda *words: heard.append(words)) == clean.key
    shares = [worker.do(Unit(cell, Part(k, 2)), lambda *words: heard.append(words)) for k in (0, 1)]
    assert all(isinstance(share, bytes) for share in shares)
    assert worker.do(Unit(cell, None, tuple(shares)), lambda *words: heard.append(words)) == cell.key
    assert heard and all(0.0 <= share <= 1.0 for share, _ in heard)
    alone = MemoryStore()
    bench = Workbench(catalog, alone, device="cpu", data_dir=None)
    for each in (clean, cell):
        bench.compute(each, lambda *words: None)
    stored, own = (store.get(cell.key).samples for store in (Store(tmp_path / "runs"), alone))
    assert np.array_equal(stored["score"], own["score"])


def test_a_cell_that_fails_is_told_with_its_reason(worker, planned):
    clean, _ = planned("nan", "pgd", "0.3")
    failure = worker.do(Unit(clean), lambda *words: None)
    assert isinstance(failure, Failure) and "not finite" in failure.text


def test_what_failed_in_another_worker_is_not_tried_again_by_a_worst_case(worker, planned, tmp_path):
    clean, cell = planned("labelled", "worst", "0.6", overrides=None)
    other = Failure(CellError, "it was told of before.")
    assert worker.do(Unit(clean), lambda *words: None) == clean.key
    key = worker.do(Unit(cell, failed=((cell.needs[0].key, other),)), lambda *words: None)
    assert key != cell.key  # of fewer parts than were asked for
    lacking = Store(tmp_path / "runs").get(key).meta.failed_needs
    assert lacking == {cell.needs[0].threat.name: "it was told of before."}


def test_a_mistake_of_code_of_others_is_a_failure_of_its_cell_alone(worker, planned):
    clean, cell = planned("net", "rogue-raise", "0.4")
    assert worker.do(Unit(clean), lambda *words: None) == clean.key
    found = worker.do(Unit(cell), lambda *words: None)
    assert isinstance(found, Failure) and "RuntimeError" in found.text and "the rogue went home" in found.text


def test_such_a_mistake_is_shown_where_that_is_asked_for_and_is_still_one_cells(worker, planned, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_DEBUG", "1")
    clean, cell = planned("net", "rogue-raise", "0.4")
    worker.do(Unit(clean), lambda *words: None)
    assert isinstance(worker.do(Unit(cell), lambda *words: None), Failure)
    assert "Traceback" in capsys.readouterr().err


def test_an_actor_says_last_what_its_worker_said_and_nothing_of_an_earlier_unit(monkeypatch):
    on_ray = pytest.importorskip("bench.engines.on_ray")

    class Told:
        def __init__(self, setup, fitting):
            fitting(1, 2, "a fit")

        def do(self, unit, watch):
            if unit == "loud":
                watch(0.5, 0.75)
            return f"{unit} done"

    monkeypatch.setattr("bench.engines.worker.Worker", Told)
    actor = on_ray._Actor(SimpleNamespace(), [])
    assert actor.said() == (1, 2, "a fit")
    assert (actor.do("loud"), actor.said()) == ("loud done", (0.5, 0.75))
    assert (actor.do("quiet"), actor.said()) == ("quiet done", ())
