import itertools

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from bench.metrics import auroc, paired_difference, paired_mean_difference
from bench.metrics.swapping import sign_flip_p_value


def by_definition(id_a, ood_a, id_b, ood_b):
    """Share of all swaps of samples' ranks whose difference is as large as the one that is there."""
    ranks = [rankdata(np.concatenate(pair)) for pair in ((id_a, ood_a), (id_b, ood_b))]
    n = len(id_a)

    def difference(swaps):
        first, second = (np.where(swaps, ranks[1 - k], ranks[k]) for k in (0, 1))
        return auroc(first[:n], first[n:]) - auroc(second[:n], second[n:])

    every = [difference(np.array(swaps)) for swaps in itertools.product([False, True], repeat=len(ranks[0]))]
    return np.mean(np.abs(every) >= abs(every[0]) - 1e-12)


def drawn(rng, n, m, aurocs, correlation):
    """Scores of two detectors with these AUROCs on the same samples."""
    shared = [rng.normal(size=(count, 3)) for count in (n, m)]
    sides = []
    for k, value in enumerate(aurocs):
        id_scores, ood = (
            np.sqrt(correlation) * part[:, 0] + np.sqrt(1 - correlation) * part[:, 1 + k] for part in shared
        )
        sides += [id_scores + norm.ppf(value) * np.sqrt(2), ood]
    return sides


@pytest.mark.parametrize("seed", range(4))
def test_p_is_the_share_of_all_swaps_where_all_can_be_gone_through(seed):
    rng = np.random.default_rng(seed)
    scores = [rng.integers(0, 6, size).astype(float) for size in (6, 5, 6, 5)]
    expected = by_definition(*scores)
    found = paired_difference(*scores)
    assert found.p_value == pytest.approx(1.0 if found.difference == 0 else expected)


def test_p_of_many_parts_is_that_of_random_signs():
    rng = np.random.default_rng(5)
    signs = rng.choice([-1.0, 1.0], (200_000, 80))
    for reach in (1.0, 2.2, 3.0):
        parts = rng.exponential(size=80)
        parts *= np.where(np.arange(80) < 40 + reach * 4.4, 1, -1)
        share = np.mean(np.abs(signs @ np.abs(parts)) >= abs(parts.sum()))
        # 200,000 draws know a share of 0.002 to 0.0001, the p itself is drawn to some 3 %.
        assert sign_flip_p_value(parts) == pytest.approx(share, rel=0.15, abs=3e-4)


@pytest.mark.parametrize("parts", [[], [0.0] * 30, [1.0, -1.0], [0.5, 0.25, -0.75, *[0.0] * 20], [1.0, -1.0] * 20])
def test_where_nothing_changed_or_all_changes_cancel_p_is_1(parts):
    assert sign_flip_p_value(np.array(parts)) == 1.0


def test_the_same_scores_twice_have_a_p_of_1():
    scores = drawn(np.random.default_rng(8), 40, 30, [0.9, 0.9], 0.5)[:2]
    found = paired_difference(*scores, *scores)
    assert (found.difference, found.p_value) == (0.0, 1.0)


def exact_share(sizes, total):
    """P(|sum of whole sizes with random signs| >= total), added up over all sums, one size after another."""
    ways = np.ones(1)  # ways[k]: of the sum 2 k - (sum of sizes so far), as a share
    for size in sizes:
        longer = np.zeros(ways.size + size)
        longer[: ways.size] += ways / 2
        longer[size:] += ways / 2
        ways = longer
    return float(ways[np.abs(2 * np.arange(ways.size) - sum(sizes)) >= total].sum())


EVEN_STEPS = {
    "equal parts": [1] * 30,
    "two sizes": [2] * 20 + [1] * 10,
    "three sizes": [5] * 12 + [2] * 15 + [1] * 9,
    "one large part": [9] + [1] * 40,
    "one more than are gone through": [3] * 8 + [2] * 7,
    "many": [2] * 300 + [1] * 99,
}


@pytest.mark.parametrize("sizes", EVEN_STEPS.values(), ids=EVEN_STEPS.keys())
def test_p_of_a_sum_of_few_values_is_the_exact_share_from_the_middle_to_the_far_tail(sizes):
    # Sums of equal parts jump from value to value: a smooth tail is too small by up to half of a jump, a factor of 2
    # at 3e-4 and of 3 at 1e-5. 5,000 tilted draws are off by some 3 %.
    sizes, seen = np.array(sizes), []
    for minus in range(len(sizes) // 2):
        parts = np.where(np.arange(len(sizes)) < minus, -sizes, sizes).astype(float)
        exact = exact_share(sizes, abs(parts.sum()))
        if 1e-14 < exact < 1.0 and parts.sum() != 0:
            seen.append(exact)
            assert sign_flip_p_value(parts) == pytest.approx(exact, rel=0.12), (minus, exact)
    assert min(seen) < 1e-3


def test_exact_shares_are_the_binomial_ones_of_equal_parts():
    assert exact_share([1] * 5, 3) == 2 * (1 + 5) / 32
    assert exact_share([2, 1], 1) == 1.0
    assert exact_share([2, 1], 3) == 0.5


def test_a_part_that_hardly_counts_halves_the_jump_that_it_decides():
    parts = np.concatenate([np.ones(25), -np.ones(5), [1e-6]])
    exact = (exact_share([1] * 30, 20) + exact_share([1] * 30, 22)) / 2
    assert sign_flip_p_value(parts) == pytest.approx(exact, rel=0.12)


def test_p_is_conservative_on_average_over_everything_that_may_be_drawn():
    rng = np.random.default_rng(3)
    sizes = np.ones(24)
    p = np.array([sign_flip_p_value(sizes * signs) for signs in rng.choice([-1.0, 1.0], (4_000, 24))])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3 * np.sqrt(level / 4_000)


def test_the_far_tail_is_known_to_some_percent():
    parts = np.ones(64)
    parts[:8] = -1.0
    assert sign_flip_p_value(parts) == pytest.approx(exact_share([1] * 64, 48), rel=0.1)
    assert sign_flip_p_value(np.ones(64)) == 2.0**-63
    assert sign_flip_p_value(np.ones(5_000)) == np.finfo(float).tiny  # 2^-4999 is no float; a p is never 0
    parts = np.full(800, 1e-3)
    parts[0] = -1e-3
    assert sign_flip_p_value(parts) == pytest.approx(2 * 801 / 2.0**800, rel=0.15)


@pytest.mark.parametrize("auroc_both", [0.8, 0.99, 0.998])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_equal_detectors_are_told_apart_no_more_often_than_asked(auroc_both, correlation):
    rng = np.random.default_rng(6)
    p = [paired_difference(*drawn(rng, 200, 100, [auroc_both] * 2, correlation)).p_value for _ in range(300)]
    assert np.mean(np.array(p) <= 0.01) <= 0.03  # 0.01 and 3.5 deviations of 300 repeats
    assert np.mean(np.array(p) <= 0.05) <= 0.095


def test_a_fall_from_0_998_to_0_990_is_seen_on_400_against_200_images():
    rng = np.random.default_rng(7)
    found = [paired_difference(*drawn(rng, 400, 200, [0.998, 0.99], 0.9)) for _ in range(100)]
    assert np.mean([f.p_value <= 0.01 for f in found]) >= 0.95


def test_means_over_sets_swap_a_sample_in_all_sets_at_once():
    rng = np.random.default_rng(8)
    id_a, ood_a, id_b, ood_b = drawn(rng, 60, 40, [0.9, 0.8], 0.5)
    one = paired_difference(id_a, ood_a, id_b, ood_b)
    twice = paired_mean_difference(id_a, [ood_a, ood_a], id_b, [ood_b, ood_b])
    assert twice.difference == pytest.approx(one.difference)
    assert twice.p_value < one.p_value  # the sets' own samples count as twice as many, the ID samples as they are
