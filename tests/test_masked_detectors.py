"""The masked and sound detectors of the benchmark: what is known of them, and when one counts as flagged."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    """The script, with its detectors beside it."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("masked_detectors")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_every_detector_has_a_known_truth(benchmark):
    known = benchmark.truth()
    for name in benchmark.MASKED:
        assert known[name]["kind"] == "masked" and known[name]["printed"] - known[name]["true"] > 0.02
    for name in benchmark.SOUND:
        assert known[name]["kind"] == "sound" and abs(known[name]["printed"] - known[name]["true"]) < 0.01


def test_at_least_twenty_are_masked_and_fifteen_sound_and_none_is_both(benchmark):
    assert len(benchmark.MASKED) >= 20 and len(benchmark.SOUND) >= 15
    assert not set(benchmark.MASKED) & set(benchmark.SOUND)


def test_half_of_the_masked_ones_were_held_out(benchmark):
    groups = {name: set(some) for name, some in benchmark._groups().items()}
    assert groups["development"] | groups["held-out"] == groups["masked"]
    assert not groups["development"] & groups["held-out"]
    assert abs(len(groups["development"]) - len(groups["held-out"])) <= 1


@pytest.mark.parametrize(("failed", "stands", "flagged"), [([], True, False), (["D1"], True, True), ([], False, True)])
def test_a_detector_is_flagged_where_the_command_says_fail_or_too_high(benchmark, failed, stands, flagged):
    assert benchmark.is_flagged({"failed": failed, "said": {"D3": "an error"}, "stands": stands}) is flagged


def test_a_detector_is_flagged_where_a_check_says_that_the_figure_cannot_be_relied_on(benchmark):
    said = {"D15": "it jumps, and its figure cannot be relied on alone."}
    assert benchmark.is_flagged({"failed": [], "said": said, "stands": True})


def test_the_excess_is_told_against_the_truth(benchmark):
    name = next(iter(benchmark.MASKED))
    known = benchmark.truth()[name]
    assert benchmark.too_high(name) == pytest.approx(known["printed"] - known["true"])
