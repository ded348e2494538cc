"""What the engine asks of Ray, and what it makes of the answers: held with a stand-in, also where Ray is not there."""

import socket
import sys
from types import ModuleType, SimpleNamespace

import pytest

from bench.engines import on_ray
from bench.engines.base import Finished, Fitting, Lost, Watched
from bench.engines.on_ray import RayEngine
from bench.errors import UsageError


class ActorDied(Exception):
    """As Ray says it."""


class Reference:
    """What a remote call gives back: the answer, or the error that it ends with."""

    def __init__(self, answer):
        self.answer = answer


class FakeRay(ModuleType):
    """One machine on which everything is done at once, or not at all where it is told so."""

    def __init__(self, resources, running):
        super().__init__("ray")
        self.exceptions = ModuleType("ray.exceptions")
        self.exceptions.RayActorError = ActorDied
        self.resources, self.running = resources, running
        self.done, self.said, self.waits, self.killed, self.inits, self.made, self.downs = {}, {}, [], [], [], [], 0
        self.options = None

    def is_initialized(self):
        return self.running

    def init(self, **given):
        self.inits.append(given)

    def cluster_resources(self):
        return self.resources

    def remote(self, **options):
        self.options = options

        def made(kind):
            def start(setup, paths):
                number = len(self.made)
                self.made.append((kind, setup, paths))
                return SimpleNamespace(
                    number=number,
                    do=SimpleNamespace(remote=lambda unit: self.done.setdefault(number, Reference(unit))),
                    said=SimpleNamespace(remote=lambda: Reference(self.said.get(number, ()))),
                )

            return SimpleNamespace(remote=start)

        return made

    def wait(self, references, *, num_returns, timeout):
        self.waits.append((len(references), num_returns, timeout))
        finished = [each for each in references if not isinstance(each.answer, str) or each.answer != "pending"]
        return finished[:num_returns], []

    def get(self, reference):
        if isinstance(reference.answer, Exception):
            raise reference.answer
        return reference.answer

    def kill(self, actor):
        self.killed.append(actor.number)

    def shutdown(self):
        self.downs += 1


@pytest.fixture
def ray(monkeypatch):
    def put(resources=None, running=True):
        fake = FakeRay(resources if resources is not None else {"CPU": 4.0}, running)
        monkeypatch.setitem(sys.modules, "ray", fake)
        monkeypatch.setitem(sys.modules, "ray.exceptions", fake.exceptions)
        return fake

    return put


@pytest.mark.parametrize(
    ("resources", "gpus", "count"),
    [
        ({"CPU": 4.0}, 0.0, 4),
        ({"CPU": 4.0, "GPU": 2.0}, 0.0, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 0.5, 4),
        ({"CPU": 3.0, "GPU": 2.0}, 0.5, 3),
        ({"CPU": 8.0}, 0.5, 1),
        ({}, 0.0, 1),
        ({"CPU": 0.0}, 0.0, 1),
        ({"CPU": 8.0, "GPU": 1.0}, 0.4, 2),
    ],
)
def test_there_are_as_many_actors_as_the_cluster_has_room_for(ray, resources, gpus, count):
    fake = ray(resources)
    assert RayEngine("setup", None, gpus=gpus).count == len(fake.made) == count
    assert fake.options == {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": 2}
    assert fake.made[0] == (on_ray._Actor, "setup", sys.path)
    assert RayEngine("setup", 3, gpus=gpus).count == 3


def test_a_cluster_that_runs_is_joined_and_left_running(ray):
    fake = ray()
    engine = RayEngine("setup", 2)
    engine.close()
    assert (fake.inits, fake.killed, fake.downs) == ([], [0, 1], 0)


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        (None, {"address": "local", "log_to_driver": False, "include_dashboard": False}),
        ("auto", {"address": "auto", "log_to_driver": False}),
    ],
)
def test_a_cluster_is_begun_where_none_runs_and_ended_with_the_run(ray, address, asked):
    fake = ray(running=False)
    RayEngine("setup", 1, address=address).close()
    assert (fake.inits, fake.killed, fake.downs) == ([asked], [0], 1)


@pytest.mark.parametrize(
    "error", [OSError("no  way\nat all"), ValueError("no  way\nat all"), RuntimeError("no way at all")]
)
def test_a_cluster_that_cannot_be_had_is_one_sentence(ray, monkeypatch, error):
    fake = ray(running=False)

    def refuse(**given):
        raise error

    monkeypatch.setattr(fake, "init", refuse)
    for address, shown in ((None, "local"), ("auto", "auto")):
        with pytest.raises(UsageError) as said:
            RayEngine("setup", 1, address=address)
        assert str(said.value) == (
            f"there is no Ray cluster at '{shown}' (no way at all); start one with `ray start --head` and name its "
            "address, or leave --address out."
        )


def test_without_ray_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Ray is not installed; install it with"):
        RayEngine("setup", 1)


def test_what_is_done_is_told_once_with_the_worker_that_did_it(ray):
    fake = ray()
    engine = RayEngine("setup", 3)
    for worker in (2, 0):
        engine.give(worker, f"unit {worker}")
    assert list(engine.wait()) == [Finished(2, "unit 2")]
    assert list(engine.wait()) == [Finished(0, "unit 0")]
    assert fake.waits == [(2, 1, 1.0), (1, 1, 1.0)]
    assert engine._units == {}


def test_an_actor_that_is_gone_is_replaced_and_its_unit_lost(ray):
    fake = ray()
    engine = RayEngine("setup", 2)
    engine.give(1, ActorDied("killed\n by  SIGKILL" + " x" * 200))
    (lost,) = engine.wait()
    assert isinstance(lost, Lost) and lost.worker == 1
    assert lost.how.startswith("(killed by SIGKILL x x") and len(lost.how) == 162
    assert len(fake.made) == 3
    assert [actor.number for actor in engine._actors] == [0, 2]
    assert fake.made[2] == (on_ray._Actor, "setup", sys.path)


def test_an_error_without_words_has_the_name_of_its_class():
    assert on_ray._first_line(ActorDied()) == "ActorDied"
    assert on_ray._first_line(ActorDied("x" * 161)) == "x" * 160


def test_while_nothing_is_done_what_workers_say_is_told(ray):
    fake = ray()
    engine = RayEngine("setup", 4)
    for worker in range(4):
        engine.give(worker, "pending")
    fake.said = {0: (0.5, 0.9), 1: (3, 10, "fit"), 2: (), 3: ActorDied("gone")}
    assert list(engine.wait()) == [Watched(0, 0.5, 0.9), Fitting(1, 3, 10, "fit")]
    assert fake.waits == [(4, 1, 1.0), (4, 4, 1.0)]
    assert set(engine._units.values()) == {0, 1, 2, 3}
    fake.said = {0: ActorDied("gone"), 3: (1.0, None)}
    assert list(engine.wait()) == [Watched(3, 1.0, None)]


def test_an_address_is_tried_before_ray_is_only_where_it_has_host_and_port(monkeypatch):
    asked = []

    def connect(place, timeout):
        asked.append((place, timeout))
        return SimpleNamespace(close=lambda: asked.append("closed"))

    monkeypatch.setattr(socket, "create_connection", connect)
    for address in (None, "auto", "local", "ray://host:1", "host:port", ":6379", "host"):
        on_ray._check_reachable(address)
    assert asked == []
    on_ray._check_reachable("host:6379")
    on_ray._check_reachable("[::1]:6380")
    assert asked == [(("host", 6379), 5.0), "closed", (("::1", 6380), 5.0), "closed"]


def test_an_actor_keeps_what_was_said_last_of_the_unit_at_hand(monkeypatch, tmp_path):
    class Worker:
        def __init__(self, setup, fitting):
            self.setup, self.fitting = setup, fitting

        def do(self, unit, watch):
            assert actor.said() == ()
            self.fitting(1, 2, "fit")
            assert actor.said() == (1, 2, "fit")
            watch(0.5, None)
            return f"{self.setup} {unit}"

    monkeypatch.setattr("bench.engines.worker.Worker", Worker)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = list(sys.path)
    actor = on_ray._Actor("setup", [before[0], str(tmp_path)])
    assert sys.path == [*before, str(tmp_path)]
    assert actor.do("unit") == "setup unit"
    assert actor.said() == (0.5, None)
    actor._last = ("old",)
    actor.do("unit")
