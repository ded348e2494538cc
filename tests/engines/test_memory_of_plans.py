"""How much memory a plan announces: what a process holds before it computes, and its images, once a process."""

import torch

from bench.engines import forecast as forecasts
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
