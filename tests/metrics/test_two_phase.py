"""The AUROC at the full budget, from the images that had all of it: closed forms, and coverage by simulation."""

import numpy as np
import pytest

from bench.metrics.two_phase import at_full_budget


def test_without_changes_the_estimate_is_the_mean_of_the_groups() -> None:
    found = at_full_budget([np.array([0.5, 1.0]), np.array([0.0, 0.2])], [np.zeros(1), np.zeros(1)])
    assert found.auroc == pytest.approx((0.75 + 0.1) / 2)
    assert found.low == found.high == found.auroc


def test_the_mean_change_of_the_audited_images_is_added_to_the_mean_of_all() -> None:
    found = at_full_budget([np.full(100, 0.9)], [np.array([-0.1, 0.0, -0.2, -0.1])])
    assert found.auroc == pytest.approx(0.8)
    assert found.low < 0.8 < found.high


def test_where_every_image_is_audited_the_interval_is_a_point() -> None:
    found = at_full_budget([np.array([0.9, 0.8])], [np.array([-0.1, 0.0])], largest=0.3, least=0.01)
    assert (found.auroc, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))


def test_the_variance_is_that_of_a_mean_without_replacement() -> None:
    """s^2 (1 - n / N) / n with two unseen changes of half the largest one, at Student's quantile of n - 1."""
    changes, size = np.array([-0.2, 0.0, 0.0, 0.0, 0.0]), 50
    found = at_full_budget([np.full(size, 0.9)], [changes])
    squares = np.sum((changes - changes.mean()) ** 2) + 2 * 0.1**2
    half = 2.776445105 * np.sqrt((1 - 5 / size) * squares / 4 / 5)
    assert found.high - found.low == pytest.approx(2 * half)


def test_an_interval_is_no_narrower_than_what_is_asked_for() -> None:
    found = at_full_budget([np.full(100, 0.5)], [np.zeros(20)], least=0.001)
    assert (found.low, found.high) == pytest.approx((0.499, 0.501))


def test_a_change_known_from_elsewhere_widens_the_interval() -> None:
    narrow = at_full_budget([np.full(100, 0.5)], [np.zeros(20)])
    wide = at_full_budget([np.full(100, 0.5)], [np.zeros(20)], largest=0.2)
    assert narrow.high == narrow.low < wide.high
    assert wide.low < narrow.low


def test_ends_stay_within_0_and_1() -> None:
    found = at_full_budget([np.full(100, 0.01)], [np.array([-0.01, 0.0, -0.3, 0.0])])
    assert found.low == 0.0
    assert 0.0 <= found.auroc <= found.high <= 1.0


@pytest.mark.parametrize(("share", "size"), [(1.0, 0.02), (0.3, 0.05), (0.05, 0.1), (0.02, 0.3)])
def test_the_interval_covers_what_the_full_budget_would_give(share: float, size: float) -> None:
    """Audits of a tenth of 2 sets of 200 images, drawn 1,000 times; a share of the images falls by about this size."""
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        cheap = [generator.uniform(0.3, 1.0, 200) for _ in range(2)]
        falls = [-1.0 * (generator.random(200) < share) * generator.uniform(0.5, 1.5, 200) * size for _ in range(2)]
        truth = np.mean([np.mean(c + f) for c, f in zip(cheap, falls, strict=True)])
        drawn = [generator.choice(200, 20, replace=False) for _ in range(2)]
        audited = [fall[rows] for fall, rows in zip(falls, drawn, strict=True)]
        found = at_full_budget(cheap, audited, largest=1.5 * size, least=0.001)
        covered += found.low <= truth <= found.high
    assert covered >= 930


def test_the_estimate_is_unbiased() -> None:
    generator = np.random.default_rng(3)
    cheap, falls = generator.uniform(0.5, 1.0, 300), -generator.exponential(0.03, 300)
    drawn = [generator.choice(300, 30, replace=False) for _ in range(4000)]
    estimates = [at_full_budget([cheap], [falls[rows]]).auroc for rows in drawn]
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - np.mean(cheap + falls)) < 4 * error
