"""Scores that are cut from their images, differentiated all the same, and what of that is believed."""

import re

import pytest
import torch

from bench.detectors.adapters.uncut import Uncut, converted, rounded_away, why_not
from bench.detectors.central_differences import directional_errors

X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def square(x):
    return x.flatten(1).square().sum(dim=1)


@torch.no_grad()
def by_decorator(x):
    return square(x)


def by_context(x):
    with torch.no_grad():
        return square(x)


def by_switch(x):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    found = square(x)
    torch.set_grad_enabled(before)
    return found


CUT = {
    "decorator": by_decorator,
    "context": by_context,
    "switch": by_switch,
    "detach before": lambda x: square(x.detach()),
    "detach after": lambda x: square(x).detach(),
    "data": lambda x: square(x.data),
}


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
def test_whatever_cuts_a_score_from_its_images_is_passed_over(cut):
    leaf = X.clone().requires_grad_(True)
    assert not cut(leaf).requires_grad
    with Uncut():
        scores = cut(leaf)
    assert torch.equal(torch.autograd.grad(scores.sum(), leaf)[0], 2 * X)


def test_afterwards_gradients_can_be_switched_off_again():
    with Uncut(), torch.no_grad():
        pass
    leaf = X.clone().requires_grad_(True)
    assert torch.is_grad_enabled() and not by_context(leaf).requires_grad and not leaf.detach().requires_grad


def uncut(score):
    def followed(x):
        with Uncut():
            return score(x)

    return lambda x: followed(x) if x.requires_grad else score(x).detach()


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_exact_gradient_is_believed(cut, dtype):
    assert why_not(uncut(cut), X.to(dtype)) == ""


def kinked(x):
    """A score with a kink at nearly every pixel, and a gradient that is right off the kinks."""
    return (x - 0.5).abs().flatten(1).sum(dim=1)


def test_kinks_that_no_step_crosses_do_not_matter():
    assert why_not(kinked, X) == ""


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (
            lambda x: square(x) + (square(x) - square(x.detach())),
            r"agrees with central differences in \d%",
        ),
        (lambda x: square((x * 8).round() / 8), "is 0 at every image"),
        (lambda x: torch.from_numpy(x.detach().numpy()).flatten(1).sum(dim=1), "does not reach the images"),
        (lambda x: x.numpy().sum(axis=(1, 2, 3)), r"cannot be followed \(RuntimeError: Can't call numpy"),
        (lambda x: square(x) + (10.0 if x.requires_grad else 0.0), "are others when they are followed"),
        (lambda x: square(x - x.clone()).sqrt() + square(x), "is not finite"),
    ],
)
def test_what_is_no_gradient_of_the_score_is_not_believed(score, why):
    assert re.search(why, why_not(score, X))


def test_a_direction_that_the_gradient_lacks_is_found_by_random_ones():
    """A term that is cut adds nothing along the gradient where the two are orthogonal."""

    def half_cut(x):
        return x[:, :, :2].flatten(1).sum(dim=1) + x[:, :, 2:].detach().flatten(1).sum(dim=1)

    leaf = X.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(half_cut(leaf).sum(), leaf)
    errors = directional_errors(half_cut, X, gradient, [1e-4], 1e-3)
    assert float(errors[0].max()) < 1e-6 < 0.1 < float(errors[1:].median())
    assert "agrees with central differences in" in why_not(half_cut, X)


def test_errors_are_those_of_a_known_quadratic():
    """The central difference of a quadratic is exact, so a gradient that is doubled is off by half of its length."""
    right = directional_errors(square, X, 2 * X, [1e-3], 1e-9)
    along = directional_errors(square, X, 4 * X, [1e-3], 1e-9)[0]
    assert float(right.max()) < 1e-9
    torch.testing.assert_close(along, torch.full((3,), 0.5, dtype=torch.float64))


def test_a_gradient_that_float32_rounds_away_is_no_gradient():
    class Cancelling(torch.autograd.Function):
        @staticmethod
        def forward(ctx, scores):
            return scores.clone()

        @staticmethod
        def backward(ctx, slopes):
            return (slopes + 1e8) - 1e8

    def cancelling(x):
        return Cancelling.apply(x.square()).flatten(1).sum(dim=1)

    assert why_not(cancelling, X) == ""
    assert "in float32 is another than in float64" in rounded_away(cancelling, cancelling, X.float())
    assert rounded_away(square, square, X.float()) == ""


def test_tensors_are_converted_wherever_a_library_holds_them():
    class Held:
        pass

    Held.__module__ = "lib.part"
    held, inner = Held(), Held()
    layer = torch.nn.Linear(2, 2)
    inner.mean, inner.count = torch.zeros(2), 3
    held.parts, held.by_name, held.inner, held.layer, held.weight = (
        [torch.ones(1)],
        {"a": torch.ones(1)},
        inner,
        layer,
        layer.weight,
    )
    assert converted(held, lambda tensor: tensor.double(), "lib") is held
    assert {held.parts[0].dtype, held.by_name["a"].dtype, inner.mean.dtype, layer.bias.dtype} == {torch.float64}
    assert held.weight is layer.weight and held.weight.dtype == torch.float64 and inner.count == 3


def test_a_gradient_that_vanishes_in_float32_alone_is_told():
    def blind(x):
        return square(x) if x.dtype is torch.float64 else 0.0 * square(x)

    assert rounded_away(blind, square, X.float()) == "its gradient in float32 is another than in float64"
    assert rounded_away(square, square, X.float()) == ""


def test_a_gradient_in_float32_may_be_off_by_a_twentieth_and_no_more():
    for share, told in ((1.04, False), (0.96, False), (1.06, True), (0.94, True)):
        assert bool(rounded_away(lambda x, share=share: share * square(x), square, X.float())) is told


def test_a_gradient_in_float32_is_held_to_that_in_float64_as_a_whole_and_not_pixel_by_pixel():
    weight = torch.full((16,), 1e-3, dtype=torch.float64)
    weight[3] = 1.0

    def turned(x):
        return (x.flatten(1) * torch.where(weight == 1.0, -weight, weight).to(x.dtype)).sum(dim=1)

    def straight(x):
        return (x.flatten(1) * weight.to(x.dtype)).sum(dim=1)

    assert rounded_away(straight, straight, X.float()) == ""
    assert "in float32 is another than in float64" in rounded_away(turned, straight, X.float())
