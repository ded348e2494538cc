import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import MetricError, auroc, clip_beyond_targets, iqr


def test_the_iqr_is_the_distance_of_the_quartiles():
    assert iqr(np.arange(101.0)) == 50.0


def test_infinite_scores_do_not_enter_the_iqr():
    assert iqr([np.inf, *range(101), -np.inf]) == 50.0


def test_where_the_quartiles_coincide_the_iqr_is_the_standard_deviation():
    values = np.concatenate([np.zeros(90), np.ones(10)])
    assert iqr(values) == pytest.approx(0.3)


@pytest.mark.parametrize("values", [[7.0, 7.0, 7.0], [0.0], [np.inf, np.inf], [-np.inf, 2.0]])
def test_the_iqr_of_scores_that_do_not_differ_is_one(values):
    assert iqr(values) == 1.0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1))
def test_the_iqr_is_always_above_zero(values):
    assert iqr(values) > 0


def test_scores_beyond_a_target_become_it():
    values = [-np.inf, -2.0, 0.0, 2.0, np.inf]
    assert clip_beyond_targets(values, -1.0, 1.0).tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]
    assert clip_beyond_targets(values, None, 1.0).tolist() == [-np.inf, -2.0, 0.0, 1.0, 1.0]
    assert clip_beyond_targets(values, -1.0, None).tolist() == [-1.0, -1.0, 0.0, 2.0, np.inf]


def test_without_targets_scores_stay_and_the_input_is_never_written_to():
    values = np.array([3.0, 5.0])
    clipped = clip_beyond_targets(values, None, None)
    assert clipped.tolist() == [3.0, 5.0]
    clipped[0] = 9.0
    clip_beyond_targets(values, 4.0, None)
    assert values.tolist() == [3.0, 5.0]


@pytest.mark.parametrize(("low", "high", "words"), [(2.0, 1.0, "not below"), (np.nan, None, "NaN is not allowed")])
def test_targets_that_make_no_sense_are_an_error(low, high, words):
    with pytest.raises(MetricError, match=f"cell: .*{words}"):
        clip_beyond_targets([1.0], low, high, name="cell")


def test_tensors_are_accepted_and_those_that_carry_gradients_refused_in_one_sentence():
    assert auroc(torch.tensor([1.0, 2.0]), torch.tensor([0.0])) == 1.0
    with pytest.raises(MetricError, match="are not numbers"):
        auroc(torch.tensor([1.0], requires_grad=True), [0.0])


@pytest.mark.parametrize("values", [["a"], [[1.0, 2.0]], 3.0])
def test_anything_but_a_vector_of_numbers_is_an_error(values):
    with pytest.raises(MetricError, match="cell: the ID scores"):
        auroc(values, [0.0], name="cell")
