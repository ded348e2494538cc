"""Points of a smaller radius count before anything else, and a start may set out from them."""

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.testing.threats import LinearScore, QuadraticScore, images
from bench.threat_models.apgd import APGD, APGDParams
from bench.threat_models.base import Budget, Context, Status
from bench.threat_models.pgd import PGD, PGDParams

SMALL, LARGE = Budget(Norm.L2, 0.2), Budget(Norm.L2, 0.5)
THREATS = {"pgd": PGD(PGDParams(steps=10, restarts=3)), "apgd": APGD(APGDParams(steps=10, restarts=3))}


def attack(threat, budget=LARGE, *, detector=None, side=Side.EVADE, **known):
    x, ids = images()
    return threat.run(
        detector or QuadraticScore(), x, ids=ids, budget=budget, context=Context(side, micro_batch=4, **known)
    )


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("onward", [True, False])
@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_what_is_found_is_no_worse_than_the_points(threat, onward, side):
    detector, sign = QuadraticScore(), -1 if side is Side.ALARM else 1
    known = attack(threat, SMALL, side=side).images
    found = attack(PGD(PGDParams(steps=1, restarts=1, step_size=1e-3)), side=side, earlier=known, onward=onward).images
    assert (sign * (detector.score(found) - detector.score(known)) >= 0).all()


def test_a_step_onward_from_the_points_of_a_linear_score_reaches_the_edge_of_the_larger_ball():
    linear = LinearScore()
    threat = PGD(PGDParams(steps=1, restarts=1, step_size=0.6, momentum=(0.0,)))
    known = attack(THREATS["pgd"], SMALL, detector=linear).images
    there = attack(threat, detector=linear, earlier=known, onward=True)
    alone = attack(threat, detector=linear)
    x, _ = images()
    assert (there.norm > alone.norm - 1e-6).all()
    assert ((there.images - x).flatten(1).norm(dim=1) <= 0.5 + 1e-5).all()
    assert (linear.score(there.images) > linear.score(alone.images)).any()


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_points_beyond_the_target_spend_no_gradient(threat):
    known = attack(threat, SMALL).images
    target = float(QuadraticScore().score(known).min()) - 1e-3
    found = attack(threat, earlier=known, stop_target=target)
    assert found.gradients.sum() == 0
    assert found.status == [Status.STOPPED] * len(known)
    assert torch.equal(found.images, known) or (QuadraticScore().score(found.images) > target).all()


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_own_starts_are_what_they_are_without_points(threat):
    known = attack(threat, SMALL).images
    with_points, without = attack(threat, earlier=known), attack(threat)
    assert torch.equal(with_points.gradients, without.gradients)
    assert torch.equal(with_points.queries, without.queries + 1)
    better = QuadraticScore().score(without.images) >= QuadraticScore().score(known)
    assert torch.equal(with_points.images[better], without.images[better])
