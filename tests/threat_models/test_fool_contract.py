"""Threats of side `fool` keep the published contract, and a threat that breaks it is caught."""

from dataclasses import replace
from itertools import product

import pytest

from bench.cards.threat import Goal, Loss, Norm, Side
from bench.errors import UsageError
from bench.testing.classifiers import LinearClassifier
from bench.testing.fool_threats import FoolCheck, FoolSetting, check_fool_threat, fool, fool_checks
from bench.testing.threats import Check, Setting, attack, threat_checks
from bench.threat_models.base import Status, Threat
from bench.threat_models.clean import Clean
from bench.threat_models.cw import CarliniWagner, CWParams, Target
from bench.threat_models.deepfool import DeepFool, DeepFoolParams
from bench.threat_models.fgm import FGM
from bench.threat_models.jsma import JSMA, JSMAParams, Targets
from bench.threat_models.local_search import LocalSearch, LocalSearchParams
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.transfer import Transfer

QUICK_CW = {"binary_search_steps": 2, "max_iterations": 20, "learning_rate": 0.3, "shrink_steps": 3}
L2, PIXELS = (Norm.L2, None), (None, None)
NEAREST = {
    "cw": (CarliniWagner(CWParams(**QUICK_CW)), L2),
    "cw-random": (CarliniWagner(CWParams(**QUICK_CW, targeted=Target.RANDOM, confidence=0.1)), L2),
    "deepfool": (DeepFool(DeepFoolParams(steps=10)), L2),
    "jsma": (JSMA(JSMAParams(gamma=0.4)), PIXELS),
    "jsma-down": (JSMA(JSMAParams(gamma=0.4, theta=-0.5, targets=Targets.NEXT_BEST)), PIXELS),
}
IN_BALL = {
    "pgd": (PGD(PGDParams(steps=6, restarts=2)), (Norm.L2, 0.7)),
    "pgd-linf": (PGD(PGDParams(steps=6, restarts=2)), (Norm.LINF, 0.1)),
    "fgm": (FGM(), (Norm.L2, 0.7)),
    "transfer": (Transfer(), (Norm.L2, 0.7)),
    "local-search": (LocalSearch(LocalSearchParams(rounds=4, probes=12, reach=1)), PIXELS),
}


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("name", NEAREST)
@pytest.mark.parametrize("check", fool_checks(min_norm=True), ids=lambda check: check.__name__)
def test_threats_that_look_for_the_nearest_image_keep_the_contract(check: FoolCheck, name: str, goal: Goal) -> None:
    threat, ball = NEAREST[name]
    check(threat, FoolSetting(*ball, goal=goal))


@pytest.mark.parametrize(("goal", "loss"), list(product(Goal, Loss)))
@pytest.mark.parametrize("name", IN_BALL)
@pytest.mark.parametrize("check", fool_checks(), ids=lambda check: check.__name__)
def test_threats_in_a_ball_keep_the_contract_whatever_goal_and_loss(
    check: FoolCheck, name: str, goal: Goal, loss: Loss
) -> None:
    threat, ball = IN_BALL[name]
    check(threat, FoolSetting(*ball, goal=goal, loss=loss))


@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_local_search_keeps_the_contract_of_attacks_on_the_score_too(check: Check) -> None:
    threat, ball = IN_BALL["local-search"]
    check(threat, Setting(*ball))


@pytest.mark.parametrize("name", NEAREST)
def test_a_threat_that_only_fools_refuses_another_side_in_one_sentence(name: str) -> None:
    with pytest.raises(UsageError, match="has no side 'evade'; choose --side fool"):
        attack(NEAREST[name][0], LinearClassifier(), Setting(*NEAREST[name][1]), side=Side.EVADE)


class Careless(Threat):
    """Returns the best image in a large ball, whether or not it does what is asked for."""

    def attack(self, detector, x, *, ids, budget, context):
        return PGD(PGDParams(steps=2, restarts=1)).attack(
            detector, x, ids=ids, budget=replace(budget, eps=0.3), context=context
        )


class Boasting(Threat):
    def attack(self, detector, x, *, ids, budget, context):
        result = Clean().attack(detector, x, ids=ids, budget=budget, context=context)
        return replace(result, status=[Status.STOPPED] * len(x))


class Mixing(Threat):
    """Its confidence depends on how many images came."""

    def attack(self, detector, x, *, ids, budget, context):
        return CarliniWagner(CWParams(**QUICK_CW, confidence=0.1 * len(x))).attack(
            detector, x, ids=ids, budget=budget, context=context
        )


@pytest.mark.parametrize("broken", [Careless, Boasting, Mixing])
def test_a_threat_that_breaks_the_contract_of_nearest_images_is_caught(broken: type[Threat]) -> None:
    with pytest.raises(AssertionError):
        check_fool_threat(broken(), FoolSetting(*L2), min_norm=True)


@pytest.mark.parametrize("broken", [Boasting, Mixing])
def test_a_threat_that_breaks_the_contract_in_a_ball_is_caught(broken: type[Threat]) -> None:
    with pytest.raises(AssertionError):
        check_fool_threat(broken(), FoolSetting(Norm.L2, 0.5))


def test_labels_that_are_missing_are_asked_for_in_one_sentence() -> None:
    class Unlabelled(Threat):
        def attack(self, detector, x, *, ids, budget, context):
            return DeepFool().attack(detector, x, ids=ids, budget=budget, context=replace(context, labels=None))

    with pytest.raises(UsageError, match="needs the labels"):
        fool(Unlabelled(), LinearClassifier(), FoolSetting(*L2))
