"""What an attack is held against: a black box in its norm, and an undefended detector that is never the cell's own."""

from types import SimpleNamespace

import pytest

from bench.cards.catalog import Catalog
from bench.cards.threat import Goal
from bench.errors import UsageError
from bench.evaluation.plan import plan
from bench.soundness import diagnose
from bench.soundness.diagnose import ELSEWHERE, _black_box, _elsewhere


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


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_black_box_beside_an_attack_has_its_norm(norm):
    (*_, planned) = plan(Catalog(None), ["energy"], [f"pgd-{norm}"], "0.5", ["digits"], limit=10)
    workbench = SimpleNamespace(threat=lambda asked: asked)
    assert _black_box(planned, workbench, Catalog(None))[0] == f"square-{norm}"
