import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.threat_models import geometry
from bench.threat_models.base import Context

CONTEXT = Context(Side.EVADE, seed=5)


def bisected_l2_projection(z: Tensor, x: Tensor, eps: float) -> Tensor:
    """The reference: the same ray, searched by bisection in float64."""
    z, x = z.double(), x.double()
    low, high = torch.zeros(len(x), 1).double(), torch.ones(len(x), 1).double()
    whole = (z.clamp(0, 1) - x).norm(dim=1, keepdim=True) <= eps
    for _ in range(100):
        middle = (low + high) / 2
        fits = ((x + middle * (z - x)).clamp(0, 1) - x).norm(dim=1, keepdim=True) <= eps
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return (x + torch.where(whole, 1.0, low) * (z - x)).clamp(0, 1)


def walled(seed: int, pixels: int, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Images with pixels on both walls, and directions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, pixels, generator=generator)
    x = torch.where(x < 0.4, 0.0, torch.where(x > 0.9, 1.0, x))
    return x, torch.randn(rows, pixels, generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pixels=st.sampled_from([1, 2, 7, 64, 1024]),
    eps=st.floats(0.01, 30.0),
    reach=st.sampled_from([0.01, 0.3, 3.0, 100.0]),
)
def test_the_l2_projection_is_the_bisected_one(seed: int, pixels: int, eps: float, reach: float) -> None:
    x, toward = walled(seed, pixels)
    z = x + reach * toward
    ours = geometry.project(z, x, Norm.L2, eps)
    assert (ours.double() - x.double()).norm(dim=1).max() <= eps * (1 + 1e-5)
    assert ours.min() >= 0.0
    assert ours.max() <= 1.0
    reference = bisected_l2_projection(z, x, eps)
    # Nearness to z, not to the reference: where S is flat, points far apart are equally near. Scale: the whole step.
    missed = (z.double() - ours.double()).norm(dim=1) - (z.double() - reference).norm(dim=1)
    assert (missed <= 1e-5 * min(eps, math.sqrt(pixels)) + 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), eps=st.floats(1e-4, 2.0))
def test_the_linf_projection_clamps_every_pixel(seed: int, eps: float) -> None:
    x, toward = walled(seed, 50)
    ours = geometry.project(x + toward, x, Norm.LINF, eps)
    expected = torch.minimum(torch.maximum((x + toward).double(), x.double() - eps), x.double() + eps).clamp(0, 1)
    assert (ours.double() - x.double()).abs().max() <= eps * (1 + 1e-5)
    assert torch.allclose(ours.double(), expected, rtol=0, atol=1.2e-7)  # two roundings of pixels near 1


@pytest.mark.parametrize(("norm", "eps"), [(Norm.L2, 0.5), (Norm.LINF, 0.5), (Norm.L1, 0.5), (Norm.L0, 30.0)])
def test_a_point_inside_ball_and_box_stays_where_it_is(norm: Norm, eps: float) -> None:
    x, toward = walled(1, 30)
    z = (x + 1e-3 * toward).clamp(0, 1)
    assert torch.allclose(geometry.project(z, x, norm, eps), z, atol=1e-7)


def test_a_tiny_l2_ball_is_not_left_by_rounding() -> None:
    x, toward = walled(2, 1024)
    for eps in (1e-3, 1e-4, 1e-5):
        y = geometry.project(x + toward, x, Norm.L2, eps)
        assert (y.double() - x.double()).norm(dim=1).max() <= eps * (1 + 1e-5)


def test_projecting_the_centre_gives_the_centre() -> None:
    x, _ = walled(3, 20)
    assert torch.equal(geometry.project(x, x, Norm.L2, 1.0), x)


def test_ascent_directions_have_unit_length() -> None:
    _, gradient = walled(4, 40)
    assert torch.allclose(geometry.direction(gradient, Norm.L2).norm(dim=1), torch.ones(4))
    assert torch.equal(geometry.direction(gradient, Norm.LINF), gradient.sign())


@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e25, 1e36])
def test_a_direction_survives_gradients_whose_squares_leave_float32(scale: float) -> None:
    _, gradient = walled(5, 40)
    expected = geometry.direction(gradient, Norm.L2)
    assert torch.allclose(geometry.direction(gradient * scale, Norm.L2), expected, atol=1e-5)


def test_zero_and_non_finite_gradients_give_no_direction_and_disturb_no_other_sample() -> None:
    _, gradient = walled(6, 40)
    spoiled = gradient.clone()
    spoiled[0], spoiled[1, 3], spoiled[2, 5] = 0.0, torch.nan, torch.inf
    for norm in (Norm.L2, Norm.LINF, Norm.L1):
        direction = geometry.direction(spoiled, norm)
        assert torch.equal(direction[:3], torch.zeros(3, 40))
        assert torch.equal(direction[3], geometry.direction(gradient, norm)[3])


def test_distances_are_those_of_the_definition() -> None:
    x = torch.zeros(1, 1, 1, 2)
    y = torch.tensor([[[[0.3, 0.4]]]])
    assert geometry.distance(y, x, Norm.L2).item() == pytest.approx(0.5, rel=1e-6)
    assert geometry.distance(y, x, Norm.LINF).item() == pytest.approx(0.4, rel=1e-6)


def test_points_are_uniform_in_the_volume_of_the_l2_ball() -> None:
    # Far from the walls (r/eps)^d is uniform in (0, 1): the mean of 4000 is within 5 standard errors of 1/2.
    ids, x = torch.arange(4000), torch.full((4000, 1, 1, 5), 0.5)
    points = geometry.uniform_in_ball(x, Norm.L2, 0.2, ids=ids, draw=1, context=CONTEXT)
    share = (geometry.distance(points, x, Norm.L2).double() / 0.2) ** 5
    assert abs(share.mean().item() - 0.5) < 5 * math.sqrt(1 / 12 / 4000)
    assert abs((share < 0.1).double().mean().item() - 0.1) < 5 * math.sqrt(0.09 / 4000)
    assert (points.mean(dim=0) - 0.5).abs().max() < 0.02


def test_points_are_uniform_in_the_linf_ball() -> None:
    ids, x = torch.arange(4000), torch.full((4000, 1, 1, 3), 0.5)
    points = geometry.uniform_in_ball(x, Norm.LINF, 0.2, ids=ids, draw=1, context=CONTEXT)
    offset = (points - x).double() / 0.2
    assert offset.abs().max() <= 1.0
    assert abs(offset.square().mean().item() - 1 / 3) < 5 * math.sqrt(4 / 45 / 12_000)


@pytest.mark.parametrize("norm", list(Norm))
def test_points_depend_on_seed_id_and_draw_alone(norm: Norm) -> None:
    ids, x, eps = torch.arange(8), torch.full((8, 1, 4, 4), 0.5), 3.0 if norm is Norm.L0 else 0.2
    points = geometry.uniform_in_ball(x, norm, eps, ids=ids, draw=1, context=CONTEXT)
    turned = geometry.uniform_in_ball(x, norm, eps, ids=ids.flip(0), draw=1, context=CONTEXT)
    assert torch.equal(points.flip(0), turned)
    for other in (
        geometry.uniform_in_ball(x, norm, eps, ids=ids, draw=2, context=CONTEXT),
        geometry.uniform_in_ball(x, norm, eps, ids=ids, draw=1, context=Context(Side.EVADE, seed=6)),
    ):
        assert not torch.equal(points, other)


@pytest.mark.parametrize("count", [1, 5])
def test_the_radius_that_holds_the_box_is_its_diagonal_in_l2_and_its_side_in_linf_whatever_the_batch(
    count: int,
) -> None:
    x = torch.zeros(count, 3, 4, 4)
    assert geometry.reach(x, Norm.L2, 1e9) == pytest.approx(48**0.5)
    assert geometry.reach(x, Norm.LINF, 1e9) == 1.0
    assert geometry.reach(x, Norm.L2, 0.25) == geometry.reach(x, Norm.LINF, 0.25) == 0.25
