"""Restarts that aim at classes: a score that jumps where another class is predicted, with known best images."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Goal, Norm, Side
from bench.detectors.base import Detector, DetectorParams
from bench.testing.closed_forms import QuadraticScore
from bench.threat_models.aims import NONE, aims_of
from bench.threat_models.apgd import APGD, APGDParams
from bench.threat_models.base import Budget, Context, Status
from bench.threat_models.each_class import EachClass, EachClassParams
from bench.threat_models.objectives import objective_of
from bench.threat_models.pgd import PGD, PGDParams

SHAPE = (1, 2, 2)
BUDGET = Budget(Norm.LINF, 0.3)
IDS = torch.tensor([6, 4, 5])  # no random start of these crosses by chance


class Cliff(Detector):
    """1 - a where pixel a is below 1/2, 2 + b above; a third class, never predicted, would have 100."""

    def __init__(self):
        super().__init__(None, shape=SHAPE, classes=3, params=DetectorParams())

    def class_scores(self, x):
        a, b = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
        return torch.stack([1 - a, 2 + b, 100 + 0 * a], dim=1)

    def class_scores_and_margins(self, x):
        a = x.flatten(1)[:, 0]
        return self.class_scores(x), torch.stack([1 - 2 * a, 2 * a - 1, a - 9], dim=1)

    def score(self, x, *, noise=None):
        scores, margins = self.class_scores_and_margins(x)
        return scores.gather(1, margins.argmax(dim=1, keepdim=True)).squeeze(1)


class Unaware(Cliff):
    """The same score, without a way to aim."""

    def class_scores_and_margins(self, x):
        return None, None

    def score(self, x, *, noise=None):
        return Cliff().score(x)


LOW = torch.tensor([[0.21, 0.3, 0.5, 0.5], [0.22, 0.1, 0.5, 0.5], [0.1, 0.4, 0.5, 0.5]]).view(3, *SHAPE)
HIGH = torch.tensor([[0.79, 0.3, 0.5, 0.5], [0.78, 0.1, 0.5, 0.5]]).view(2, *SHAPE)


def attack(threat, detector=None, x=LOW, ids=IDS, side=Side.EVADE, **context):
    return threat.run(detector or Cliff(), x, ids=ids, budget=BUDGET, context=Context(side, **context))


def aims(detector=None, restarts=5, side=Side.EVADE, **context):
    return aims_of(detector or Cliff(), LOW, ids=IDS, context=Context(side, **context), restarts=restarts)


THREATS = [PGD(PGDParams(steps=40, restarts=3)), APGD(APGDParams(steps=40, restarts=3))]


@pytest.mark.parametrize("threat", THREATS)
def test_an_ascent_gets_another_class_predicted_and_then_climbs_its_score(threat):
    plain, aimed = attack(threat, Unaware()), attack(threat)
    best = [2.6, 2.4, 1.0]  # the third image gets no further than a = 0.4
    assert aimed.score_trace[:, -1].tolist() == pytest.approx(best, abs=1e-3)
    assert plain.score_trace[:2, -1].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


@pytest.mark.parametrize("threat", THREATS)
def test_the_other_way_it_finds_the_class_with_the_low_score(threat):
    plain, aimed = (attack(threat, d, HIGH, IDS[:2], Side.ALARM) for d in (Unaware(), Cliff()))
    assert aimed.score_trace[:, -1].tolist() == pytest.approx([0.5, 0.5], abs=0.02)  # just below a = 1/2
    assert plain.score_trace[:, -1].min() >= 2.0


def test_a_class_that_is_not_predicted_counts_for_nothing_however_high_its_score():
    found = attack(THREATS[0])
    with torch.no_grad():
        assert torch.equal(Cliff().score(found.images), found.score_trace[:, -1])
    assert found.score_trace.max() < 3


def test_the_first_restart_follows_the_objective_and_the_others_the_nearest_classes_each_once():
    assert aims().tolist() == [[NONE, 1, 2, NONE, NONE]] * 3
    assert aims(restarts=2).tolist() == [[NONE, 1]] * 3
    assert aims(micro_batch=2).tolist() == [[NONE, 1, 2, NONE, NONE]] * 3


class Third(Cliff):
    def class_scores_and_margins(self, x):
        scores, margins = super().class_scores_and_margins(x)
        return scores, margins.masked_fill(torch.tensor([False, True, False]), torch.nan)


def test_a_class_whose_margin_is_not_a_number_comes_last():
    assert aims(Third()).tolist() == [[NONE, 2, 1, NONE, NONE]] * 3


def test_where_there_is_nothing_to_aim_at_all_restarts_follow_the_objective():
    labels = torch.zeros(3, dtype=torch.int64)
    assert aims(Unaware()) is None and aims(QuadraticScore()) is None and aims(restarts=1) is None
    assert aims(side=Side.FOOL, goal=Goal.MISCLASSIFY, labels=labels) is None
    assert aims(classes=labels) is None and aims(draws=2) is None
    assert aims_of(Cliff(), LOW[:0], ids=IDS[:0], context=Context(Side.EVADE), restarts=3) is None


class TwoSummits(Detector):
    """The larger of two classes' scores: 1 at 0.5 in every pixel, 2 at 0.8, which is ahead within 0.1 of it alone."""

    def __init__(self):
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())

    def class_scores(self, x):
        low, high = (((x - at).flatten(1) ** 2).mean(dim=1) for at in (0.5, 0.8))
        return torch.stack([1 - low, 2 - 100 * high], dim=1)

    def score(self, x, *, noise=None):
        return self.class_scores(x).amax(dim=1)


def test_of_a_score_without_a_prediction_apgd_alone_aims_at_classes_and_only_upwards():
    x = torch.full((3, *SHAPE), 0.55)
    pgd, apgd = (attack(threat, TwoSummits(), x) for threat in THREATS)
    assert apgd.score_trace[:, -1].tolist() == pytest.approx([2.0] * 3, abs=1e-3)
    assert pgd.score_trace[:, -1].tolist() == pytest.approx([1.0] * 3, abs=1e-3)
    assert apgd.queries.tolist() == [1 + 1 + 3] * 3
    context = {"ids": IDS, "restarts": 4, "smooth": True}
    assert aims_of(TwoSummits(), x, context=Context(Side.EVADE), **context).tolist() == [[NONE, 1, NONE, NONE]] * 3
    assert aims_of(TwoSummits(), x, context=Context(Side.ALARM), **context) is None


def test_it_costs_one_query_more_and_no_gradient():
    plain, aimed = attack(THREATS[0], Unaware()), attack(THREATS[0])
    assert aimed.gradients.tolist() == plain.gradients.tolist() == [3 * 40] * 3
    assert aimed.queries.tolist() == [1 + 1 + 3] * 3 and plain.queries.tolist() == [1 + 3] * 3


@pytest.mark.parametrize("threat", THREATS)
def test_an_image_does_not_feel_the_others(threat):
    whole, alone = attack(threat, micro_batch=4), attack(threat, x=LOW[1:2], ids=IDS[1:2], micro_batch=4)
    assert torch.equal(whole.images[1:2], alone.images) and torch.equal(whole.score_trace[1:2], alone.score_trace)


def test_a_stop_target_ends_an_aimed_restart():
    found = attack(THREATS[0], stop_target=2.0)
    assert found.status[:2] == [Status.STOPPED] * 2 and found.status[2] is Status.COMPLETED
    assert bool((found.score_trace[:2, -1] > 2).all()) and int(found.gradients[0]) < 3 * 40


def test_each_class_gets_its_class_predicted_too():
    found = attack(EachClass(EachClassParams(steps=40)))
    assert found.score_trace[:2, -1].tolist() == pytest.approx([2.6, 2.4], abs=1e-3)
    assert found.queries.tolist() == [3 * 2 + 1] * 3


def test_one_batch_may_hold_aimed_and_other_restarts():
    context = Context(Side.EVADE, classes=torch.tensor([NONE, 1, 0]))
    x = torch.cat([LOW[:2], HIGH[:1]])  # a = 0.79
    criterion, direction = objective_of(Cliff(), IDS, context)(x, torch.arange(3))
    assert criterion.tolist() == pytest.approx([0.79, 0.78, 2.3])
    assert direction.tolist() == pytest.approx([0.79, 2 * 0.22 - 1, 1 - 2 * 0.79])  # score, margin, margin
    down = replace(context, side=Side.ALARM)
    criterion, direction = objective_of(Cliff(), IDS, down)(x, torch.arange(3))
    assert criterion.tolist() == pytest.approx([-0.79, -0.78, -2.3])
    assert direction.tolist() == pytest.approx([-0.79, 2 * 0.22 - 1, 1 - 2 * 0.79])  # a margin has one way alone
    criterion, direction = objective_of(Cliff(), IDS, replace(down, classes=torch.tensor([0, 0, 1])))(
        x, torch.arange(3)
    )
    assert direction.tolist() == pytest.approx([-0.79, -0.78, -2.3])  # predicted already
