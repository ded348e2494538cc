"""ROSS: its formula on known numbers, its noise, its threshold, and what directs an attack on it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import DetectorInfo
from bench.detectors.energy import Energy
from bench.detectors.msp import MSP
from bench.detectors.networks.base import FromPixels
from bench.detectors.ross import FIT_IMAGES, ROSS, smoothed
from bench.errors import InputError, UsageError
from bench.evaluation.scoring import Draws, draws_of, score_images
from bench.randomness import normal
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase
from bench.threat_models.base import Budget, Context
from bench.threat_models.objectives import mean_score, mean_score_and_objective, noise_source, objective_of
from bench.threat_models.pgd import PGD, PGDParams

IDS = torch.arange(12) * 5 + 3


class WithFixedNoise(ROSS):
    """The score by one draw of noise, whoever asks: what the contract holds of a score, held of the noisy one."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        one = torch.randn(25, 1, 8, 8, generator=torch.Generator().manual_seed(3))
        turn = iter(one)
        return super().score(x, noise=noise or (lambda shape: next(turn).expand(len(x), *shape).to(x)))


def fixed(value: float) -> Callable[[tuple[int, ...]], Tensor]:
    return lambda shape: torch.full((12, *shape), value)


@pytest.mark.parametrize("method", [ROSS, WithFixedNoise])
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_ross_keeps_the_contract_without_noise_and_with(make_detector, training_data, images, method, check):
    check(DetectorCase(make_detector(method, noise=0.3).fit(training_data), images))


def test_the_score_is_the_median_raised_by_what_it_exceeds_the_threshold_over_the_mean_deviation():
    # median 4, mean deviation (3 + 2 + 0 + 4 + 6) / 5 = 3, and 2 above the threshold; below it nothing is added
    scores = torch.tensor([[1.0, 2.0, 4.0, 8.0, 10.0], [1.0, 0.0, 1.5, 9.0, 1.0]])
    assert torch.allclose(smoothed(scores, 2.0, 0.6), torch.tensor([4.0 + 0.6 * 2 / 3, 1.0]))


def test_it_is_the_authors_formula():
    scores = torch.rand(50, 25, dtype=torch.float64) * 8
    median = scores.median(dim=1).values
    spread = (scores - median[:, None]).abs().mean(dim=1)
    theirs = median.clamp(max=4.0) + (median - 4.0).clamp(min=0) * (1 + 0.05 / (spread + 1e-12))
    assert torch.allclose(smoothed(scores, 4.0, 0.05), theirs, rtol=1e-12)


@pytest.mark.parametrize(("base", "method"), [("energy", Energy), ("msp", MSP)])
def test_without_noise_it_is_the_base_score(make_detector, images, base, method):
    ross = make_detector(ROSS, base=base)
    plain = method(ross.network, shape=ross.shape, classes=ross.classes, params=method.Params()).eval()
    assert torch.equal(ross.score(images), plain.score(images))


def test_noise_is_added_after_the_normalisation(make_detector, images):
    ross = make_detector(ROSS, noise=0.5, copies=3)
    std = 0.25
    ross.network = FromPixels(ross.network.network, mean=(0.4,), std=(std,)).eval()
    moved = ross.network(images + 0.5 * 0.2 * std)  # the same place by way of the pixels
    assert torch.allclose(ross.copies(images, fixed(0.2))[:, 1], moved.logsumexp(dim=1), atol=1e-5)


def test_every_copy_gets_noise_of_its_own(make_detector, images):
    ross = make_detector(ROSS, noise=0.5, copies=4)
    scores = ross.copies(images, lambda shape: torch.randn(len(images), *shape))
    assert len(scores[0].unique()) == 4


def test_the_threshold_is_the_5_percent_quantile_of_the_medians_of_calibration_images(make_detector, training_data):
    ross = make_detector(ROSS, copies=3).fit(training_data)
    held, asked = training_data.calibration, 0

    def noise(shape: tuple[int, ...]) -> Tensor:
        nonlocal asked
        asked += 1
        return normal(0, held.ids, asked, shape)

    with torch.no_grad():
        medians = ross.copies(held.pixels(), noise).median(dim=1).values
    assert len(held) < FIT_IMAGES
    assert float(ross.threshold) == pytest.approx(np.quantile(medians.double().numpy(), 0.05), abs=1e-5)


def test_it_is_not_scored_with_noise_before_it_is_fitted(make_detector, images):
    with pytest.raises(InputError, match="must be fitted"):
        make_detector(ROSS).score(images, noise=fixed(0.1))


def test_the_harness_takes_one_draw_which_is_the_detector_as_it_runs(make_detector, training_data, images):
    ross = make_detector(ROSS, copies=3).fit(training_data)
    assert draws_of(ross) == 1 and draws_of(make_detector(Energy)) == 0
    context = Context(Side.EVADE, seed=0, draws=1)
    with torch.no_grad():
        wanted = mean_score(ross, images, IDS, context, first=1)
        assert not torch.equal(wanted, mean_score(ross, images, IDS, context))
    assert torch.allclose(torch.from_numpy(score_images(ross, images, 12, Draws(IDS))), wanted, atol=1e-6)


def test_the_score_judges_and_the_mean_of_the_base_score_directs(make_detector, training_data, images):
    ross = make_detector(ROSS, copies=5, noise=0.5).fit(training_data)
    context, rows = Context(Side.ALARM, seed=4, draws=1), torch.arange(12)
    leaf = images.clone().requires_grad_(True)
    criterion, direction = objective_of(ross, IDS, context)(leaf, rows)
    score, objective = mean_score_and_objective(ross, images, IDS, context)
    assert not criterion.requires_grad and torch.equal(criterion, -score) and torch.equal(direction, -objective)
    assert torch.allclose(score, mean_score(ross, images, IDS, context))
    assert torch.allclose(objective, ross.copies(images, noise_source(IDS, 0, context)).mean(dim=1))
    (found,) = torch.autograd.grad(direction.sum(), leaf)
    step = 1e-2 * torch.randn_like(images)
    with torch.no_grad():
        forth, back = (objective_of(ross, IDS, context)(images + way * step, rows)[1] for way in (1, -1))
    assert torch.allclose((forth - back) / 2, (found * step).flatten(1).sum(dim=1), rtol=0.05, atol=1e-4)


def test_an_attack_through_the_noise_raises_the_score_of_fresh_noise(make_detector, training_data):
    ross = make_detector(ROSS, copies=9, noise=0.3).fit(training_data)
    x, budget = training_data.outliers.pixels()[:12], Budget(Norm.LINF, 0.1)
    attack = PGD(PGDParams(steps=20, restarts=1))
    found = attack.run(ross, x, ids=IDS, budget=budget, context=Context(Side.EVADE, draws=1)).images
    with torch.no_grad():
        clean, moved = (
            mean_score(ross, each, IDS, Context(Side.EVADE, seed=9, draws=1), first=1) for each in (x, found)
        )
    assert bool((moved > clean).all())


@pytest.mark.parametrize("draws", [0, -1, 1001])
def test_a_detector_may_not_declare_that_none_of_its_noise_is_drawn(draws):
    with pytest.raises(UsageError, match=rf"declares {draws} draws of its noise; allowed are 1 to 1000"):
        DetectorInfo(random=True, draws=draws)
