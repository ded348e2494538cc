"""Verdicts on claims: what holds, what fails, and what the error leaves open."""

import pytest
from pydantic import TypeAdapter

from bench.repro.claims import Claim, Measured, Verdict, difference

FIGURES = {
    ("a", "x"): Measured(0.9, 0.85, 0.95),
    ("b", "x"): Measured(0.6, 0.5, 0.7),
    ("c", "x"): Measured(0.56, 0.46, 0.66),
    ("d", "x"): Measured(0.1, 0.1, 0.1),
}


def verdict(**claim):
    return TypeAdapter(Claim).validate_python({"says": "so", **claim}).verdict(FIGURES.get)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"kind": "below", "figure": ("a", "x"), "value": 0.96}, Verdict.HOLDS),
        ({"kind": "below", "figure": ("a", "x"), "value": 0.94}, Verdict.OPEN),
        ({"kind": "below", "figure": ("a", "x"), "value": 0.84}, Verdict.FAILS),
        ({"kind": "above", "figure": ("a", "x"), "value": 0.84}, Verdict.HOLDS),
        ({"kind": "above", "figure": ("a", "x"), "value": 0.86}, Verdict.OPEN),
        ({"kind": "above", "figure": ("a", "x"), "value": 0.96}, Verdict.FAILS),
        ({"kind": "greater", "figure": ("a", "x"), "than": ("b", "x")}, Verdict.HOLDS),
        ({"kind": "greater", "figure": ("b", "x"), "than": ("c", "x")}, Verdict.OPEN),
        ({"kind": "greater", "figure": ("b", "x"), "than": ("a", "x")}, Verdict.FAILS),
        ({"kind": "greater", "figure": ("a", "x"), "than": ("b", "x"), "by": 0.2}, Verdict.OPEN),
        ({"kind": "near", "figure": ("a", "x"), "value": 0.9, "within": 0.06}, Verdict.HOLDS),
        ({"kind": "near", "figure": ("a", "x"), "value": 0.9, "within": 0.04}, Verdict.OPEN),
        ({"kind": "near", "figure": ("a", "x"), "value": 0.5, "within": 0.3}, Verdict.FAILS),
        ({"kind": "alike", "figures": [("b", "x"), ("c", "x")], "within": 0.05}, Verdict.HOLDS),
        ({"kind": "alike", "figures": [("b", "x"), ("c", "x")], "within": 0.03}, Verdict.OPEN),
        ({"kind": "alike", "figures": [("b", "x"), ("d", "x"), ("c", "x")], "within": 0.03}, Verdict.FAILS),
        ({"kind": "falls", "along": [("a", "x"), ("b", "x"), ("c", "x")]}, Verdict.HOLDS),
        ({"kind": "falls", "along": [("a", "x"), ("c", "x"), ("b", "x")]}, Verdict.HOLDS),
        ({"kind": "falls", "along": [("b", "x"), ("c", "x")]}, Verdict.OPEN),
        ({"kind": "falls", "along": [("b", "x"), ("a", "x"), ("d", "x")]}, Verdict.FAILS),
        ({"kind": "rises", "along": [("d", "x"), ("c", "x"), ("a", "x")]}, Verdict.HOLDS),
        ({"kind": "rises", "along": [("a", "x"), ("d", "x")]}, Verdict.FAILS),
        ({"kind": "below", "figure": ("z", "x"), "value": 1.0}, Verdict.ABSENT),
        ({"kind": "greater", "figure": ("a", "x"), "than": ("z", "x")}, Verdict.ABSENT),
    ],
)
def test_a_verdict_goes_by_the_whole_interval(claim, expected):
    assert verdict(**claim) is expected


def test_the_interval_of_a_difference_takes_the_ends_that_face_each_other():
    found = difference(Measured(0.9, 0.6, 0.94), Measured(0.5, 0.46, 0.9))
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.4 - 0.5, 0.4 + 0.0032**0.5))


def test_a_figure_outside_its_own_interval_is_refused():
    with pytest.raises(ValueError, match="does not lie in its interval"):
        Measured(0.5, 0.6, 0.7)
