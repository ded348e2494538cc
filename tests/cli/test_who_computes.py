"""Who computes: how many processes, on which device, and by which engine."""

from types import SimpleNamespace

import pytest

from bench.cli import computing
from bench.cli.computing import WORKERS, chosen_hands
from bench.cli.request import EngineName, Hands
from bench.errors import UsageError

RAY = EngineName.RAY


@pytest.fixture
def warmed(monkeypatch):
    """Three cores, no GPU that `auto` finds; hears whether processes are started ahead."""
    heard = []
    monkeypatch.setattr("bench.cli.computing.default_workers", lambda: 3)
    monkeypatch.setattr("bench.cli.computing.warm_up", lambda: heard.append(True))
    monkeypatch.setattr("bench.cli.devices.resolve_device", lambda name: "cpu" if name == "auto" else name)
    monkeypatch.delenv(WORKERS, raising=False)
    return heard


@pytest.mark.parametrize(
    ("hands", "environment", "device", "chosen", "ahead"),
    [
        (Hands(), "", "cpu", ("cpu", 3), True),
        (Hands(), "", "auto", ("cpu", 3), True),
        (Hands(), "", "cuda", ("cuda", 1), False),
        (Hands(), "2", "cuda", ("cuda", 1), True),
        (Hands(4), "", "cuda", ("cuda", 4), True),
        (Hands(1), "5", "cpu", ("cpu", 1), False),
        (Hands(), "2", "auto", ("cpu", 2), True),
        (Hands(), "1", "cpu", ("cpu", 1), False),
        (Hands(engine=RAY), "", "auto", ("cpu", 3), False),
        (Hands(2, engine=RAY), "", "cuda:1", ("cuda:1", 2), False),
        (Hands(engine=RAY), "", "cuda", ("cuda", 1), False),
    ],
)
def test_the_device_and_the_number_of_processes_follow_from_what_was_said(
    warmed, monkeypatch, hands, environment, device, chosen, ahead
):
    monkeypatch.setenv(WORKERS, environment)
    assert chosen_hands(hands, device) == chosen
    assert warmed == []
    assert chosen_hands(hands, device, soon=True) == chosen
    assert bool(warmed) is ahead


@pytest.mark.parametrize("given", ["0", "1025", "two", "-1"])
def test_a_number_of_processes_of_the_environment_that_is_none_is_refused(warmed, monkeypatch, given):
    monkeypatch.setenv(WORKERS, given)
    with pytest.raises(UsageError, match=f"ROBUSTOOD_WORKERS is '{given}'"):
        chosen_hands(Hands(), "cpu")


def test_1024_processes_may_be_asked_for(warmed, monkeypatch):
    monkeypatch.setenv(WORKERS, "1024")
    assert chosen_hands(Hands(), "cpu") == ("cpu", 1024)


@pytest.mark.parametrize(
    ("hands", "chosen", "by"),
    [
        (Hands(), ("cpu", 1), ("here",)),
        (Hands(), ("cpu", 2), ("local", 2)),
        (Hands(engine=RAY), ("cpu", 1), ("ray", None, None, 0.0)),
        (Hands(3, RAY, "auto"), ("cuda:1", 3), ("ray", 3, "auto", 1.0)),
        (Hands(3, RAY, "auto", 0.25), ("cuda", 3), ("ray", 3, "auto", 0.25)),
    ],
)
def test_one_process_computes_here_and_others_by_the_engine_that_was_named(monkeypatch, tmp_path, hands, chosen, by):
    setups = []

    def local(setup, count):
        setups.append(setup)
        return ("local", count)

    def on_ray(setup, count, *, address, gpus):
        setups.append(setup)
        return ("ray", count, address, gpus)

    heard = []

    def here(*words, **named):
        heard.append((named["progress"], named["fitting"]))
        return iter(["here"])

    def elsewhere(planned, store, begin, **named):
        heard.append((named["progress"], named["fitting"]))
        return iter(begin())

    monkeypatch.setattr("bench.cli.computing.run_plan", here)
    monkeypatch.setattr("bench.cli.computing.run_on", elsewhere)
    monkeypatch.setattr("bench.cli.computing.LocalEngine", local)
    monkeypatch.setattr("bench.cli.computing.RayEngine", on_ray)
    cards = SimpleNamespace(workspace=tmp_path, builtin=tmp_path / "builtin")
    store = SimpleNamespace(root=tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    watch, fitting = object(), object()
    data = (tmp_path / "data").relative_to(tmp_path)
    found = computing._outcomes(cards, store, [], data, hands, chosen, watch, fitting)
    assert tuple(found) == by
    assert heard == [(watch, fitting)]
    for setup in setups:
        assert (setup.workspace, setup.builtin, setup.store) == (tmp_path, tmp_path / "builtin", tmp_path / "runs")
        assert (setup.data_dir, setup.device) == (tmp_path / "data", chosen[0])
