"""How many processes there is room for, what their server begins with, and what a worker's words mean."""

import signal
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.engines import local
from bench.engines.base import Failure, Finished, Fitting, Setup, Watched
from bench.errors import CellError


@pytest.fixture
def machine(monkeypatch):
    """A machine of eight cores whose files of the system are these."""

    def has(**files):
        names = {
            "cpu": "/sys/fs/cgroup/cpu.max",
            "limit": "/sys/fs/cgroup/memory.max",
            "used": "/sys/fs/cgroup/memory.current",
            "info": "/proc/meminfo",
        }
        content = {names[name]: text for name, text in files.items()}

        def read(path):
            if str(path) not in content:
                raise FileNotFoundError(path)
            return content[str(path)]

        monkeypatch.setattr(Path, "read_text", read)

    monkeypatch.setattr("os.sched_getaffinity", lambda number: set(range(8)), raising=False)
    return has


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("300000 100000", 3), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 8), ("", 8)],
)
def test_as_many_cores_are_used_as_the_container_allows(machine, quota, cores):
    machine(cpu=quota)
    assert local.usable_cores() == cores


def test_without_a_container_all_cores_are_used(machine):
    machine()
    assert local.usable_cores() == 8


INFO = "MemTotal:  16000 kB\nMemAvailable:   8000 kB\n"


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({"info": INFO}, 8000 * 1024),
        ({"info": INFO, "limit": "max\n", "used": "5\n"}, 8000 * 1024),
        ({"info": INFO, "limit": "5000000\n", "used": "1000000\n"}, 4_000_000),
        ({"limit": "5000000\n", "used": "1000000\n"}, 4_000_000),
        ({"info": "MemTotal: 5 kB\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_that_is_there_is_the_least_of_what_the_machine_and_the_container_leave(machine, files, there):
    machine(**files)
    assert local.available_memory() == there


def test_there_is_a_process_a_core_and_no_more_than_memory_has_room_for(machine, monkeypatch):
    machine()
    assert local.default_workers() == 8
    for room, workers in ((2.9, 2), (100.0, 8), (0.5, 1)):
        monkeypatch.setattr(local, "available_memory", lambda room=room: room * local._MEMORY_OF_A_WORKER)
        assert local.default_workers() == workers


def test_the_server_of_processes_begins_while_interruptions_are_ignored(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "multiprocessing.forkserver.ensure_running", lambda: seen.append(signal.getsignal(signal.SIGINT))
    )
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(local, "_context", lambda: SimpleNamespace(get_start_method=lambda: "spawn"))
    local.warm_up()
    assert seen == []
    monkeypatch.setattr(local, "_context", lambda: SimpleNamespace(get_start_method=lambda: "forkserver"))
    local.warm_up()
    assert seen == [signal.SIG_IGN] and signal.getsignal(signal.SIGINT) is before


def test_words_of_a_worker_are_told_apart_by_how_many_there_are():
    failure = Failure(CellError, "no.")
    assert local._event(1, (0.5, None)) == Watched(1, 0.5, None)
    assert local._event(2, (3, 9, "features")) == Fitting(2, 3, 9, "features")
    assert local._event(0, "key") == Finished(0, "key")
    assert local._event(0, failure) == Finished(0, failure)


def test_a_worker_does_units_until_the_pipe_is_closed_and_says_little_meanwhile(monkeypatch, tmp_path):
    class Worker:
        def __init__(self, setup, fitting):
            assert setup.store == tmp_path
            fitting(1, 2, "a fit")

        def do(self, unit, watch):
            watch(0.5, 0.75)  # at once after another word: nobody could read it
            return f"{unit} done"

    handlers = []
    monkeypatch.setattr("bench.engines.worker.Worker", Worker)
    monkeypatch.setattr(signal, "signal", lambda *words: handlers.append(words))
    mine, theirs = Pipe()
    for unit in ("one", "two"):
        mine.send(unit)
    said = []
    monkeypatch.setattr(local, "_BETWEEN_WORDS", 3600.0)
    monkeypatch.setattr(local.time, "monotonic", lambda: 7200.0)

    class Closing:
        """The worker's end, which is closed after two units."""

        def __init__(self):
            self.left = 2

        def recv(self):
            if not self.left:
                raise EOFError
            self.left -= 1
            return theirs.recv()

        def send(self, words):
            said.append(words)

    local._serve(Closing(), Setup(None, tmp_path, tmp_path))
    assert said == [(1, 2, "a fit"), "one done", "two done"]
    assert (signal.SIGINT, signal.SIG_IGN) in handlers and (signal.SIGTERM, signal.SIG_DFL) in handlers
