"""A curved score with several peaks: every gradient attack gets as high as a dense search in float64."""

from functools import cache

import pytest
import torch
from naive_projection import nearest
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.testing.closed_forms import MixtureScore
from bench.testing.threats import Setting, attack, images
from bench.threat_models.apgd import APGD
from bench.threat_models.base import Context, Threat
from bench.threat_models.geometry import uniform_in_ball
from bench.threat_models.pgd import PGD

BALLS = [Setting(Norm.L2, 1.0), Setting(Norm.LINF, 0.15)]
STARTS = 60


@cache
def optimum(setting: Setting) -> tuple[Tensor, Tensor]:
    """(N,) clean scores and the best ones in the ball, from many starts, each climbed until it stays where it is."""
    detector = MixtureScore().double()
    x, ids = images()
    context = Context(Side.EVADE, seed=1)
    drawn = [
        uniform_in_ball(x, setting.norm, setting.eps, ids=ids, draw=draw, context=context) for draw in range(STARTS)
    ]
    peaks = detector.means.view(3, 1, *x.shape[1:]).expand(3, *x.shape)
    center = x.double().flatten(1).repeat(STARTS + 4, 1)
    y = nearest(torch.cat([x, *drawn, *peaks]).double().flatten(1), center, setting)
    for _ in range(400):
        before, y = y, nearest(detector.joint(y).softmax(dim=1) @ detector.means, center, setting)
    assert float((detector.score(y) - detector.score(before)).abs().max()) < 1e-9
    return detector.score(x.double()), detector.score(y).view(-1, len(x)).amax(dim=0)


def test_the_mixture_has_a_peak_at_every_mean() -> None:
    detector = MixtureScore().double()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        ends = detector.means[[first, second]]
        assert (detector.score(ends.mean(dim=0, keepdim=True)) < detector.score(ends)).all()


@pytest.mark.parametrize("setting", BALLS, ids=lambda s: f"{s.norm}-{s.eps}")
@pytest.mark.parametrize("threat", [PGD(), APGD()], ids=["pgd", "apgd"])
def test_gradient_attacks_reach_the_optimum_of_a_mixture(threat: Threat, setting: Setting) -> None:
    clean, best = optimum(setting)
    reached = MixtureScore().double().score(attack(threat, MixtureScore(), setting).images.double())
    assert float(((best - reached) / (best - clean)).max()) < 1e-3
