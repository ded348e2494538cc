import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from bench.metrics import MetricError, aupr_in, aupr_out

tied_scores = st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf]), min_size=1, max_size=30)


def by_sklearn(positives, negatives):
    """scikit-learn refuses infinities, so it gets the ranks."""
    everything = np.concatenate([positives, negatives])
    ranks = np.unique(everything, return_inverse=True)[1]
    return average_precision_score(np.arange(len(everything)) < len(positives), ranks)


def test_separated_scores_give_one_on_both_sides():
    assert aupr_in([2.0, 3.0], [0.0, 1.0]) == 1.0
    assert aupr_out([2.0, 3.0], [0.0, 1.0]) == 1.0


def test_indistinguishable_scores_give_the_share_of_the_positives():
    assert aupr_in([1.0], [1.0] * 3) == 0.25
    assert aupr_out([1.0], [1.0] * 3) == 0.75


def test_one_misplaced_sample_costs_what_the_formula_says():
    assert aupr_in([3.0, 1.0], [2.0]) == pytest.approx((1 / 1 + 2 / 3) / 2)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_scikit_learn_on_scores_with_ties_and_infinities(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(size=40).round(1), [np.inf, -np.inf]])
    id_scores, ood_scores = rng.choice(values, 301), rng.choice(values, 173) - 0.1
    assert aupr_in(id_scores, ood_scores) == pytest.approx(by_sklearn(id_scores, ood_scores), rel=0, abs=1e-12)
    assert aupr_out(id_scores, ood_scores) == pytest.approx(by_sklearn(-ood_scores, -id_scores), rel=0, abs=1e-12)


@given(tied_scores, tied_scores)
def test_agrees_with_scikit_learn_on_few_samples(id_scores, ood_scores):
    assert aupr_in(id_scores, ood_scores) == pytest.approx(by_sklearn(id_scores, ood_scores), rel=0, abs=1e-12)


@given(tied_scores, tied_scores)
def test_negating_and_swapping_turns_one_into_the_other(id_scores, ood_scores):
    assert aupr_out(id_scores, ood_scores) == aupr_in(-np.array(ood_scores), -np.array(id_scores))


@pytest.mark.parametrize("metric", [aupr_in, aupr_out])
def test_a_missing_side_and_nan_are_errors(metric):
    with pytest.raises(MetricError, match="cell: there are no OOD scores"):
        metric([1.0], [], name="cell")
    with pytest.raises(MetricError, match="cell: 1 of 1 ID scores are NaN"):
        metric([np.nan], [1.0], name="cell")
