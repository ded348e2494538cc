"""What threats say that they cost, against what they count when they run."""

import pytest
import torch
from shipped_cards import FOLDER, shipped

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, DetectorParams
from bench.testing.classifiers import LinearClassifier
from bench.testing.fool_threats import FoolSetting, fool
from bench.testing.threats import QuadraticScore, Setting, attack, images
from bench.threat_models.base import Budget, Context, Threat
from bench.threat_models.costs import Case
from bench.threat_models.each_class import EachClass, EachClassParams
from bench.threat_models.interpolation import Between, BetweenParams
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.transfer import Transfer

X, IDS = images()
CLASSES = 3
CASE = Case(Side.EVADE, tuple(X.shape[1:]), CLASSES, len(X))
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if "members:" not in path.read_text())
WHOLE = ("noise-l2", "fgm-l2", "fgsm", "pgd-l2", "pgd-linf", "square-l2", "interpolation-l2", "matching-l2", "clean")
FEWER = {"steps": 40, "rounds": 10, "max_iterations": 20, "gamma": 0.2}
"""In place of budgets that would take minutes."""


def params(threat: Threat, **over: object) -> Threat:
    known = {name: value for name, value in over.items() if name in type(threat.params).model_fields}
    return type(threat)(threat.params.model_copy(update=known))


@pytest.mark.parametrize("name", NAMES)
def test_every_threat_that_ships_says_what_it_costs(name: str) -> None:
    cost = shipped(name)[1].cost(CASE)
    assert cost is not None
    assert cost.gradients + cost.queries >= 1


@pytest.mark.parametrize("name", WHOLE)
def test_an_attack_that_nothing_stops_spends_what_it_says(name: str) -> None:
    card, threat = shipped(name)
    threat = params(threat, queries=50, points=7, restarts=2, steps=1 if name[:2] == "fg" else 9)
    result = attack(threat, QuadraticScore(), Setting(card.norm, card.eps[0] if card.eps else None))
    cost = threat.cost(CASE)
    assert result.gradients.tolist() == [cost.gradients] * len(X)
    # No query for classes where none are aimed at, and none a step where the score itself is matched: which of these
    # a detector is, a threat cannot know before.
    spared = {"pgd-l2": 1, "pgd-linf": 1, "matching-l2": 18}.get(name, 0)
    assert (cost.queries - result.queries).tolist() == [spared] * len(X)


@pytest.mark.parametrize("name", ["cw-l2", "deepfool-l2", "jsma", "local-search", "boundary-l2", "joint-l2", "apgd-l2"])
def test_an_attack_that_ends_by_itself_spends_no_more_than_it_says(name: str) -> None:
    card, threat = shipped(name)
    threat = params(threat, **FEWER)
    setting = FoolSetting(card.norm, None if card.min_norm or not card.eps else card.eps[0])
    result = fool(threat, LinearClassifier(), setting, micro_batch=8)
    classes = LinearClassifier().logits(X).shape[1]
    cost = threat.cost(Case(Side.FOOL, tuple(X.shape[1:]), classes, len(X)))
    assert float(result.gradients.max()) <= cost.gradients
    assert float(result.queries.max()) <= cost.queries
    spent = float((result.gradients + result.queries).max())
    assert spent >= 0.02 * (cost.gradients + cost.queries), "a bound that is never near says nothing"


class Centres(Detector):
    """The nearest of three centres, whose classes have scores of their own."""

    def __init__(self) -> None:
        super().__init__(None, shape=tuple(X.shape[1:]), classes=CLASSES, params=DetectorParams())

    def class_scores(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([-(x.flatten(1) - at).square().sum(dim=1) for at in (0.1, 0.5, 0.9)], dim=1)

    def score(self, x: torch.Tensor, *, noise: object = None) -> torch.Tensor:
        return self.class_scores(x).amax(dim=1)


def test_an_ascent_towards_each_class_costs_one_for_each() -> None:
    threat = EachClass(EachClassParams(steps=6, restarts=2, classes=10))
    result = attack(threat, Centres(), Setting(Norm.L2, 0.5))
    cost = threat.cost(CASE)
    assert result.gradients.tolist() == [cost.gradients] * len(X) == [CLASSES * 12] * len(X)
    assert result.queries.tolist() == [cost.queries] * len(X)


def test_a_transfer_attack_costs_a_query_for_each_source() -> None:
    crafted = {"one": 1 - X, "two": X}
    context = Context(Side.EVADE, transferred=crafted, micro_batch=8)
    result = Transfer().run(QuadraticScore(), X, ids=IDS, budget=Budget(Norm.L2, 0.5), context=context)
    cost = Transfer().cost(Case(Side.EVADE, tuple(X.shape[1:]), CLASSES, len(X), sources=2))
    assert result.queries.tolist() == [cost.queries] * len(X)
    assert cost.gradients == 0


def test_ways_between_images_cost_their_points_whatever_the_number_of_images() -> None:
    threat = Between(BetweenParams(pairs=30, points=5))
    for images_ in (10, 1000):
        case = Case(Side.BETWEEN, (1, 6, 6), CLASSES, images_)
        assert images_ * threat.cost(case).queries == pytest.approx(150)


def test_restarts_aim_at_classes_on_the_sides_of_the_score_alone() -> None:
    threat = PGD(PGDParams(steps=4, restarts=3))
    fooled = Case(Side.FOOL, (1, 6, 6), CLASSES, 1)
    assert threat.cost(CASE).queries - threat.cost(fooled).queries == 1


def test_a_threat_of_somebody_else_says_nothing() -> None:
    class Own(Threat):
        def attack(self, detector, x, *, ids, budget, context):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    assert Own().cost(CASE) is None
