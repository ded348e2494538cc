"""Every command that loads a detector puts it on the device that is asked for, whatever is computed first or last."""

import json

import pytest
from row_world import bench, verify
from test_beaten_rows import beat, stronger  # noqa: F401

from bench.cards.catalog import Catalog
from bench.cli import devices
from bench.engines import forecast
from bench.evaluation import workbench
from bench.leaderboards import rescore
from bench.leaderboards.verify import Level
from bench.leaderboards.verify import verify as verified
from bench.soundness import diagnose

ASKED, HERE = "cuda:0", "cpu:0"
"""A name that the command line takes, and what it stands for here: the processor, by a name that is no default."""


@pytest.fixture
def used(monkeypatch):
    """Where each detector was put that was loaded, by the module that loaded it."""
    found = []

    def watched(module):
        own = module.load_detector

        def load(spec, track, catalog, device="the default", **more):
            found.append((module.__name__.rpartition(".")[2], device))
            return own(spec, track, catalog, *([] if device == "the default" else [device]), **more)

        monkeypatch.setattr(module, "load_detector", load)

    for module in (workbench, forecast, diagnose, rescore):
        watched(module)
    monkeypatch.setattr(devices, "resolve_device", {ASKED: HERE}.__getitem__)
    return found


def attack(world, command, *more):
    """A short attack by a command of the family of `bench run`."""
    return bench(
        command, "--workspace", world, "--track", "small", "--detector", "bent", "--threat", "climb-l2",
        "--eps", "l2:0.3", "--steps", 3, "--restarts", 1, "--out", world / "other", "--device", ASKED, *more,
    )  # fmt: skip


def test_runs_and_their_forecasts(world, used):
    for command, more in (("plan", ()), ("run", ("-q",))):
        result = attack(world, command, *more)
        assert result.exit_code == 0, result.stderr
    assert set(used) == {("forecast", HERE), ("workbench", HERE)}


def test_the_evidence_beside_a_run_and_on_its_own(world, used):
    another = json.loads((world / "detectors/bent.yaml").read_text())
    name = diagnose.ELSEWHERE[0]
    (world / f"detectors/{name}.yaml").write_text(json.dumps({**another, "name": name}))
    for command, more in (("diagnose", ("-q",)), ("run", ("-q", "--diagnose", "--seed", 1))):
        used.clear()
        assert attack(world, command, *more).exit_code in (0, 1)
        assert {device for _, device in used} == {HERE}
        assert ("diagnose", HERE) in used or command == "run"  # which makes the cheap checks alone


def test_cells_of_a_baseline(world, used):
    assert bench("baseline", world / "runs", "--to", world / "b.json", "--workspace", world).exit_code == 0
    result = bench(
        "check", "--baseline", world / "b.json", "--out", world / "now", "--workspace", world, "--device", ASKED, "-q"
    )
    assert result.exit_code == 0, result.output
    assert set(used) == {("workbench", HERE)}


def test_rows_their_fresh_attacks_and_the_images_that_beat_them(world, row_path, stronger, used):  # noqa: F811
    used.clear()
    result = beat(world, stronger[0], row_path, "--device", ASKED)
    assert result.exit_code == 0, result.output
    assert used == [("rescore", HERE)]
    used.clear()
    found = verified(row_path, Level.REATTACKED, Catalog(world), device=HERE, seeds=(1, 2, 3))
    assert not found.problems
    assert found.reached is Level.REATTACKED
    assert used[:1] == [("rescore", HERE)]
    assert set(used[1:]) == {("workbench", HERE)}
    used.clear()
    verify(world, row_path, "re-scored", "--device", ASKED)
    assert set(used) == {("rescore", HERE), ("workbench", HERE)}
