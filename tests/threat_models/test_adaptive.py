"""Repairs of a masked gradient: linear scores behind masks, whose true optimum in the ball is known."""

import pytest
import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.testing.threats import check_threat
from bench.threat_models.adaptive import Adaptive, AdaptiveParams
from bench.threat_models.base import Budget, Context
from bench.threat_models.costs import Case
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.straight_through import StraightThrough
from bench.threat_models.surrogates import smooth_part

SHAPE, EPS = (1, 4, 4), 0.5
BUDGET = Budget(Norm.L2, EPS)
WEIGHT = torch.linspace(-1, 1, 16).view(SHAPE)
X = torch.full((3, *SHAPE), 0.5) + torch.tensor([0.0, 0.01, -0.02]).view(3, 1, 1, 1) * WEIGHT
IDS = torch.tensor([4, 9, 11])
TOP = EPS * float(WEIGHT.norm())
"""By how much the linear score can rise in the ball."""


class Masked(Detector):
    """The linear score behind something."""

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())

    def plain(self, x: Tensor) -> Tensor:
        return (x * WEIGHT).flatten(1).sum(dim=1)

    def score(self, x, *, noise=None):
        return self.plain(x)


class Backwards(Masked):
    def score(self, x, *, noise=None):
        s = self.plain(x)
        return 2 * s.detach() - s


class RoundedInput(Masked):
    def score(self, x, *, noise=None):
        return self.plain(torch.round(x * 15) / 15)


class Detached(Masked):
    def score(self, x, *, noise=None):
        return self.plain(x.detach())


class WithoutGradients(Masked):
    def score(self, x, *, noise=None):
        with torch.no_grad():
            return self.plain(x)


class Stairs(Masked):
    def score(self, x, *, noise=None):
        return torch.floor(self.plain(x) * 4)


class Decoy(Masked):
    def objective(self, x):
        return -self.plain(x)


class Rippled(Masked):
    def score(self, x, *, noise=None):
        s = self.plain(x)
        return s + 0.02 * torch.sin(500 * s)


def attack(detector: Detector, threat=None, **context):
    context = Context(Side.EVADE, **context)
    return (threat or Adaptive()).run(detector, X, ids=IDS, budget=BUDGET, context=context)


def risen(detector: Masked, result) -> Tensor:
    """What part of the way to the top the score under the mask has risen."""
    return (detector.plain(result.images) - detector.plain(X)) / TOP


@pytest.mark.parametrize("masked", [Backwards, RoundedInput, Detached, WithoutGradients, Decoy, Rippled])
def test_it_comes_close_to_the_top_where_plain_ascent_does_not(masked):
    plain = risen(masked(), attack(masked(), PGD(PGDParams(steps=100, restarts=5))))
    repaired = risen(masked(), attack(masked()))
    assert float(repaired.min()) > 0.93
    assert float(plain.max()) < 0.93 or masked is Rippled


def test_it_climbs_stairs_whose_gradient_is_zero_everywhere():
    found = attack(Stairs())
    start = Stairs().score(X)
    assert torch.equal(Stairs().score(found.images), torch.floor((Masked().plain(X) + TOP) * 4 - 0.05))
    assert bool((found.score_trace[:, -1] > start + 3).all())


def test_differences_alone_climb_where_a_detector_says_that_it_has_no_gradient():
    class Black(Masked):
        info = DetectorInfo(differentiable=False)

    found = attack(Black())
    assert float(risen(Black(), found).min()) > 0.8
    assert found.gradients.tolist() == [0, 0, 0]


def test_logits_lead_where_the_score_gives_nothing_away():
    class Needle(Masked):  # one narrow peak of the score, exactly where the logits point to
        def logits(self, x):
            s = self.plain(x)
            return torch.stack([5 * s + 3, torch.zeros_like(s)], dim=1)

        def score(self, x, *, noise=None):
            return (self.plain(x) > self.plain(X)[:1] + 0.98 * TOP).float()

    assert attack(Needle(), PGD()).score_trace[:, -1].sum() == 0
    assert attack(Needle()).score_trace[0, -1] == 1.0


def test_an_id_image_in_the_ball_is_where_a_start_goes():
    goal = (X[:1] + 0.4 * WEIGHT.flip(-1) / WEIGHT.norm()).clamp(0, 1)

    class AtTheGoal(Masked):
        def score(self, x, *, noise=None):
            return ((x - goal).flatten(1).norm(dim=1) < 0.01).float()

    assert attack(AtTheGoal(), pool=goal).score_trace[0, -1] == 1.0
    assert attack(AtTheGoal()).score_trace[0, -1] == 0.0


def test_the_score_judges_and_what_is_reported_is_what_it_says():
    found = attack(Rippled())
    assert torch.equal(Rippled().score(found.images), found.score_trace[:, -1])
    assert bool((found.score_trace.diff(dim=1) >= 0).all())


def test_alarm_lowers_what_evade_raises():
    context = Context(Side.ALARM)
    found = Adaptive().run(Backwards(), X, ids=IDS, budget=BUDGET, context=context)
    assert float(risen(Backwards(), found).max()) < -0.93


def test_a_sound_score_gets_no_second_round():
    p = AdaptiveParams()
    found = attack(Masked())
    assert float(risen(Masked(), found).min()) > 0.99
    assert (
        found.gradients.tolist() == [p.steps * (6 + p.draws + 3) + 2] * 3
    )  # there are no logits: one gradient told so each time


@pytest.mark.parametrize("masked", [Masked, Backwards, RoundedInput, Stairs, Rippled])
def test_it_spends_no_more_than_it_says(masked):
    threat = Adaptive()
    cost = threat.cost(Case(side=Side.EVADE, shape=SHAPE, classes=2, images=3))
    found = attack(masked(), pool=X.flip(0))
    assert float(found.gradients.max()) <= cost.gradients
    assert float(found.queries.max()) <= cost.queries


def test_what_it_says_that_it_costs_is_the_sum_of_its_ways():
    classes, steps, longer = 3, 20, 5
    found = Adaptive().cost(Case(side=Side.EVADE, shape=SHAPE, classes=classes, images=3))
    first = 1 + 4 + 3 * 4  # the clean image, its smooth parts, three guides at four points each
    gradients = [1] * 8 + [4, 3]  # eight ways with one a step, four draws, three guides of the differences
    queries = [0] * 2 + [1] * 6 + [1, 2 * (8 + 3) + 1]
    assert found.gradients == steps * (sum(gradients) + classes + longer * max(gradients))
    towards = 1 + classes * 2
    assert found.queries == first + steps * (sum(queries) + longer * max(queries)) + 3 * len(queries) + towards + 3


def test_fresh_noise_finds_what_one_set_of_draws_hides():
    class Noisy(Masked):
        info = DetectorInfo(random=True)

        def score(self, x, *, noise=None):
            drawn = torch.zeros(len(x)) if noise is None else noise(())
            s = self.plain(x)
            return s + 0.3 * torch.sin(40 * s + 6 * drawn)

    found = attack(Noisy(), draws=2)
    assert float(risen(Noisy(), found).min()) > 0.9


def test_an_image_does_not_feel_the_others():
    whole = attack(RoundedInput(), micro_batch=4)
    alone = Adaptive().run(
        RoundedInput(), X[1:2], ids=IDS[1:2], budget=BUDGET, context=Context(Side.EVADE, micro_batch=4)
    )
    assert torch.equal(alone.images, whole.images[1:2])
    assert alone.gradients.tolist() == whole.gradients[1:2].tolist()


def test_it_keeps_the_contract_of_threats():
    check_threat(Adaptive(AdaptiveParams(steps=3, longer=1, pairs=2, draws=2)), norm=Norm.L2, eps=0.5)
    check_threat(Adaptive(AdaptiveParams(steps=3, longer=1, pairs=2, draws=2)), norm=Norm.LINF, eps=0.1)


@pytest.mark.parametrize(
    "function",
    [torch.round, torch.floor, torch.sign, torch.detach, torch.sigmoid, lambda x: x.clamp(0.0, 0.1), lambda x: x.data],
)
def test_straight_through_keeps_values_and_hands_gradients_on(function):
    x = torch.tensor([0.2, 3.7, -1.4], requires_grad=True)
    with StraightThrough():
        value = function(x)
    torch.testing.assert_close(value, function(x.detach()))
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert gradient.tolist() == [1.0, 1.0, 1.0]


def test_straight_through_ends_where_it_ends_and_goes_through_no_grad():
    x = torch.tensor([0.2], requires_grad=True)
    with StraightThrough(), torch.no_grad():
        inside = x * 2
    assert inside.requires_grad
    assert torch.is_grad_enabled()
    assert torch.autograd.grad(torch.round(x).sum(), x)[0].item() == 0.0
    assert not x.detach().requires_grad


def test_a_detector_that_cannot_be_run_straight_through_is_attacked_by_the_other_ways():
    class Touchy(Masked):
        def score(self, x, *, noise=None):
            s = self.plain(x)
            if x.detach().requires_grad:
                raise RuntimeError("nobody may look behind the mask")
            return 2 * s.detach() - s

    assert float(risen(Touchy(), attack(Touchy())).min()) > 0.93


def test_every_class_of_a_class_conditional_score_is_aimed_at():
    class Hills(Masked):  # the second hill is higher; the gradient leads up the nearest one alone
        def class_scores(self, x):
            near = torch.tensor([0.5, 0.62])
            tops = torch.tensor([0.0, 1.0])
            return tops - 400 * (x.flatten(1).mean(dim=1, keepdim=True) - near).square()

        def score(self, x, *, noise=None):
            scores = self.class_scores(x)
            nearest = (scores - torch.tensor([0.0, 1.0])).argmax(dim=1, keepdim=True)
            return scores.gather(1, nearest).squeeze(1)

    found = attack(Hills())
    assert float(found.score_trace[:, -1].min()) > 0.9
    cost = Adaptive().cost(Case(side=Side.EVADE, shape=SHAPE, classes=2, images=3))
    assert float(found.gradients.max()) <= cost.gradients


def test_a_gate_that_takes_images_of_bytes_alone_is_passed_by_such():
    class Bytes(Masked):
        def score(self, x, *, noise=None):
            off = (x * 255 - torch.round(x * 255)).abs().flatten(1).amax(dim=1) > 1e-3
            return self.plain(x) - 100.0 * off

    clean = (X * 255).round() / 255
    run = {"ids": IDS, "budget": BUDGET, "context": Context(Side.EVADE)}
    assert float((PGD().run(Bytes(), clean, **run).images - clean).abs().max()) == 0.0
    found = Adaptive().run(Bytes(), clean, **run)
    assert float(((Masked().plain(found.images) - Masked().plain(clean)) / TOP).min()) > 0.9
    assert torch.equal((found.images * 255).round() / 255, found.images)


def test_such_a_gate_is_passed_where_there_is_no_gradient_too():
    class Bytes(Masked):
        info = DetectorInfo(differentiable=False)

        @torch.no_grad()
        def score(self, x, *, noise=None):
            off = (x * 255 - torch.round(x * 255)).abs().flatten(1).amax(dim=1) > 1e-3
            return self.plain(x) - 100.0 * off

    clean = (X * 255).round() / 255
    found = Adaptive().run(Bytes(), clean, ids=IDS, budget=BUDGET, context=Context(Side.EVADE))
    assert float(((Masked().plain(found.images) - Masked().plain(clean)) / TOP).min()) > 0.5


def test_a_gate_that_looks_for_roughness_is_passed_by_smooth_changes():
    shape = (1, 16, 16)
    weight = torch.linspace(-1, 1, 16).view(1, 1, 16).expand(shape) + 0.5 * torch.randn(
        shape, generator=torch.Generator().manual_seed(0)
    )
    x = torch.full((2, *shape), 0.5)

    class Smooth(Masked):
        def score(self, x, *, noise=None):
            rough = x.diff(dim=3).diff(dim=3).square().flatten(1).sum(dim=1)
            return (x * weight).flatten(1).sum(dim=1) - 100.0 * (rough > 0.006)

    run = {"ids": IDS[:2], "budget": Budget(Norm.L2, 0.5), "context": Context(Side.EVADE)}
    plain, found = (threat.run(Smooth(), x, **run).score_trace[:, -1] for threat in (PGD(), Adaptive()))
    assert float(found.min()) > float(plain.max()) + 0.2 * 0.5 * float(weight.norm())


def test_a_gate_that_is_closed_at_a_rough_image_is_opened_by_its_smooth_part():
    rough = 0.04 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    x = (torch.linspace(0.3, 0.7, 16).view(1, 1, 1, 16) + rough).clamp(0, 1)

    class Smooth(Masked):
        def score(self, x, *, noise=None):
            fine = (x - smooth_part(x, 0.5)).square().flatten(1).sum(dim=1)
            return x.flatten(1).mean(dim=1) - 100.0 * (fine > 0.05)

    detector, run = Smooth(), {"ids": IDS[:2], "budget": Budget(Norm.L2, 0.8), "context": Context(Side.EVADE)}
    assert detector.score(x).max() < -90 and smooth_part(x, 0.5).sub(x).flatten(1).norm(dim=1).max() < 0.8
    plain, found = (threat.run(detector, x, **run).score_trace[:, -1] for threat in (PGD(), Adaptive()))
    assert plain.max() < -90 and (found > x.flatten(1).mean(dim=1)).all()


def test_the_smooth_part_is_the_mean_of_blocks():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(smooth_part(x, 0.25), torch.full((1, 1, 4, 4), 7.5))
    assert torch.equal(smooth_part(x, 1.0), x) and torch.equal(smooth_part(x, 0.25, least=9), x)
    assert smooth_part(x, 0.5)[0, 0, 0, 0] == x[0, 0, :2, :2].mean()
