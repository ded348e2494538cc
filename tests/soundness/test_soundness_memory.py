"""A score that answers who asks, or what was asked before, on linear scores whose lie is known."""

import pytest
import torch
from torch import Tensor

from bench.soundness.memory import hidden_dependence
from bench.soundness.records import same_twice
from bench.soundness.verdicts import Verdict
from bench.testing.closed_forms import SHAPE, LinearScore

COUNT, LIE = 8, 0.25


def images() -> Tensor:
    return torch.rand((COUNT, *SHAPE), generator=torch.Generator().manual_seed(0))


class TwoFaced(LinearScore):
    """Higher by a constant for who asks for gradients."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) + LIE * float(torch.is_grad_enabled() and x.requires_grad)


class ModeOnly(LinearScore):
    """Higher by a constant wherever gradients are recorded."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) + LIE * float(torch.is_grad_enabled())


class Counting(LinearScore):
    """Lower by a constant for each earlier question of whoever asks."""

    questions = 0

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        found = super().score(x) - LIE * self.questions
        self.questions += 1
        return found


class CountsGradients(LinearScore):
    """Lower by a constant for each earlier question for gradients."""

    questions = 0

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        found = super().score(x) - LIE * self.questions
        self.questions += int(x.requires_grad)
        return found


class Remembering(LinearScore):
    """Lower by a constant for an image that is near an earlier one, and not equal to it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        own = x.detach().flatten(1)
        near = torch.zeros(len(x), dtype=torch.bool)
        if self.seen:
            apart = torch.cdist(own, torch.cat(self.seen))
            near = (apart < 0.25).any(1) & (apart > 1e-3).all(1)
        self.seen.append(own.clone())
        return super().score(x) - LIE * near


class NotToBeCopied(LinearScore):
    def __deepcopy__(self, memo):
        raise RuntimeError("one of its kind")


def test_an_honest_score_depends_on_the_image_alone():
    found = hidden_dependence(LinearScore().eval(), images(), 1.0, 4)
    assert set(found) == {"asked_for_gradients", "after_its_neighbours"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("detector", [TwoFaced, ModeOnly])
def test_another_answer_for_gradients_is_noticed_by_how_much_it_differs(detector):
    found = hidden_dependence(detector().eval(), images(), 0.5, 4)
    assert found["asked_for_gradients"] == pytest.approx(LIE / 0.5, rel=1e-4)
    assert found["after_its_neighbours"] < 1e-5


@pytest.mark.parametrize("detector", [Counting, CountsGradients, Remembering])
def test_an_answer_that_earlier_questions_change_is_noticed(detector):
    found = hidden_dependence(detector().eval(), images(), 1.0, 4)
    assert found["after_its_neighbours"] > 0.9 * LIE
    assert same_twice(found).verdict is Verdict.FAIL


def test_the_detector_itself_is_left_without_the_questions_about_neighbours():
    detector = Remembering().eval()
    hidden_dependence(detector, images(), 1.0, 4)
    assert all(any(torch.equal(row, one.flatten()) for one in images()) for part in detector.seen for row in part)


def test_a_detector_that_cannot_be_copied_is_asked_for_gradients_only():
    assert set(hidden_dependence(NotToBeCopied().eval(), images(), 1.0, 4)) == {"asked_for_gradients"}


def test_undeclared_randomness_is_left_to_the_check_that_asks_twice():
    class Noisy(LinearScore):
        def score(self, x: Tensor, *, noise=None) -> Tensor:
            return super().score(x) + torch.randn(len(x))

    assert max(hidden_dependence(Noisy().eval(), images(), 1.0, 4).values()) < 1e-5
