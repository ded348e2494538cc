"""Stopping beyond every opposing clean score changes no metric by a single bit."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import metrics
from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.threat_models.base import AttackResult, Budget, Context, Status
from bench.threat_models.gradient import Oracle
from bench.threat_models.noise import Noise
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.trials import TrialParams

COUNT = 24
THREATS = {
    "pgd": (PGD(PGDParams(steps=12, restarts=5)), Budget(Norm.L2, 0.8)),
    "pgd-linf": (PGD(PGDParams(steps=12, restarts=5)), Budget(Norm.LINF, 0.05)),
    "noise": (Noise(TrialParams(points=12)), Budget(Norm.L2, 2.0)),
}


class SmallNetwork(Detector):
    info = DetectorInfo(classifier=False)

    def __init__(self, *, rounded: bool) -> None:
        super().__init__(None, shape=(1, 12, 12), classes=2, params=DetectorParams())
        self.rounded = rounded
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.body = nn.Sequential(
                nn.Conv2d(1, 8, 3, stride=2, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(288, 1),
            )
        self.eval()

    def objective(self, x: Tensor) -> Tensor:
        return self.body(x)[:, 0] * 20.0

    def score(self, x, *, noise=None):
        smooth = self.objective(x)
        return (smooth * 4.0).round() / 4.0 if self.rounded else smooth


def images(first: int, level: float) -> tuple[Tensor, Tensor]:
    ids = torch.arange(first, first + COUNT)
    return (Context(Side.EVADE).uniform(ids, 0, (1, 12, 12)) * level).clamp(0, 1), ids


@cache
def opponents(threat: str, rounded: bool, side: Side) -> np.ndarray:
    """Clean scores of the other side, shifted so that about half of the attacked images get past all of them."""
    detector = SmallNetwork(rounded=rounded)
    sign = 1.0 if side is Side.EVADE else -1.0
    with torch.no_grad():
        clean = detector.score(images(500 if side is Side.EVADE else 0, 1.0)[0])
    reached = run(threat, rounded, side, None)[0].score_trace[:, -1].median()
    shift = reached - sign * (sign * clean).amax()
    return (clean + (torch.floor(shift * 4) / 4 if rounded else shift)).numpy()


@cache
def run(threat: str, rounded: bool, side: Side, target: float | None) -> tuple[AttackResult, np.ndarray]:
    """The result, and its images scored afresh."""
    detector = SmallNetwork(rounded=rounded)
    x, ids = images(0, 0.8) if side is Side.EVADE else images(500, 1.0)
    runner, budget = THREATS[threat]
    context = Context(side, seed=1, stop_target=target, micro_batch=16)
    result = runner.run(detector, x, ids=ids, budget=budget, context=context)
    score = Oracle(detector, ids=ids, context=Context(Side.EVADE, micro_batch=16))
    return result, score.evaluate(result.images)[0].numpy()


def attacked(threat: str, rounded: bool, side: Side, early: bool) -> tuple[AttackResult, np.ndarray, np.ndarray, float]:
    """The result, its images scored afresh, clean scores of the other side, and the target."""
    others = opponents(threat, rounded, side)
    target = float(others.max()) + 1e-3 if side is Side.EVADE else float(others.min()) - 1e-3
    return *run(threat, rounded, side, target if early else None), others, target


def figures(id_scores: np.ndarray, ood_scores: np.ndarray, *, high: float | None, low: float | None) -> list[float]:
    """Every figure that a table shows, computed as a table computes it."""
    if high is not None:
        ood_scores = np.where(ood_scores > high, np.float32(high), ood_scores)
    if low is not None:
        id_scores = np.where(id_scores < low, np.float32(low), id_scores)
    estimate = metrics.delong(id_scores, ood_scores)
    return [
        metrics.auroc(id_scores, ood_scores),
        estimate.auroc,
        estimate.se,
        metrics.conservative_auroc(id_scores, ood_scores),
        metrics.fpr_at_tpr(id_scores, ood_scores),
        metrics.aupr_in(id_scores, ood_scores),
        metrics.aupr_out(id_scores, ood_scores),
    ]


@pytest.mark.parametrize("rounded", [False, True], ids=["network", "ties"])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("threat", THREATS)
def test_metrics_are_bit_equal_with_and_without_early_stop(threat: str, side: Side, rounded: bool) -> None:
    def table(early: bool) -> list[float]:
        if side is Side.EVADE:
            _, ood, ids, high = attacked(threat, rounded, side, early)
            return figures(ids, ood, high=high, low=None)
        if side is Side.ALARM:
            _, ids, ood, low = attacked(threat, rounded, side, early)
            return figures(ids, ood, high=None, low=low)
        _, ood, _, high = attacked(threat, rounded, Side.EVADE, early)
        _, ids, _, low = attacked(threat, rounded, Side.ALARM, early)
        return figures(ids, ood, high=high, low=low)

    assert table(early=True) == table(early=False)


@pytest.mark.parametrize("rounded", [False, True], ids=["network", "ties"])
@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("threat", THREATS)
def test_some_samples_stop_some_do_not_and_stops_are_confirmed_afresh(threat: str, side: Side, rounded: bool) -> None:
    result, fresh, _, target = attacked(threat, rounded, side, early=True)
    stopped = np.array([status is Status.STOPPED for status in result.status])
    assert 0 < stopped.sum() < COUNT
    assert ((fresh > target) if side is Side.EVADE else (fresh < target))[stopped].all()
    full = attacked(threat, rounded, side, early=False)[0]
    assert (result.gradients + result.queries).sum() < (full.gradients + full.queries).sum()


def test_a_sample_that_stops_in_its_first_restart_spends_nothing_on_the_others() -> None:
    result = attacked("pgd", False, Side.EVADE, early=True)[0]
    spent = result.gradients[[status is Status.STOPPED for status in result.status]]
    # All five restarts of a sample cost five gradients a step: what is no multiple of five was spent on one alone.
    alone = spent % 5 != 0
    assert alone.any()
    assert (spent[alone] <= 12).any()
