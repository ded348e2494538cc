"""How much memory a plan announces: what a process holds before it computes, and its images, once a process."""

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
