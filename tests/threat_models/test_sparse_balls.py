"""The L1 and L0 balls: projections held to their definitions, steepest ascent, random points, distances."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.balls import l2_radius
from bench.errors import UsageError
from bench.threat_models import geometry, sparse_balls
from bench.threat_models.base import Context

CONTEXT = Context(Side.EVADE, seed=5)


def walled(seed: int, values: int, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Images with values on both walls, and directions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, values, generator=generator)
    x = torch.where(x < 0.4, 0.0, torch.where(x > 0.9, 1.0, x))
    return x, torch.randn(rows, values, generator=generator)


def bisected(z: Tensor, x: Tensor, eps: float) -> Tensor:
    """The L1 projection by bisection of the threshold in float64."""
    z, x = z.double(), x.double()
    d, low = z - x, torch.zeros(len(x), 1).double()
    room, high = torch.where(d > 0, 1 - x, x), d.abs().amax(dim=1, keepdim=True)

    def moved(t: Tensor) -> Tensor:
        return torch.minimum((d.abs() - t).clamp_min(0), room)

    whole = moved(low).sum(dim=1, keepdim=True) <= eps
    for _ in range(100):
        middle = (low + high) / 2
        fits = moved(middle).sum(dim=1, keepdim=True) <= eps
        low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
    return x + d.sign() * moved(torch.where(whole, 0.0, high))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    values=st.sampled_from([1, 2, 7, 64, 1024]),
    eps=st.floats(0.05, 30.0),
    reach=st.sampled_from([0.01, 0.3, 3.0, 100.0]),
)
def test_the_l1_projection_is_the_bisected_one(seed: int, values: int, eps: float, reach: float) -> None:
    x, toward = walled(seed, values)
    ours = geometry.project(x + reach * toward, x, Norm.L1, eps)
    assert (ours.double() - x.double()).abs().sum(dim=1).max() <= eps * (1 + 1e-5)
    assert ours.min() >= 0.0 and ours.max() <= 1.0
    # Rounding of many values is kept inside the ball, up to half a unit in the last place of each.
    assert (ours - bisected(x + reach * toward, x, eps)).abs().max() <= 2e-6 * max(eps, 1.0) + 3e-8 * values


@pytest.mark.parametrize("seed", range(4))
def test_the_l1_projection_solves_its_quadratic_program(seed: int) -> None:
    x, toward = walled(seed, 5, rows=1)
    z, centre, eps = (x + 0.6 * toward)[0].double().numpy(), x[0].double().numpy(), 0.7

    # With y = x + p - q, p and q at least 0, the ball is one linear constraint and the box are bounds.
    def far(parts: np.ndarray) -> float:
        return float(((centre + parts[:5] - parts[5:] - z) ** 2).sum())

    bounds = [(0, 1 - c) for c in centre] + [(0, c) for c in centre]
    budget = {"type": "ineq", "fun": lambda parts: eps - parts.sum()}
    found = minimize(far, np.full(10, 0.01), bounds=bounds, constraints=[budget], method="SLSQP", tol=1e-14)
    ours = geometry.project(x + 0.6 * toward, x, Norm.L1, eps)[0]
    assert ours.tolist() == pytest.approx((centre + found.x[:5] - found.x[5:]).tolist(), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6))
def test_the_l0_projection_is_the_nearest_of_all_choices_of_values(seed: int, count: int) -> None:
    x, toward = walled(seed, 6)
    z = x + 0.8 * toward
    ours = geometry.project(z, x, Norm.L0, float(count))
    assert (ours != x).sum(dim=1).max() <= count and ours.min() >= 0 and ours.max() <= 1
    boxed, best = z.clamp(0, 1), torch.full((4,), torch.inf)
    for chosen in combinations(range(6), count):
        y = x.clone()
        y[:, list(chosen)] = boxed[:, list(chosen)]
        best = torch.minimum(best, (y - z).square().sum(dim=1))
    assert (ours - z).square().sum(dim=1).tolist() == pytest.approx(best.tolist(), rel=1e-5)


@pytest.mark.parametrize(("eps", "changed"), [(0.5, 0), (2.0, 2), (2.9, 2), (100.0, 6)])
def test_the_whole_part_of_an_l0_radius_counts(eps: float, changed: int) -> None:
    x = torch.full((1, 6), 0.5)
    assert int((geometry.project(torch.rand(1, 6), x, Norm.L0, eps) != x).sum()) == changed


@pytest.mark.parametrize("values", [3072, 150_528])
@pytest.mark.parametrize("eps", [0.1, 1.0, 12.0])
def test_roundings_that_add_up_do_not_leave_the_l1_ball(eps: float, values: int) -> None:
    x = torch.full((3, values), 0.3)  # all of them round the same way
    y = geometry.project(x + 0.7, x, Norm.L1, eps)
    assert y.shape == x.shape
    assert ((y.double() - x.double()).abs().sum(dim=1) <= eps * (1 + 1e-5)).all()


def test_a_projection_changes_nothing_of_values_that_stay() -> None:
    x = torch.tensor([[0.123456789, 0.5, 0.987654321]])
    y = geometry.project(x + torch.tensor([[0.01, 0.6, -0.02]]), x, Norm.L1, 0.2)
    assert y[0, 0] == x[0, 0] and y[0, 2] == x[0, 2] and y[0, 1] == pytest.approx(0.7)


def test_steepest_ascent_in_l1_is_along_the_steepest_value_with_its_sign() -> None:
    gradient = torch.tensor([[0.1, -3.0, 2.0], [0.0, 0.0, 0.0], [torch.nan, 1.0, 0.0], [1e30, -1e38, 1e38]])
    expected = [[0, -1, 0], [0, 0, 0], [0, 0, 0], [0, -1, 0]]
    assert geometry.direction(gradient, Norm.L1).tolist() == expected
    assert geometry.dual_norm(gradient, Norm.L1)[:2].tolist() == [
        3.0,
        0.0,
    ]  # what a step of length 1 gains, to first order


def test_the_l0_norm_has_no_steepest_ascent_and_says_so() -> None:
    with pytest.raises(UsageError, match="no direction of steepest ascent; choose a threat made for it: sigma-zero"):
        geometry.direction(torch.ones(1, 3), Norm.L0)


def test_points_are_uniform_in_the_volume_of_the_l1_ball() -> None:
    # Far from the walls (r/eps)^d is uniform in (0, 1): means of 4000 within 5 standard errors.
    ids, x = torch.arange(4000), torch.full((4000, 1, 1, 5), 0.5)
    points = geometry.uniform_in_ball(x, Norm.L1, 0.4, ids=ids, draw=1, context=CONTEXT)
    share = (geometry.distance(points, x, Norm.L1).double() / 0.4) ** 5
    assert abs(share.mean().item() - 0.5) < 5 * (1 / 12 / 4000) ** 0.5
    assert abs((share < 0.1).double().mean().item() - 0.1) < 5 * (0.09 / 4000) ** 0.5
    assert (points.mean(dim=0) - 0.5).abs().max() < 0.02
    spread = (points - 0.5).abs().mean(dim=0).flatten()
    assert spread.tolist() == pytest.approx([spread.mean().item()] * 5, rel=0.1)  # no value is preferred


def test_points_of_the_l0_ball_change_as_many_values_as_it_allows() -> None:
    ids, x = torch.arange(2000), torch.full((2000, 1, 2, 4), 0.25)
    points = geometry.uniform_in_ball(x, Norm.L0, 3.0, ids=ids, draw=1, context=CONTEXT)
    assert ((points != x).flatten(1).sum(dim=1) == 3).all()
    assert (points != x).double().mean(dim=0).flatten().tolist() == pytest.approx([3 / 8] * 8, abs=0.06)
    assert points[points != x].mean().item() == pytest.approx(0.5, abs=0.02)


def test_distances_and_the_radius_of_the_box() -> None:
    x = torch.zeros(1, 3, 2, 2)
    y = x.clone()
    y[0, :, 0, 0] = torch.tensor([0.5, 0.25, 0.0])
    assert geometry.distance(y, x, Norm.L1).item() == 0.75
    assert geometry.distance(y, x, Norm.L0).item() == 2.0  # values, not pixels
    assert [geometry.reach(x, norm, 1e9) for norm in (Norm.L1, Norm.L0)] == [12.0, 12.0]
    assert geometry.reach(x, Norm.L1, 4.0) == 4.0


def test_projections_of_no_rows_are_none() -> None:
    x = torch.zeros(0, 1, 2, 2)
    for norm in (Norm.L1, Norm.L0):
        assert geometry.project(x, x, norm, 1.0).shape == x.shape
    assert sparse_balls.uniform_l0(x.flatten(1), torch.zeros(0, 8), 2.0).shape == (0, 4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(list(Norm)), eps=st.floats(0.05, 12.0))
def test_an_l2_ball_of_the_radius_told_holds_the_other_ball_within_the_box(seed: int, norm: Norm, eps: float) -> None:
    x, toward = walled(seed, 9)
    y = geometry.project(x + 100 * toward, x, norm, eps)
    assert geometry.distance(y, x, Norm.L2).max() <= l2_radius(norm, eps, 9) * (1 + 1e-5) + 1e-6
