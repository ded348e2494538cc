"""The fast attacks find, bit for bit, what the algorithms on the page `naive.py` find, where nothing stops early."""

from types import SimpleNamespace

import naive
import numpy as np
import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.evaluation import worst
from bench.evaluation.images import TEST
from bench.threat_models import geometry
from bench.threat_models.apgd import APGD, APGDParams, checkpoints
from bench.threat_models.base import Budget, Context
from bench.threat_models.feature_matching import FeatureMatching, FeatureMatchingParams
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.square import Square, SquareParams

COUNT, SHAPE, SEED = 6, (2, 12, 10), 3
BALLS = [(Norm.L2, 0.6), (Norm.L2, 3.0), (Norm.LINF, 0.08)]


class Tiny(Detector):
    """A convolution, a bend and a weighted sum, with weights that never change."""

    info = DetectorInfo(classifier=False, matched="penultimate")

    def __init__(self):
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        drawn = torch.Generator().manual_seed(1)
        self.kernel = torch.randn((5, SHAPE[0], 3, 3), generator=drawn)
        self.weight = torch.randn((5 * 10 * 8,), generator=drawn)

    def features(self, x, at="penultimate"):
        return torch.nn.functional.conv2d(4 * x, self.kernel).flatten(1).sin()

    def score(self, x, *, noise=None):
        return (self.features(x) * self.weight).sum(dim=1)


@pytest.fixture(scope="module")
def tiny():
    return Tiny().eval()


@pytest.fixture
def images():
    """Some of them touch the box, which the projection then meets too."""
    drawn = torch.rand((COUNT, *SHAPE), generator=torch.Generator().manual_seed(2))
    return (1.4 * drawn - 0.2).clamp(0, 1)


def ids():
    return torch.arange(COUNT) + 40


def context(side=Side.EVADE, **known):
    return Context(side=side, seed=SEED, micro_batch=COUNT, **known)  # one batch, so that the shapes are the same


def drawn_starts(x, norm, eps, draws):
    return [geometry.uniform_in_ball(x, norm, eps, ids=ids(), draw=draw, context=context()) for draw in draws]


@pytest.fixture(params=BALLS, ids=lambda ball: f"{ball[0]}-{ball[1]:g}")
def ball(request):
    return request.param


def attacked(threat, detector, x, ball, **known):
    result = threat.run(detector, x, ids=ids(), budget=Budget(*ball), context=context(**known))
    return result.images


def moved(images, x):
    """How many images are other ones: where none is, equality means nothing."""
    return int(((images - x).abs().flatten(1).amax(dim=1) > 0.01).sum())


def test_pgd_with_restarts_is_the_page_s(tiny, images, ball):
    fast = attacked(PGD(PGDParams(steps=12, restarts=3)), tiny, images, ball)
    starts = [images, *drawn_starts(images, *ball, (1, 2))]
    found = [
        naive.pgd(tiny.score, images, start, *ball, steps=12, step_size=2.0, momentum=(0.9, 0.0)[turn % 2])
        for turn, start in enumerate(starts)
    ]
    assert torch.equal(fast, naive.best_of(tiny.score, images, found)) and moved(fast, images) == COUNT


def test_pgd_on_the_other_side_is_the_page_s_on_the_negative_score(tiny, images, ball):
    fast = attacked(PGD(PGDParams(steps=5, restarts=1)), tiny, images, ball, side=Side.ALARM)

    def lower(x):
        return -tiny.score(x)

    found = [naive.pgd(lower, images, images, *ball, steps=5, step_size=2.0, momentum=0.9)]
    assert torch.equal(fast, naive.best_of(lower, images, found)) and moved(fast, images) == COUNT


def test_auto_pgd_with_restarts_is_the_page_s(tiny, images, ball):
    fast = attacked(APGD(APGDParams(steps=30, restarts=2)), tiny, images, ball)
    starts = [images, *drawn_starts(images, *ball, (1,))]
    found = [naive.apgd(tiny.score, images, start, *ball, steps=30) for start in starts]
    assert torch.equal(fast, naive.best_of(tiny.score, images, found)) and moved(fast, images) == COUNT


def test_auto_pgd_looks_at_its_steps_when_the_page_does():
    for steps in (1, 7, 30, 100, 1000):
        assert set(checkpoints(steps)) == {k for k in naive.checkpoints(steps) if k < steps}


def test_square_is_the_page_s(tiny, images, ball):
    fast = attacked(Square(SquareParams(queries=40)), tiny, images, ball)

    def numbers(query, count):
        return context().uniform(ids(), query, (count,))

    assert torch.equal(fast, naive.square(tiny.score, images, *ball, queries=40, numbers=numbers))
    assert moved(fast, images) == COUNT


def test_feature_matching_is_the_page_s(tiny, images, ball):
    pool = torch.rand((9, *SHAPE), generator=torch.Generator().manual_seed(5))
    params = FeatureMatchingParams(steps=25, step_size=0.1, restarts=2)
    fast = attacked(FeatureMatching(params), tiny, images, ball, pool=pool)
    guide = pool[(context().uniform(ids(), -1, (1,)).double() * len(pool)).long().flatten()]
    norm, eps = ball
    found = [
        naive.feature_matching(tiny.score, tiny.features, images, start, guide, *ball, steps=25, step_size=0.1)
        for start in drawn_starts(images, norm, eps * params.noise, (0, 1))
    ]
    assert torch.equal(fast, naive.best_of(tiny.score, images, found)) and moved(fast, images) > 0


@pytest.mark.parametrize(("name", "sign"), [("letters", 1), (TEST, -1)])
def test_the_worst_case_is_the_page_s_ties_included(name, sign):
    draws = np.random.default_rng(4)
    clean = draws.integers(0, 4, 200).astype(np.float32)
    members = [draws.integers(0, 4, 200).astype(np.float32) for _ in range(3)]
    stage = SimpleNamespace(before=SimpleNamespace(scores={name: sign * clean}))
    chosen = worst._worst_score(stage, name, [{"score": sign * scores} for scores in members])
    assert chosen.tolist() == naive.worst_case(clean, members)
    assert set(chosen.tolist()) == {-1, 0, 1, 2}


@pytest.mark.parametrize(
    ("fast", "function"),
    [
        (PGD, naive.pgd),
        (APGD, naive.apgd),
        (Square, naive.square),
        (FeatureMatching, naive.feature_matching),
    ],
)
def test_a_docstring_names_the_function_of_the_page(fast, function):
    assert f"`{function.__name__}` of tests/threat_models/naive.py" in " ".join(fast.__doc__.split())


def test_the_worst_case_names_the_page_too():
    assert "`worst_case` of tests/threat_models/naive.py" in worst.__doc__
