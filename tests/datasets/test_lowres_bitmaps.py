"""Shapes of known area, drawn as bitmaps and brought to the digits' resolution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets.sources._lowres import SIDE, count_blocks, fill_box, inside, near_line, turn, upscale


def square(left: float, top: float, side: float) -> np.ndarray:
    return np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side + (left, top)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 11))
def test_a_square_on_the_grid_covers_its_area(left: int, top: int, side: int) -> None:
    expected = np.zeros((SIDE, SIDE), dtype=bool)
    expected[top : top + side, left : left + side] = True
    assert np.array_equal(inside([square(left, top, side)]), expected)
    assert np.array_equal(inside([square(left, top, side)[::-1]]), expected)


def test_a_contour_that_runs_the_other_way_round_is_a_hole() -> None:
    assert inside([square(4, 4, 20), square(8, 8, 6)[::-1]]).sum() == 400 - 36


def test_contours_that_run_the_same_way_round_join() -> None:
    assert inside([square(4, 4, 10), square(9, 4, 10)]).sum() == 150


def test_a_line_is_as_wide_as_the_pen() -> None:
    mask = near_line([np.array([[-50.0, 16.0], [50.0, 16.0]])], 3.0)
    assert np.array_equal(np.flatnonzero(mask.all(axis=1)), np.arange(13, 19))
    assert mask.sum() == 6 * SIDE


def test_a_point_is_a_disc() -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    point = np.array([[10.0, 20.0], [10.0, 20.0]])
    assert np.array_equal(near_line([point], 5.0), np.hypot(x - 10, y - 20) <= 5.0)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 4.0), st.floats(18.0, 26.0))
def test_filling_the_box_gives_the_whole_height_and_at_most_the_width(seed: int, margin: float, width: float) -> None:
    lines = [np.random.default_rng(seed).normal(size=(5, 2)) * (3.0, 1.0)]
    points = np.concatenate(fill_box(lines, margin, width))
    assert np.allclose([points[:, 1].min(), points[:, 1].max()], [margin, SIDE - margin])
    assert np.ptp(points[:, 0]) <= width - 2 * margin + 1e-9
    assert np.allclose((points.min(axis=0) + points.max(axis=0)) / 2, SIDE / 2)


def test_turning_by_a_quarter_swaps_the_axes() -> None:
    assert np.allclose(turn([np.array([[1.0, 0.0], [0.0, 1.0]])], 90.0)[0], [[0.0, 1.0], [-1.0, 0.0]])


def test_blocks_are_counted_as_the_digits_were() -> None:
    bitmap = np.zeros((1, SIDE, SIDE), dtype=bool)
    bitmap[0, 4:8, 8:12] = True
    bitmap[0, 31, 31] = True
    expected = np.zeros((8, 8))
    expected[1, 2], expected[7, 7] = 16, 1
    assert np.array_equal(count_blocks(bitmap)[0], expected)


@pytest.mark.parametrize("level", [0, 5, 16])
def test_enlarging_keeps_a_flat_image_flat(level: int) -> None:
    assert set(upscale(np.full((1, 8, 8), level)).ravel()) == {round(level * 255 / 16)}
