"""What is asked of a detector itself, on scores whose gradient, noise and roundness are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.soundness import probes
from bench.soundness.probes import Target
from bench.testing.closed_forms import SHAPE, FlatScore, LinearScore, PoisonedScore, QuadraticScore, RoundedScore
from bench.threat_models.base import Context

COUNT = 12
IDS = torch.arange(COUNT) + 7


def images() -> Tensor:
    return torch.rand((COUNT, *SHAPE), generator=torch.Generator().manual_seed(0))


def target(detector, norm: Norm = Norm.L2, eps: float = 0.5, side: Side = Side.EVADE) -> Target:
    return Target(detector.eval(), images(), IDS, norm, eps, Context(side, seed=3, micro_batch=8))


class Hidden(LinearScore):
    """A linear score whose gradient is that of another: what a detached tensor or a straight-through trick does."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        claimed = super().score(x) * 5.0
        return claimed - claimed.detach() + super().score(x).detach()


class Rounded(LinearScore):
    """A step function without another objective: its gradient is zero."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x).round()


class Rippled(LinearScore):
    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) + 3.0 * torch.sin(1e4 * x.flatten(1).mean(1))


class Coupled(LinearScore):
    """Every image feels its batch mates."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) + x.mean()


class Drifting(LinearScore):
    """Another score each time."""

    calls = 0

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        self.calls += 1
        return super().score(x) + 0.1 * self.calls


class Ordered(LinearScore):
    """The place in the batch counts."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) + 0.01 * torch.arange(len(x))


def test_a_plain_score_is_the_same_twice():
    found = probes.differences(LinearScore().eval(), images(), 1.0, 4)
    assert set(found) == {"asked_twice", "another_order", "one_by_one"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize(
    ("detector", "where"), [(Drifting, "asked_twice"), (Ordered, "another_order"), (Coupled, "one_by_one")]
)
def test_a_score_that_depends_on_more_than_the_image_is_noticed(detector, where):
    assert probes.differences(detector().eval(), images(), 1.0, 4)[where] > 1e-3


def test_a_batch_shape_is_compared_with_where_there_are_more_images_than_it_holds_and_all_are_where_not():
    small, large = (probes.differences(Coupled().eval(), images(), 1.0, size) for size in (4, 3 * COUNT))
    assert small["another_order"] > 1e-3 and large["another_order"] < 1e-5
    assert small["one_by_one"] > 1e-3 and large["one_by_one"] > 1e-3


def test_differences_are_told_in_iqrs():
    one, two = (probes.differences(Ordered().eval(), images(), iqr, 4)["another_order"] for iqr in (1.0, 2.0))
    assert one == pytest.approx(2.0 * two)


@pytest.mark.parametrize(
    ("detector", "share"), [(LinearScore, 0.0), (RoundedScore, 0.0), (Rounded, 1.0), (FlatScore, 1.0)]
)
def test_images_without_a_gradient_are_counted_by_what_directs_the_attack(detector, share):
    assert set(probes.unusable_gradients(target(detector())).values()) == {share}


def test_a_gradient_that_is_not_finite_is_none():
    shares = probes.unusable_gradients(target(PoisonedScore()))
    assert shares["at_the_image"] == pytest.approx(float((images()[:, 0, 0, 0] > 0.5).double().mean()))


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
@pytest.mark.parametrize("detector", [LinearScore, QuadraticScore])
@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
def test_the_gradient_of_a_smooth_score_is_confirmed(detector, norm, side):
    errors = probes.gradient_errors(target(detector(), norm, 0.05, side))
    assert min(errors.values()) < 1e-3


def test_a_gradient_that_is_another_functions_is_five_times_too_long():
    assert min(probes.gradient_errors(target(Hidden())).values()) == pytest.approx(0.8, abs=1e-3)


def test_a_ripple_finer_than_the_steps_is_not_confirmed():
    assert min(probes.gradient_errors(target(Rippled())).values()) > 0.5


class Wavy(LinearScore):
    """sin(w.x / 0.012), w of length 1: right slopes at a distance of 0.001 of a ball of 0.1, and wrong ones at 0.01."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return torch.sin(super().score(x) / (0.006 * self.weight.norm()))


def test_the_shortest_steps_confirm_a_score_that_bends_within_a_longer_one():
    """Central differences of sin(t / 0.006) over a step h have the slope times sin(h / 0.006) / (h / 0.006)."""
    errors = probes.gradient_errors(target(Wavy(), Norm.L2, 0.1))
    for step in (0.01, 0.03, 0.1):
        bend = 0.1 * step / 0.006
        assert errors[step] == pytest.approx(1 - math.sin(bend) / bend, abs=0.02)
    assert min(errors.values()) == errors[0.01] < 0.03


def test_without_any_gradient_there_is_nothing_to_confirm():
    assert probes.gradient_errors(target(FlatScore())) == {}


def test_steps_that_would_leave_the_box_are_left_out():
    assert all(step * 10.0 <= 1.0 for step in probes.gradient_errors(target(LinearScore(), Norm.LINF, 0.5)))


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
def test_the_best_random_point_is_the_best_of_those_drawn(side):
    probed = target(LinearScore(), side=side)
    found = probes.random_points(probed, 1.0)
    scores = [probed.detector.score(probed.x)] + [
        probed.detector.score(probed.points(draw + 1)) for draw in range(probes.POINTS)
    ]
    stacked = torch.stack(scores).detach()
    expected = stacked.amin(0) if side is Side.ALARM else stacked.amax(0)
    np.testing.assert_allclose(found.scores, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(probed.detector.score(found.images).detach(), found.scores, atol=1e-5)


def test_roughness_is_the_mean_move_of_the_score_in_iqrs_and_at_most_one():
    probed = target(LinearScore())
    own = probed.detector.score(probed.x)
    moves = torch.stack([(probed.detector.score(probed.points(d + 1)) - own).abs() for d in range(probes.POINTS)])
    for iqr in (0.05, 5.0):
        expected = float((moves / iqr).detach().clamp(max=1.0).mean())
        assert probes.random_points(probed, iqr).roughness == pytest.approx(expected, rel=1e-4)
    assert math.isclose(probes.random_points(target(FlatScore()), 1.0).roughness, 0.0)


def test_random_points_of_scores_that_are_nan_are_no_gain():
    found = probes.random_points(target(PoisonedScore()), 1.0)
    fine = images()[:, 0, 0, 0] <= 0.5
    assert bool(np.isfinite(found.scores[fine.numpy()]).all())
    assert math.isfinite(found.roughness)


def test_a_probe_leaves_mode_and_random_state_as_they_were():
    detector = LinearScore().train()
    state = torch.get_rng_state()
    probed = Target(detector, images(), IDS, Norm.L2, 0.5, Context(Side.EVADE, micro_batch=8))
    probes.unusable_gradients(probed)
    probes.gradient_errors(probed)
    probes.random_points(probed, 1.0)
    probes.differences(detector, images(), 1.0, 4)
    assert detector.training and detector.dropout.training
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert torch.equal(state, torch.get_rng_state())
