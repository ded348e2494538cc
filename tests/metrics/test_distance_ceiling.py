import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from bench.cards.threat import Norm
from bench.metrics import MetricError, ceiling, ceiling_at, distance_ceiling, nearest_distances, radii_for_reach

METRIC = {Norm.L2: "euclidean", Norm.LINF: "chebyshev", Norm.L1: "manhattan"}


def images(rng, count, dtype=np.float64):
    values = rng.integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    return values if dtype == np.uint8 else (values / 255).astype(dtype)


def by_sklearn(ood, pool, norm):
    if norm is Norm.L0:
        return np.array([min(np.count_nonzero(a != b) for b in pool) for a in ood])
    return pairwise_distances(ood.reshape(len(ood), -1), pool.reshape(len(pool), -1), metric=METRIC[norm]).min(axis=1)


@pytest.mark.parametrize("norm", Norm)
def test_agrees_with_scikit_learn(norm):
    rng = np.random.default_rng(0)
    ood, pool = images(rng, 30), images(rng, 50)
    # L-infinity is taken in float32: 1e-7 of a pixel.
    np.testing.assert_allclose(nearest_distances(ood, pool, norm), by_sklearn(ood, pool, norm), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", Norm)
def test_bytes_and_floats_are_the_same_images(norm):
    rng = np.random.default_rng(1)
    ood, pool = images(rng, 20, np.uint8), images(rng, 40, np.uint8)
    exact = by_sklearn(ood / 255, pool / 255, norm)
    mixed = (pool / 255).astype(np.float32)
    np.testing.assert_allclose(nearest_distances(ood, pool, norm), exact, rtol=0, atol=1e-12)
    np.testing.assert_allclose(nearest_distances(ood, mixed, norm), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", Norm)
def test_many_small_chunks_give_the_same_distances(norm, monkeypatch):
    rng = np.random.default_rng(2)
    ood, pool = images(rng, 25, np.uint8), images(rng, 33, np.uint8)
    whole = nearest_distances(ood, pool, norm)
    monkeypatch.setattr(ceiling, "_CHUNK_BYTES", 8 * 36 * 4)  # four images
    np.testing.assert_array_equal(nearest_distances(ood, pool, norm), whole)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_copy_is_at_distance_zero(norm, dtype):
    rng = np.random.default_rng(3)
    pool = images(rng, 40, dtype)
    assert nearest_distances(pool[7:9], pool, norm).max() == 0.0


def test_reachable_images_leave_a_coin():
    pool = np.zeros((1, 1, 2, 2))
    ood = np.zeros((4, 1, 2, 2))
    ood[:, 0, 0, 0] = [0.1, 0.2, 0.4, 0.8]
    found = distance_ceiling(ood, pool, Norm.L2, 0.3)
    assert (found.reachable, found.auroc) == (0.5, 0.75)
    np.testing.assert_allclose(found.distances, [0.1, 0.2, 0.4, 0.8], atol=1e-7)


def test_the_norm_decides_what_is_near():
    pool, ood = np.zeros((1, 4)), np.full((1, 4), 0.5)
    assert nearest_distances(ood, pool, Norm.L2)[0] == pytest.approx(1.0)
    assert nearest_distances(ood, pool, Norm.LINF)[0] == pytest.approx(0.5)


def test_an_image_at_exactly_eps_is_reachable_in_float32_too():
    pool, ood = np.zeros((1, 4), np.float32), np.full((1, 4), np.float32(8) / np.float32(255))
    assert distance_ceiling(ood, pool, Norm.LINF, 8 / 255).reachable == 1.0
    assert distance_ceiling(ood, pool, Norm.LINF, 7.9 / 255).reachable == 0.0


def test_distances_are_asked_for_once_and_serve_every_radius():
    distances = np.array([1.0, 2.0, 3.0, 4.0])
    assert [ceiling_at(distances, eps).auroc for eps in (0.5, 1.0, 2.5, 9.0)] == [1.0, 0.875, 0.75, 0.5]


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e3)), min_size=1, max_size=60),
    st.floats(0.0, 0.99),
)
def test_a_proposed_radius_reaches_no_more_than_its_share_and_hardly_less(distances, share):
    (radius,) = radii_for_reach(distances, [share])
    distances = np.array(distances)
    if radius > 0:
        assert ceiling_at(distances, radius).reachable <= share + 1e-12
    # Two digits cut off up to a tenth; the step after it must reach more than the share.
    assert ceiling_at(distances, radius * 1.12 + 1e-300).reachable > share - 1e-9


def test_proposed_radii_have_two_digits():
    assert radii_for_reach(np.linspace(1.0, 3.0, 100), [0.0, 0.05, 0.5]) == (0.99, 1.1, 2.0)


def test_a_decimal_share_of_a_hundred_images_is_a_whole_number_of_them():
    assert radii_for_reach(np.arange(1.0, 101.0), [0.29]) == (29.0,)  # the 30th image is at 30


def test_copies_leave_no_radius():
    assert radii_for_reach([0.0, 0.0, 5.0], [0.5, 0.7]) == (0.0, 4.9)


@pytest.mark.parametrize(
    ("ood", "pool", "words"),
    [
        (np.zeros((0, 1, 2, 2)), np.zeros((1, 1, 2, 2)), "OOD images have shape"),
        (np.zeros((1, 1, 2, 2)), np.zeros((0, 1, 2, 2)), "pool images have shape"),
        (np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 3, 3)), "4 pixels and pool images 9"),
        (np.full((1, 4), 1.5), np.zeros((1, 4)), r"outside \[0, 1\]"),
        (np.full((1, 4), np.nan), np.zeros((1, 4)), r"outside \[0, 1\]"),
    ],
)
def test_images_that_cannot_be_compared_are_an_error(ood, pool, words):
    with pytest.raises(MetricError, match=words):
        nearest_distances(ood, pool, Norm.L2)


def test_a_radius_or_share_that_makes_no_sense_is_an_error():
    with pytest.raises(MetricError, match="eps is -1"):
        ceiling_at([1.0], -1.0)
    with pytest.raises(MetricError, match=r"shares \[1\.0\]"):
        radii_for_reach([1.0], [0.5, 1.0])
