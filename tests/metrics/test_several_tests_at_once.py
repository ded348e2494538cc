import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import MetricError, holm

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def holm_by_definition(p_values, alpha):
    """Step down: reject the smallest while it is at most alpha / (number left); stop at the first that is not."""
    rejected = [False] * len(p_values)
    for step, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[position] > alpha / (len(p_values) - step):
            break
        rejected[position] = True
    return rejected


def test_the_example_of_holms_procedure():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_one_test_alone_is_left_as_it_is():
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


@given(P_VALUES)
def test_what_is_rejected_is_what_the_step_down_procedure_rejects(p_values):
    # A level that no adjusted value hits: there the order of two roundings would decide.
    assert (holm(p_values) <= 0.0512345678901).tolist() == holm_by_definition(p_values, 0.0512345678901)


@given(P_VALUES)
def test_no_value_falls_and_none_exceeds_one(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= 1.0).all()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_chance_is_refused(wrong):
    with pytest.raises(MetricError, match="between 0 and 1"):
        holm([0.5, wrong])
