"""Sigma-zero: the contract, the fewest values of scores in closed form, and what it does not need undone."""

import itertools
import math

import pytest
import torch

from bench.cards.threat import Goal, Norm, Side
from bench.errors import UsageError
from bench.testing.closed_forms import SHAPE, LinearScore, QuadraticScore
from bench.testing.fool_threats import FoolCheck, FoolSetting, fool_checks
from bench.testing.nearest_threats import cross, nearest_checks
from bench.testing.threats import Check, Setting, images
from bench.threat_models.sigma_zero import _LAST_SIZE, SigmaZero, SigmaZeroParams

QUICK = SigmaZero(SigmaZeroParams(steps=25, prune_queries=12))
L0 = Setting(Norm.L0, None)


@pytest.mark.parametrize("check", nearest_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract_on_the_score(check: Check) -> None:
    check(QUICK, L0)


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("check", fool_checks(min_norm=True), ids=lambda check: check.__name__)
def test_it_keeps_the_contract_on_decisions(check: FoolCheck, goal: Goal) -> None:
    check(QUICK, FoolSetting(Norm.L0, None, goal=goal))


def fewest(effects: torch.Tensor, gap: torch.Tensor) -> list[int]:
    """How many values a sum needs, the largest effects first."""
    reached = effects.sort(dim=1, descending=True).values.cumsum(dim=1) > gap[:, None]
    return (reached.long().argmax(dim=1) + 1).tolist()


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("ahead", [0.1, 0.8, 2.0])
def test_a_linear_score_is_crossed_with_the_fewest_values(side: Side, ahead: float) -> None:
    detector, (x, _) = LinearScore().eval(), images()
    sign, scores = 1.0 if side is Side.EVADE else -1.0, detector.score(x).detach()
    line = float((sign * scores).amax()) + ahead
    result = cross(SigmaZero(), detector, L0, side=side, line=sign * line)
    weight = sign * detector.weight.detach()
    flat = x.flatten(1)
    effects = weight.abs() * torch.where(weight > 0, 1 - flat, flat)
    more = result.norm - torch.tensor(fewest(effects, line - sign * scores))
    assert (more >= 0).all() and more.sum() == 0


def test_a_quadratic_score_is_crossed_with_the_fewest_values() -> None:
    detector, (x, _) = QuadraticScore(), images()
    scores = detector.score(x)
    line = float(scores.amax()) * 0.5
    result = cross(SigmaZero(), detector, L0, line=line)
    effects = (x.flatten(1) - detector.center).square()  # what a value brings at most: all the way to the centre
    best = torch.tensor(fewest(effects, line - scores), dtype=torch.float32)
    assert (result.norm >= best).all() and (result.norm <= best + 1).all()


def test_what_is_not_needed_is_undone() -> None:
    loose, tight = (
        cross(SigmaZero(SigmaZeroParams(steps=8, prune_queries=queries)), QuadraticScore(), L0) for queries in (0, 60)
    )
    assert (tight.norm <= loose.norm).all() and tight.norm.sum() < loose.norm.sum()
    assert (tight.gradients == loose.gradients).all() and tight.gradients.max() == 8


def test_values_that_do_more_take_the_place_of_more_values_that_do_less() -> None:
    detector, (x, _) = LinearScore().eval(), images()
    line = float(detector.score(x).detach().amax()) + 3.0
    without, swapped = (
        cross(SigmaZero(SigmaZeroParams(steps=30, swaps=swaps, prune_queries=100)), detector, L0, line=line)
        for swaps in (0, 2)
    )
    assert (swapped.norm <= without.norm).all() and swapped.norm.sum() < without.norm.sum()
    assert max(result.gradients.max() for result in (without, swapped)) <= 30


def test_values_that_stay_keep_every_bit() -> None:
    x, _ = images()
    result = cross(SigmaZero(), LinearScore(), L0)
    assert ((result.images != x).flatten(1).sum(dim=1) == result.norm).all()


def test_another_norm_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match="sigmazero works in l0, not in l1; take another threat"):
        cross(QUICK, LinearScore(), Setting(Norm.L1, None))


def test_steps_shrink_along_the_cosine_from_the_whole_length() -> None:
    seen = []

    class Watched(LinearScore):
        def score(self, x: torch.Tensor, *, noise=None) -> torch.Tensor:
            if x.requires_grad:
                seen.append(x.detach().clone())
            return super().score(x)

    params = SigmaZeroParams(steps=13, swaps=0, threshold=0.0, threshold_rate=0.0, step_size=0.01, sigma=1.0)
    x = torch.full((1, *SHAPE), 0.5)
    cross(SigmaZero(params), Watched().eval(), L0, x=x, choice=torch.arange(1), line=1e6)
    moved = [float((after - before).abs().amax()) for before, after in itertools.pairwise(seen[:12])]
    shares = [0.5 * (1.0 + math.cos(math.pi * step / 12)) for step in range(len(moved))]
    assert moved == pytest.approx([0.01 * (_LAST_SIZE + (1.0 - _LAST_SIZE) * share) for share in shares], rel=0.05)
