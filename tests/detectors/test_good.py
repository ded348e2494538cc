"""The certificate of GOOD: against a loop, where it is attained, and that nothing is above it."""

import math

import pytest
import torch
from torch.nn.functional import silu

from bench.cards.threat import Norm, Side
from bench.detectors.good import GOOD
from bench.detectors.intervals import ball, can_be_bounded, log_odds_bound, pairwise_bounds
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.small import SmallConvNet
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase
from bench.threat_models.base import Context
from bench.threat_models.geometry import uniform_in_ball

SHAPE, CLASSES = (1, 8, 8), 3
RADII = [(Norm.LINF, 0.05), (Norm.LINF, 0.6), (Norm.L2, 0.3), (Norm.L2, 3.0), (Norm.L1, 1.5), (Norm.L0, 4.0)]


@pytest.fixture
def good():
    def build(shape: tuple[int, int, int] = SHAPE, params: dict | None = None, **steps: object) -> GOOD:
        torch.manual_seed(1)
        inside = FromPixels(SmallConvNet((4, 5), 8, CLASSES, in_channels=shape[0], size=8), **steps)
        with torch.no_grad():
            for parameter in inside.parameters():
                parameter.mul_(2.0)
        return GOOD(inside, shape=shape, classes=CLASSES, params=GOOD.Params(**(params or {}))).eval()

    return build


@pytest.fixture
def images() -> torch.Tensor:
    x = torch.rand(6, *SHAPE)
    x[0], x[1] = 0.0, x[1].round()
    return x


def naive_differences(detector, image, low, high, radius):
    """u_kl of one image, by the positive and negative parts of the weights."""
    network = detector.network
    inner = network.network
    a, b = ((end[None] - network.mean) / network.std for end in (low, high))
    for number, layer in enumerate(inner.convolutions):
        weight, bias = layer.weight.double(), layer.bias.double()
        given = {"stride": 2, "padding": layer.kernel_size[0] // 2}
        conv = torch.nn.functional.conv2d
        up, down = weight.clamp_min(0), weight.clamp_max(0)
        lowest = conv(a, up, bias, **given) + conv(b, down, **given)
        highest = conv(b, up, bias, **given) + conv(a, down, **given)
        if number == 0 and radius is not None:
            at = conv((image[None] - network.mean) / network.std, weight, bias, **given)
            patches = torch.nn.functional.unfold(torch.ones_like(a), layer.kernel_size, **given)
            scaled = (weight / network.std.double()).flatten(1)
            lengths = (scaled.square() @ patches[0]).sqrt().view_as(at)
            lowest = torch.maximum(lowest, at - radius * lengths)
            highest = torch.minimum(highest, at + radius * lengths)
        a, b = silu_ends(lowest, highest)
    weight, bias = inner.hidden.weight.double(), inner.hidden.bias.double()
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    a, b = a.flatten(), b.flatten()
    a, b = silu_ends(up @ a + down @ b + bias, up @ b + down @ a + bias)
    found = torch.zeros(CLASSES, CLASSES, dtype=torch.float64)
    for k in range(CLASSES):
        for other in range(CLASSES):
            row = inner.output.weight[k].double() - inner.output.weight[other].double()
            offset = float(inner.output.bias[k].double() - inner.output.bias[other].double())
            found[k, other] = sum(max(float(w * p), float(w * q)) for w, p, q in zip(row, a, b, strict=True)) + offset
    return found


def silu_ends(low, high):
    turning = torch.full_like(low, -1.2784645427610738).clamp(low, high)
    values = torch.stack([silu(low), silu(high), silu(turning)])
    return values.amin(dim=0), values.amax(dim=0)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check, good, images):
    check(DetectorCase(good(), images))


@pytest.mark.parametrize(("norm", "eps"), RADII)
def test_bounds_of_differences_are_those_of_a_loop_over_positive_and_negative_weights(good, norm, eps):
    detector = good((3, 8, 8), mean=(0.3, 0.4, 0.5), std=(0.2, 0.5, 2.0))
    x = torch.rand(3, 3, 8, 8)
    around = ball(x.double(), norm, eps)
    with torch.no_grad():
        found = pairwise_bounds(detector.network, around)
        for differences, *pixels in zip(found, around.centre, around.low, around.high, strict=True):
            expected = naive_differences(detector, *pixels, around.radius)
            torch.testing.assert_close(differences, expected, atol=1e-9, rtol=1e-9)


def test_a_bound_on_differences_bounds_the_log_odds_by_its_formula():
    u = torch.tensor([[[0.0, 1.0, 2.0], [-1.0, 0.0, 0.5], [3.0, 0.0, 0.0]]], dtype=torch.float64)
    others = ((1.0, 2.0), (-1.0, 0.5), (3.0, 0.0))
    by_class = [-math.log(math.exp(-a) + math.exp(-b)) for a, b in others]
    assert float(log_odds_bound(u)) == pytest.approx(max(by_class))


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1, Norm.L0])
def test_without_a_radius_the_bound_is_the_score(good, images, norm):
    detector = good()
    torch.testing.assert_close(detector.bound(images, norm, 0.0), detector.score(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("norm", "eps"), RADII)
def test_no_point_of_a_ball_scores_above_the_bound(good, images, norm, eps):
    detector, ids = good(), torch.arange(len(images))
    bound = detector.bound(images, norm, eps)
    assert (bound > detector.score(images)).all()
    for draw in range(20):
        points = uniform_in_ball(images, norm, eps, ids=ids, draw=draw, context=Context(Side.EVADE))
        assert (detector.score(points) <= bound).all()


@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, 0.05), (Norm.L2, 0.3)])
def test_no_ascent_in_a_ball_ends_above_the_bound(good, images, norm, eps):
    detector, x = good(), images.clone()
    bound = detector.bound(images, norm, eps)
    for _ in range(30):
        leaf = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(detector.score(leaf).sum(), leaf)
        step = gradient.sign() if norm is Norm.LINF else gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved = x + 0.4 * eps * step - images
        if norm is Norm.L2:
            moved *= (0.999 * eps / moved.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp_max(1.0)
        x = (images + moved.clamp(-eps, eps)).clamp(0, 1)
    score = detector.score(x)
    assert (score <= bound).all()
    assert (score - detector.score(images)).mean() > 0.01 * (bound - detector.score(images)).mean()


def test_the_certificate_is_attained_where_every_unit_rises_with_every_pixel(good):
    detector = good()
    inner = detector.network.network
    with torch.no_grad():
        for layer in (*inner.convolutions, inner.hidden):
            layer.weight.abs_()
            layer.bias.abs_()
        inner.output.weight[0].abs_()
        inner.output.weight[1:] = inner.output.weight[1:2].abs().neg()  # the others are always equal
        inner.output.bias.zero_()
    x = torch.full((1, *SHAPE), 0.5)
    assert float(detector.bound(x, Norm.LINF, 0.2)) == pytest.approx(float(detector.score(x + 0.2).detach()), rel=1e-5)
    assert float(detector.bound(x, Norm.LINF, 0.9)) == pytest.approx(
        float(detector.score(torch.ones_like(x)).detach()), rel=1e-5
    )


def test_an_l2_ball_has_a_tighter_bound_than_the_cube_that_holds_it(good, images):
    detector = good()
    assert (detector.bound(images, Norm.L2, 0.3) < detector.bound(images, Norm.LINF, 0.3)).all()


def test_a_probability_is_bounded_as_its_log_odds_are(good, images):
    expected = torch.sigmoid(good().bound(images, Norm.LINF, 0.05))
    torch.testing.assert_close(good(params={"score": "probability"}).bound(images, Norm.LINF, 0.05), expected)


def test_what_cannot_be_bounded_has_no_certificate(good, make_detector, images):
    assert make_detector(GOOD).bound(images, Norm.LINF, 0.1) is None  # a network of other layers
    assert good(params={"shaping": {"kind": "scale"}}).bound(images, Norm.LINF, 0.1) is None
    assert not can_be_bounded(None)
    assert not can_be_bounded(good(crop=6).network)
    assert not can_be_bounded(good(resize=16).network)
