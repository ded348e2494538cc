import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bench.errors import CellError
from bench.metrics import MetricError, auroc, conservative_auroc

scores = st.lists(
    st.one_of(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf]), st.floats(allow_nan=False)),
    min_size=1,
    max_size=30,
)


def by_sklearn(id_scores, ood_scores):
    """scikit-learn refuses infinities, so it gets the ranks."""
    everything = np.concatenate([id_scores, ood_scores])
    ranks = np.unique(everything, return_inverse=True)[1]
    return roc_auc_score(np.arange(len(everything)) < len(id_scores), ranks)


def by_pairs(id_scores, ood_scores, tie):
    return np.mean([[1.0 if i > o else tie if i == o else 0.0 for o in ood_scores] for i in id_scores])


def test_separated_scores_give_one_and_swapped_ones_zero():
    assert auroc([2.0, 3.0], [0.0, 1.0]) == 1.0
    assert auroc([0.0, 1.0], [2.0, 3.0]) == 0.0


def test_ties_count_half_and_against_the_defender_in_the_conservative_form():
    assert auroc([1.0, 2.0], [1.0, 0.0]) == 3.5 / 4
    assert conservative_auroc([1.0, 2.0], [1.0, 0.0]) == 3 / 4
    assert auroc([5.0] * 3, [5.0] * 4) == 0.5
    assert conservative_auroc([5.0] * 3, [5.0] * 4) == 0.0


def test_equal_infinities_are_ties():
    assert auroc([np.inf, np.inf], [np.inf, -np.inf]) == 0.75
    assert conservative_auroc([np.inf, np.inf], [np.inf, -np.inf]) == 0.5


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_scikit_learn_on_scores_with_ties_and_infinities(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(size=40).round(1), [np.inf, -np.inf]])
    id_scores, ood_scores = rng.choice(values, 301), rng.choice(values, 173) - 0.1
    assert auroc(id_scores, ood_scores) == pytest.approx(by_sklearn(id_scores, ood_scores), rel=0, abs=1e-12)


def test_float32_scores_are_compared_as_they_are():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert conservative_auroc(np.array([above]), np.array([1], np.float32)) == 1.0


@given(scores, scores)
def test_is_the_share_of_pairs_in_the_right_order(id_scores, ood_scores):
    assert auroc(id_scores, ood_scores) == pytest.approx(by_pairs(id_scores, ood_scores, 0.5), rel=0, abs=1e-12)
    assert conservative_auroc(id_scores, ood_scores) == pytest.approx(
        by_pairs(id_scores, ood_scores, 0.0), rel=0, abs=1e-12
    )


@given(scores, scores)
def test_swapping_the_sides_mirrors_it(id_scores, ood_scores):
    assert auroc(id_scores, ood_scores) == pytest.approx(1 - auroc(ood_scores, id_scores), rel=0, abs=1e-12)


@given(scores, scores)
def test_a_monotone_transform_changes_nothing(id_scores, ood_scores):
    ranks = np.unique(np.array(id_scores + ood_scores), return_inverse=True)[1]
    id_ranks, ood_ranks = np.split(ranks, [len(id_scores)])
    assert auroc(id_ranks, ood_ranks) == auroc(id_scores, ood_scores)
    assert conservative_auroc(id_ranks, ood_ranks) == conservative_auroc(id_scores, ood_scores)


@given(scores, scores)
def test_the_conservative_form_is_never_above_and_misses_it_by_half_the_ties(id_scores, ood_scores):
    ties = np.mean(np.array(id_scores)[:, None] == np.array(ood_scores)[None, :])
    difference = auroc(id_scores, ood_scores) - conservative_auroc(id_scores, ood_scores)
    assert difference == pytest.approx(ties / 2, rel=0, abs=1e-12)


@pytest.mark.parametrize("metric", [auroc, conservative_auroc])
@pytest.mark.parametrize(("id_scores", "ood_scores"), [([], [1.0]), ([1.0], [])])
def test_a_missing_side_is_an_error(metric, id_scores, ood_scores):
    with pytest.raises(MetricError, match="there are no"):
        metric(id_scores, ood_scores)


def test_nan_is_an_error_that_names_the_cell_and_the_side():
    with pytest.raises(CellError, match=r"gat x pgd-l2: 2 of 3 OOD scores are NaN"):
        auroc([1.0], [np.nan, 0.0, np.nan], name="gat x pgd-l2")


def test_ten_thousand_against_ten_thousand_takes_milliseconds():
    rng = np.random.default_rng(0)
    id_scores, ood_scores = rng.normal(1, 1, 10_000), rng.normal(size=10_000)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        auroc(id_scores, ood_scores)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 3e-3  # the best of 20, since other work may share the machine
