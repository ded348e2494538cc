import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import MetricError, auroc, delong, delong_components, mean_over_sets
from bench.metrics.roc import combined_variance

tied_scores = st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf]), min_size=2, max_size=30)


def by_definition(id_scores, ood_scores):
    """The kernel of DeLong et al. (1988), pair by pair."""
    i, o = np.array(id_scores)[:, None], np.array(ood_scores)[None, :]
    kernel = np.where(i > o, 1.0, np.where(i == o, 0.5, 0.0))
    return kernel.mean(axis=1), kernel.mean(axis=0)


def drawn(rng, n=60, m=80, sets=3):
    """ID scores and OOD sets of differing difficulty."""
    return rng.normal(1.2, 1.0, n), [rng.normal(0.2 * k, 1.0, m) for k in range(sets)]


@given(tied_scores, tied_scores)
def test_components_are_those_of_the_definition(id_scores, ood_scores):
    v10, v01 = delong_components(id_scores, ood_scores)
    expected10, expected01 = by_definition(id_scores, ood_scores)
    np.testing.assert_allclose(v10, expected10, rtol=0, atol=1e-12)
    np.testing.assert_allclose(v01, expected01, rtol=0, atol=1e-12)


@given(tied_scores, tied_scores)
def test_standard_error_is_that_of_the_definition(id_scores, ood_scores):
    v10, v01 = by_definition(id_scores, ood_scores)
    expected = np.sqrt(np.var(v10, ddof=1) / len(v10) + np.var(v01, ddof=1) / len(v01))
    assert delong(id_scores, ood_scores).se == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(tied_scores, tied_scores)
def test_the_estimate_is_bit_equal_to_auroc_and_lies_in_its_interval(id_scores, ood_scores):
    estimate = delong(id_scores, ood_scores)
    assert estimate.auroc == auroc(id_scores, ood_scores)
    assert 0 <= estimate.low <= estimate.auroc <= estimate.high <= 1


def test_one_sample_on_a_side_counts_with_the_largest_variance_it_can_have():
    estimate = delong([0.5], [0.0, 1.0])  # AUROC 1/2; the ID side: 1/2 * 1/2; the OOD side: var(1, 0) / 2 = 1/4
    assert estimate.se == pytest.approx(np.sqrt(0.25 + 0.25))


def test_components_that_differ_by_rounding_alone_have_no_variance():
    shared = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
    assert np.ptp(shared.mean(axis=0)) > 0
    assert combined_variance(shared, [np.ones(5)] * 3, lowest=0.0) == 0.0


def test_agrees_with_the_bootstrap():
    rng = np.random.default_rng(1)
    id_scores, ood_scores = rng.normal(1, 1, 200), rng.normal(0, 2, 300)
    resampled = [auroc(rng.choice(id_scores, 200), rng.choice(ood_scores, 300)) for _ in range(2000)]
    # 2000 draws know an sd to 1.6 %; three times that, and 0.5 % for the bootstrap's n in place of n - 1.
    assert delong(id_scores, ood_scores).se == pytest.approx(np.std(resampled), rel=0.053)


def test_the_mean_over_one_set_is_that_set():
    rng = np.random.default_rng(2)
    id_scores, sets = drawn(rng, sets=1)
    assert mean_over_sets(id_scores, sets) == delong(id_scores, sets[0])


def test_the_mean_is_unweighted_over_sets_of_any_size():
    rng = np.random.default_rng(3)
    id_scores, sets = rng.normal(1, 1, 50), [rng.normal(size=10), rng.normal(0.5, 1, 400)]
    expected = np.mean([auroc(id_scores, s) for s in sets])
    assert mean_over_sets(id_scores, sets).auroc == pytest.approx(expected, rel=0, abs=1e-15)


def test_repeating_a_set_lowers_only_the_part_of_the_error_that_is_its_own():
    rng = np.random.default_rng(4)
    id_scores, (ood_scores,) = drawn(rng, sets=1)
    v10, v01 = delong_components(id_scores, ood_scores)
    expected = np.sqrt(np.var(v10, ddof=1) / len(v10) + np.var(v01, ddof=1) / len(v01) / 4)
    assert mean_over_sets(id_scores, [ood_scores] * 4).se == pytest.approx(expected)


def test_the_error_of_the_mean_is_its_spread_over_fresh_samples_and_independent_variances_are_too_small():
    rng = np.random.default_rng(5)
    means, errors, independent = [], [], []
    for _ in range(1500):
        id_scores, sets = drawn(rng)
        estimate = mean_over_sets(id_scores, sets)
        means.append(estimate.auroc)
        errors.append(estimate.se**2)
        independent.append(sum(delong(id_scores, s).se ** 2 for s in sets) / len(sets) ** 2)
    spread = np.std(means, ddof=1)
    # 1500 draws know an sd to 1.8 %: three times that.
    assert np.sqrt(np.mean(errors)) == pytest.approx(spread, rel=0.055)
    assert np.sqrt(np.mean(independent)) < 0.85 * spread


def test_id_scores_may_differ_from_set_to_set():
    rng = np.random.default_rng(6)
    id_scores, sets = drawn(rng)
    assert mean_over_sets([id_scores] * 3, sets) == mean_over_sets(id_scores, sets)
    assert mean_over_sets(np.stack([id_scores] * 3), sets) == mean_over_sets(id_scores, sets)
    shifted = mean_over_sets([id_scores, id_scores - 1, id_scores + 1], sets)
    expected = [auroc(id_scores + d, s) for d, s in zip((0, -1, 1), sets, strict=True)]
    assert shifted.auroc == pytest.approx(np.mean(expected), rel=0, abs=1e-15)


def test_a_plain_list_of_numbers_is_one_vector_for_all_sets():
    assert mean_over_sets([1.0, 2.0], [[0.0], [3.0]]).auroc == 0.5


@pytest.mark.parametrize(
    ("id_scores", "ood_sets", "words"),
    [
        ([1.0], [], "no OOD sets"),
        ([], [[1.0]], "no ID scores"),
        ([1.0], [[1.0], []], "no OOD scores"),
        ([[1.0], [2.0]], [[0.0]], "2 vectors of ID scores for 1 OOD sets"),
        ([[1.0], [2.0, 3.0]], [[0.0], [0.0]], "lengths 1, 2"),
        ([1.0, np.nan], [[0.0]], "1 of 2 ID scores are NaN"),
        ([[[1.0]]], [[0.0]], "shape"),
        (1.0, [[0.0]], "shape"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_how(id_scores, ood_sets, words):
    with pytest.raises(MetricError, match=f"cell: .*{words}"):
        mean_over_sets(id_scores, ood_sets, name="cell")
