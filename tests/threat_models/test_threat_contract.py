"""Every threat keeps the published contract, and a threat that breaks it is caught."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.testing.threats import Check, QuadraticScore, Setting, attack, check_threat, threat_checks
from bench.threat_models.base import Status, Threat
from bench.threat_models.clean import Clean
from bench.threat_models.fgm import FGM
from bench.threat_models.noise import Noise
from bench.threat_models.pgd import PGD, PGDParams, Schedule
from bench.threat_models.transfer import Transfer
from bench.threat_models.trials import TrialParams

THREATS = {
    "clean": Clean(),
    "noise": Noise(TrialParams(points=6)),
    "fgm": FGM(),
    "pgd": PGD(PGDParams(steps=6, restarts=3)),
    "transfer": Transfer(),
    "pgd-constant": PGD(PGDParams(steps=5, restarts=1, step_size=0.3, schedule=Schedule.CONSTANT)),
}
SETTINGS = [Setting(Norm.L2, 0.7), Setting(Norm.LINF, 0.1)]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.norm)
@pytest.mark.parametrize("name", THREATS)
@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_every_threat_keeps_the_contract(check: Check, name: str, setting: Setting) -> None:
    check(THREATS[name], setting)


@pytest.mark.parametrize("check", threat_checks(gradient=True)[-2:], ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "setting",
    [Setting(n, e) for n, radii in ((Norm.L2, (0.05, 1.0, 4.0)), (Norm.LINF, (4 / 255, 0.3))) for e in radii],
    ids=lambda s: f"{s.norm}-{s.eps:.3g}",
)
def test_pgd_with_its_full_budget_reaches_closed_form_optima(check: Check, setting: Setting) -> None:
    check(PGD(), setting)


class Leaving(Threat):
    def attack(self, detector, x, *, ids, budget, context):
        result = Clean().attack(detector, x, ids=ids, budget=budget, context=context)
        return replace(result, images=x + 1.0)


class Mixing(Threat):
    """Its step length depends on how many images came."""

    def attack(self, detector, x, *, ids, budget, context):
        return PGD(PGDParams(steps=2, restarts=1, step_size=1 / max(1, len(x)))).attack(
            detector, x, ids=ids, budget=budget, context=context
        )


class Boasting(Threat):
    def attack(self, detector, x, *, ids, budget, context):
        result = Clean().attack(detector, x, ids=ids, budget=budget, context=context)
        return replace(result, status=[Status.STOPPED] * len(x))


class Drawing(Threat):
    def attack(self, detector, x, *, ids, budget, context):
        x = (x + 0.01 * torch.rand_like(x)).clamp(0, 1)
        return Clean().attack(detector, x, ids=ids, budget=budget, context=context)


class Backwards(Threat):
    def attack(self, detector, x, *, ids, budget, context):
        return PGD(PGDParams(steps=3)).attack(detector, x, ids=ids, budget=budget, context=replace_side(context))


def replace_side(context):
    return replace(context, side=Side.ALARM if context.side is Side.EVADE else Side.EVADE)


@pytest.mark.parametrize("broken", [Leaving, Mixing, Boasting, Drawing, Backwards])
def test_a_threat_that_breaks_the_contract_is_caught(broken: type[Threat]) -> None:
    with pytest.raises(AssertionError):
        check_threat(broken(), norm=Norm.L2, eps=0.5)


def test_a_threat_that_misses_the_optimum_is_caught() -> None:
    with pytest.raises(AssertionError, match="possible gain"):
        check_threat(PGD(PGDParams(steps=1, restarts=1, step_size=0.3)), norm=Norm.L2, eps=0.5, gradient=True)


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_more_eps_or_steps_are_never_worse_on_a_quadratic_score(norm: Norm) -> None:
    def reached(eps: float, steps: int) -> torch.Tensor:
        threat = PGD(PGDParams(steps=steps, restarts=2))
        return attack(threat, QuadraticScore(), Setting(norm, eps)).score_trace[:, -1]

    radii = (0.05, 0.1, 0.3, 1.0, 3.0)
    by_eps = torch.stack([reached(eps, 100) for eps in radii])
    by_steps = torch.stack([reached(0.3, steps) for steps in (5, 20, 100)])
    # The optimum is promised within 1e-4 of what there is to gain, which is a score of a few units here.
    clean = attack(Clean(), QuadraticScore(), Setting(norm, 1.0)).score_trace[:, -1]
    for curve in (by_eps, by_steps):
        assert (curve.diff(dim=0) >= 1e-4 * clean).all()
