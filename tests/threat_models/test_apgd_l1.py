"""APGD in L1: the contract, optima of scores in closed form, its steps."""

import pytest
import torch

from bench.cards.threat import Norm
from bench.errors import UsageError
from bench.testing.closed_forms import SHAPE, LinearScore, QuadraticScore
from bench.testing.fool_threats import FoolCheck, FoolSetting, fool_checks
from bench.testing.threats import Check, Setting, attack, images, threat_checks
from bench.threat_models import geometry
from bench.threat_models.apgd_l1 import APGDL1, APGDL1Params, sparse_direction
from bench.threat_models.fgm import FGM
from bench.threat_models.joint import Joint
from bench.threat_models.noise import Noise
from bench.threat_models.pgd import PGD
from bench.threat_models.square import Square
from bench.threat_models.transfer import Transfer

QUICK = APGDL1(APGDL1Params(steps=30, restarts=2))


@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: Check) -> None:
    check(QUICK, Setting(Norm.L1, 1.5))


@pytest.mark.parametrize("check", fool_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract_on_decisions(check: FoolCheck) -> None:
    check(QUICK, FoolSetting(Norm.L1, 1.5))


def linear_optimum(weight: torch.Tensor, x: torch.Tensor, eps: float) -> torch.Tensor:
    """(N,) what a linear score gains at most: the budget goes to the steepest values, each up to its wall."""
    flat = x.flatten(1)
    room = torch.where(weight > 0, 1 - flat, flat)
    order = weight.abs().argsort(descending=True)
    room, slopes = room[:, order], weight.abs()[order]
    spent = room.cumsum(dim=1)
    use = torch.minimum(room, (eps - (spent - room)).clamp_min(0))
    return (use * slopes).sum(dim=1)


@pytest.mark.parametrize("eps", [0.3, 1.5, 4.0, 100.0])
def test_it_reaches_the_optimum_of_a_linear_score(eps: float) -> None:
    detector, (x, _) = LinearScore().eval(), images()
    result = attack(APGDL1(), detector, Setting(Norm.L1, eps))
    with torch.no_grad():
        gain = detector.score(result.images) - detector.score(x)
    best = linear_optimum(detector.weight.detach(), x, eps)
    assert (gain >= 0.995 * best).all() and (gain <= best * (1 + 1e-4) + 1e-5).all()


@pytest.mark.parametrize("eps", [0.3, 1.5, 6.0])
def test_it_reaches_the_optimum_of_a_quadratic_score(eps: float) -> None:
    detector, (x, _) = QuadraticScore(), images()
    best = detector.score(geometry.project(detector.center.view(1, *SHAPE).expand_as(x).contiguous(), x, Norm.L1, eps))
    result = attack(APGDL1(), detector, Setting(Norm.L1, eps))
    start = detector.score(x)
    assert (detector.score(result.images) - start >= 0.98 * (best - start)).all()


def test_a_step_goes_along_the_signs_of_the_steepest_values_that_can_move() -> None:
    gradient = torch.tensor([[3.0, -2.0, 1.0, -4.0], [1.0, 1.0, 0.0, 0.0]])
    y = torch.tensor([[0.5, 0.5, 0.5, 0.0], [0.5, 0.5, 0.5, 0.5]])  # the last value of the first row is at its wall
    found = sparse_direction(gradient, y, torch.tensor([0.5, 1.0]))
    assert found.tolist() == [[0.5, -0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]
    assert sparse_direction(gradient[:1], y[:1], torch.tensor([0.01])).tolist() == [[1.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("threat", [PGD(), FGM(), Joint(), Square()], ids=lambda threat: type(threat).__name__)
@pytest.mark.parametrize("norm", [Norm.L1, Norm.L0])
def test_attacks_that_are_not_made_for_a_norm_refuse_it_in_one_sentence(threat, norm: Norm) -> None:
    with pytest.raises(
        UsageError, match=f"works in l2 or linf, and its card says {norm}; choose apgd-l1 or sigma-zero"
    ):
        attack(threat, LinearScore(), Setting(norm, 3.0))


def test_it_works_in_l1_alone() -> None:
    with pytest.raises(UsageError, match="works in l1, and its card says l2"):
        attack(QUICK, LinearScore(), Setting(Norm.L2, 3.0))


@pytest.mark.parametrize("setting", [Setting(Norm.L1, 1.5), Setting(Norm.L0, 4.0)], ids=lambda s: s.norm)
@pytest.mark.parametrize("threat", [Noise(Noise.Params(points=6)), Transfer()], ids=["noise", "transfer"])
@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_attacks_that_try_points_keep_the_contract_in_every_norm(check: Check, threat, setting: Setting) -> None:
    check(threat, setting)
