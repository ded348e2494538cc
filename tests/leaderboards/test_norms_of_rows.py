"""How far beyond its radius a kept image may lie: as far as rounding goes, and no further."""

import numpy as np

from bench.leaderboards.claims import in_ball


def test_a_norm_may_exceed_its_radius_by_rounding_alone():
    norms = np.array([0.0, 1.0, 1.0 + 5e-6, 1.001])
    assert in_ball(norms, 1.0).tolist() == [True, True, True, False]


def test_near_a_radius_of_nothing_the_last_place_of_a_pixel_counts():
    assert in_ball(np.array([1e-8, 1e-5]), 0.0).tolist() == [True, False]
