"""What a plan announces: memory that a process holds before it computes, and its images; seconds of every batch."""

import torch

from bench.engines import forecast as forecasts
from bench.evaluation.pace import Pace
from bench.evaluation.store import Store


def test_each_process_takes_what_one_holds(planned, catalog, monkeypatch, tmp_path):
    monkeypatch.setattr(forecasts, "_resident", lambda: 1000)
    monkeypatch.setattr(forecasts, "_held", lambda costs, bench: 10 * len(costs))
    asked = planned("net", "pgd", "0.3")
    for workers, memory in ((1, 1020), (3, 3060)):
        found = forecasts.forecast(
            asked, Store(tmp_path / "runs"), catalog, device="cpu", data_dir=None, workers=workers, begun=5.0
        )
        assert (found.memory, found.workers, found.cells, found.stored) == (memory, workers, 2, 0)
        assert found.loading >= 5.0


def test_detectors_are_timed_with_the_threads_that_they_will_have_and_the_others_are_given_back(
    planned, catalog, monkeypatch, tmp_path
):
    seen = []
    cost = forecasts._cost
    monkeypatch.setattr(forecasts, "_cost", lambda *asked: seen.append(torch.get_num_threads()) or cost(*asked))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for workers in (1, 3):
            asked = planned("net", "pgd", "0.3")
            forecasts.forecast(asked, Store(tmp_path), catalog, device="cpu", data_dir=None, workers=workers)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 2, 1, 1]


def test_a_batch_that_is_not_full_takes_as_long_as_a_full_one(planned, catalog, monkeypatch, tmp_path):
    monkeypatch.setattr(forecasts._Clock, "pace", lambda *asked: Pace(query=1.0, gradient=100.0))
    found = forecasts.forecast(
        planned("net", "pgd", "0.3"), Store(tmp_path), catalog, device="cpu", data_dir=None, workers=1
    )
    clean, attack = found.costs
    every, attacked = 40 + 60 + 80, 80
    assert clean.queries == every and clean.seconds == -(-every // 32) * 2
    queries = attack.queries / attacked + 3  # afresh, of the last iterate, and the class
    assert attack.seconds == -(-attacked // 32) * (attack.gradients / attacked * 100 + queries)
