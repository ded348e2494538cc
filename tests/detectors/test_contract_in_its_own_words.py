"""Which rule of the contract a broken detector is said to break, one rule and one half of a rule at a time."""

import pytest
import torch

from bench.detectors.base import DetectorInfo
from bench.detectors.energy import Energy
from bench.testing import detectors
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase, check_detector


class Right(Energy):
    info = DetectorInfo(components=("classifier",))


class Two(Right):
    def score(self, x, *, noise=None):
        return super().score(x)[:, None]


class Double(Right):
    def objective(self, x):
        return super().objective(x).double()


class NanObjective(Right):
    def objective(self, x):
        return super().objective(x) * torch.nan


class FirstCallDiffers(Right):
    calls = 0

    def score(self, x, *, noise=None):
        self.calls += 1
        return super().score(x) * self.calls


class InferenceDiffers(Right):
    def score(self, x, *, noise=None):
        return super().score(x) * (2.0 if torch.is_inference_mode_enabled() else 1.0)


class NoGradientsDiffer(Right):
    def score(self, x, *, noise=None):
        alone = not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        return super().score(x) * (2.0 if alone else 1.0)


class OrderMatters(Right):
    def score(self, x, *, noise=None):
        return super().score(x) * torch.arange(1.0, len(x) + 1)


class SizeMatters(Right):
    def score(self, x, *, noise=None):
        return super().score(x) * len(x)


class OtherScores(Right):
    def score_and_objective(self, x):
        score = self.score(x)
        return 2 * score, score


class OtherObjectives(Right):
    def score_and_objective(self, x):
        score = self.score(x)
        return score, 2 * score


class Flat(Right):
    def score(self, x, *, noise=None):
        return super().score(x) * 0


class NanGradient(Right):
    def score(self, x, *, noise=None):
        return super().score(x) + (x * 0).flatten(1).sum(1).sqrt()


class TrainsParameters(Right):
    def score(self, x, *, noise=None):
        score = super().score(x)
        if score.requires_grad:
            score.sum().backward(retain_graph=True)
            x.grad = None
        return score


class FreezesParameters(Right):
    def score(self, x, *, noise=None):
        self.network.requires_grad_(False)
        return super().score(x)


class MovesParameters(Right):
    def score(self, x, *, noise=None):
        score = super().score(x)
        next(self.network.parameters()).data.mul_(1.5)
        return score


class WantsGradients(Right):
    def objective(self, x):
        return super().objective(x.requires_grad_(True))


class LeavesGradient(Right):
    def score(self, x, *, noise=None):
        score = super().score(x)
        if x.is_leaf and x.requires_grad:
            x.grad = torch.zeros_like(x)
        return score


class LogitsOfNone(Right):
    info = DetectorInfo(classifier=False)

    def logits(self, x):
        return self.network(x)


class OneLogitFewer(Right):
    def logits(self, x):
        return self.network(x)[:-1]


class NoLogits(Right):
    def logits(self, x):
        return None


BROKEN = {
    Two: "score has shape (12, 1), not (N,)",
    Double: "objective is torch.float64 for torch.float32 images",
    NanObjective: "objective is not finite for 12 images",
    Flat: "the scores of different images are all the same",
    FirstCallDiffers: "scores of a second call differ by",
    NoGradientsDiffer: "scores under no_grad differ by",
    InferenceDiffers: "scores under inference_mode differ by",
    OrderMatters: "scores of a permuted batch differ by",
    SizeMatters: "scores of single images differ by",
    OtherScores: "the scores of score_and_objective differ by",
    OtherObjectives: "the objectives of score_and_objective differ by",
    NanGradient: "the gradient of the score is not finite",
    TrainsParameters: "scoring left gradients in parameters",
    FreezesParameters: "scoring changed requires_grad",
    MovesParameters: "scoring changed 'network.",
    WantsGradients: "scoring switched on the gradients of the images it was given",
    LeavesGradient: "scoring left a gradient in the images it was given",
    LogitsOfNone: "info.classifier is False, and logits are given",
    OneLogitFewer: "logits do not have shape (12, 3)",
}


def said(detector, images, ood=None):
    """What each check says of a fresh copy of a detector, in one piece."""
    try:
        check_detector(detector, images, ood=ood)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_the_rule_that_is_broken_is_named(make_detector, images, broken):
    assert BROKEN[broken] in said(make_detector(broken), images)


@pytest.mark.parametrize("fine", [Right, NoLogits])
def test_of_a_detector_that_keeps_every_rule_nothing_is_said(make_detector, images, fine):
    assert said(make_detector(fine), images) == ""


def test_the_zero_gradient_of_every_image_is_a_broken_one(make_detector, images):
    with pytest.raises(AssertionError, match="the gradient of the score is zero for every image"):
        detectors.check_gradient_is_the_gradient(DetectorCase(make_detector(Flat), images))


class NotDifferentiable(Flat):
    info = DetectorInfo(components=("classifier",), differentiable=False)


class Approximate(Right):
    info = DetectorInfo(components=("classifier",), approximate_gradient="half of it")

    def score(self, x, *, noise=None):
        return super().score(x) + super().score(x).detach()


@pytest.mark.parametrize("declared", [NotDifferentiable, Approximate])
def test_what_is_declared_of_a_gradient_is_not_held_against_it(make_detector, images, declared):
    detectors.check_gradient_is_the_gradient(DetectorCase(make_detector(declared), images))
    detectors.check_float32_gradient_is_that_of_float64(DetectorCase(make_detector(declared), images))
    detectors.check_gradient_is_finite_everywhere(DetectorCase(make_detector(declared), images))


class Offset(Right):
    """Scores that differ from call to call by this share of their range."""

    share = 0.0
    calls = 0

    def score(self, x, *, noise=None):
        self.calls += 1
        return super().score(x).double() + self.share * self.calls


@pytest.mark.parametrize(
    ("info", "allowed"),
    [
        ({}, detectors.SAME),
        ({"roundings": "a"}, detectors.SAME_UP_TO_ROUNDINGS),
        ({"jumps": "a"}, detectors.SAME_UP_TO_JUMPS),
    ],
)
def test_how_far_scores_may_differ_follows_what_is_declared(make_detector, images, info, allowed):
    class Drifting(Offset):
        pass

    Drifting.info = DetectorInfo(components=("classifier",), **info)
    detector = make_detector(Drifting)
    spread = detectors._range(detector.score(images).detach())
    for factor in (0.7, 1.5):
        detector.share = factor * allowed * spread / (len(images) + 2)  # how many calls follow the first
        case = DetectorCase(detector, images)
        if factor < 1:
            detectors.check_scores_do_not_depend_on_batch_mates(case)
        else:
            with pytest.raises(AssertionError, match=f", {allowed:g} of their range"):
                detectors.check_scores_do_not_depend_on_batch_mates(case)


def test_limits_of_agreement_are_these():
    assert (detectors.SAME, detectors.SAME_UP_TO_ROUNDINGS, detectors.SAME_UP_TO_JUMPS) == (1e-5, 1e-4, 1e-3)
    assert (detectors.STEPS, detectors.GRADIENT_ERROR) == ((1e-6, 1e-4), 1e-3)
    assert (detectors.AGREEING, detectors.ROUNDED) == (0.9, 0.05)
    assert len(DETECTOR_CHECKS) == len(set(DETECTOR_CHECKS)) == 15


def test_the_range_is_that_between_the_quartiles():
    assert detectors._range(torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])) == 2.0
    detectors._same(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 2.5]), "x", 0.5 / 1.25)
    with pytest.raises(AssertionError, match=r"x differ by 0\.5; allowed is 0\.49"):
        detectors._same(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 2.5]), "x", 0.49 / 1.25)


def test_equal_means_are_not_higher_ones(make_detector, images):
    with pytest.raises(AssertionError, match="not higher"):
        detectors.check_in_distribution_scores_are_higher(DetectorCase(make_detector(Right), images, images))
    detectors.check_in_distribution_scores_are_higher(DetectorCase(make_detector(Right), images))
