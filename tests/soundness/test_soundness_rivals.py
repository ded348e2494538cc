"""Which undefended detector gives the images that are transferred: never the cell's own."""

from types import SimpleNamespace

import pytest

from bench.cards.threat import Goal
from bench.errors import UsageError
from bench.soundness import diagnose
from bench.soundness.diagnose import ELSEWHERE, _elsewhere


class Cards:
    """A catalog with settings for some detectors alone."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def detector_spec(self, name, track):
        if name not in self.known:
            raise UsageError(f"no {name}")
        return name


@pytest.mark.parametrize(
    ("own", "known", "goal", "expected"),
    [
        ("gat", ELSEWHERE, None, ELSEWHERE[0]),
        (ELSEWHERE[0], ELSEWHERE, None, ELSEWHERE[1]),
        (ELSEWHERE[1], ELSEWHERE, None, ELSEWHERE[0]),
        ("gat", ELSEWHERE[1:], None, ELSEWHERE[1]),
        (ELSEWHERE[1], ELSEWHERE[1:], None, None),
        ("gat", (), None, None),
        ("gat", ELSEWHERE, Goal.MISCLASSIFY, ELSEWHERE[0]),
        ("gat", ELSEWHERE, Goal.ACCEPT, None),  # by whose thresholds?
    ],
)
def test_the_first_that_can_be_loaded_and_is_another_is_taken(monkeypatch, own, known, goal, expected):
    monkeypatch.setattr(diagnose, "load_detector", lambda spec, *rest: f"detector {spec}")
    planned = SimpleNamespace(
        detector=SimpleNamespace(name=own), track=SimpleNamespace(name="digits"), ingredients=SimpleNamespace(goal=goal)
    )
    found = _elsewhere(planned, Cards(*known), "cpu")
    assert (found and found[0]) == expected
    if found is not None:
        assert found[1]() == f"detector {expected}"
