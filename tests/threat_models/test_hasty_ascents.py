"""The first half of the steps may ask a copy; what is found is judged by the detector, whatever the copy said."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.precision import Precision
from bench.detectors.searching import Copy, Form
from bench.testing.threats import QuadraticScore, images
from bench.threat_models.apgd import APGD, APGDParams
from bench.threat_models.base import Budget, Context, Status
from bench.threat_models.pgd import PGD, PGDParams

BUDGET = Budget(Norm.L2, 0.5)
FORM = Form(Precision.BF16)


class Boastful(QuadraticScore):
    """Says of every image that its score is higher than any."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) + 1e6


class Backward(QuadraticScore):
    """Points the other way."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return -super().score(x)


class Lost(QuadraticScore):
    """Gives no number at all."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) * torch.nan


class Flat(QuadraticScore):
    """Has no slope anywhere."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return super().score(x) * 0.0


def run(threat, copy=None, *, detector=None, target=None, side=Side.EVADE, micro_batch=4):
    x, ids = images()
    search = None if copy is None else Copy(copy, "", FORM)
    context = Context(side, micro_batch=micro_batch, stop_target=target, search=search)
    return threat.run(detector or QuadraticScore(), x, ids=ids, budget=BUDGET, context=context)


THREATS = {"pgd": PGD(PGDParams(steps=10, restarts=3)), "apgd": APGD(APGDParams(steps=10, restarts=3))}


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_a_copy_that_is_the_detector_changes_no_bit_of_what_is_found(threat, side):
    exact, hasty = run(threat, side=side), run(threat, QuadraticScore(), side=side)
    assert torch.equal(exact.images, hasty.images)
    assert torch.equal(exact.last_images, hasty.last_images)
    assert torch.equal(exact.gradients, hasty.gradients)
    assert torch.equal(exact.queries + 3, hasty.queries)  # what each restart found is judged once more
    assert exact.status == hasty.status


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_so_does_it_where_images_stop(threat):
    target = float(run(threat).score_trace[:, 5].median())
    exact, hasty = run(threat, target=target), run(threat, QuadraticScore(), target=target)
    assert exact.status == hasty.status and Status.STOPPED in exact.status and Status.COMPLETED in exact.status
    detector = QuadraticScore()
    for result in (exact, hasty):
        stopped = torch.tensor([status is Status.STOPPED for status in result.status])
        assert (detector.score(result.images)[stopped] > target).all()
        assert (detector.score(result.images)[~stopped] <= target).all()
    assert torch.equal(exact.images[~stopped], hasty.images[~stopped])  # their steps are the same ones
    assert hasty.gradients.sum() <= exact.gradients.sum() + 5 * len(hasty.gradients)


@pytest.mark.parametrize("copy", [Boastful(), Backward(), Lost(), Flat()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("target", [None, 1e5])
@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_no_copy_makes_a_score_that_the_detector_does_not_give(threat, copy, target):
    result = run(threat, copy, target=target)
    detector, (x, _) = QuadraticScore(), images()
    found = detector.score(result.images)
    torch.testing.assert_close(found, result.score_trace[:, -1])
    assert (found > detector.score(x)).all()  # the second half finds something, wherever the first one led
    assert Status.STOPPED not in result.status
    assert torch.isfinite(result.images).all()


def test_the_detector_itself_is_asked_from_half_of_the_steps_on():
    counts = Counter()

    class Counting(QuadraticScore):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def score(self, x, *, noise=None):
            counts[self.name, x.requires_grad] += 1
            return super().score(x)

    x, _ = images()
    batches = -(-len(x) // 4)
    run(PGD(PGDParams(steps=11, restarts=1)), Counting("copy"), detector=Counting("detector"))
    assert counts["copy", True] == 5 * batches and counts["copy", False] == 0
    assert counts["detector", True] == 6 * batches


def test_what_a_boastful_copy_stops_goes_on_with_the_detector():
    target = float(QuadraticScore().score(images()[0]).max()) + 10.0
    result = run(PGD(PGDParams(steps=10, restarts=1)), Boastful(), target=target)
    # One gradient of the copy, and then the second half.
    assert result.gradients.tolist() == [6] * len(result.gradients)


def test_rows_that_wait_in_any_batch_keep_the_others_in_place():
    class Sometimes(QuadraticScore):
        def score(self, x, *, noise=None):
            score = super().score(x)
            return torch.where(score > float(middle), score + 1e6, score)

    x, _ = images()
    middle = run(PGD(PGDParams(steps=10, restarts=3))).score_trace[:, 2].median()
    target = 1e5
    one = run(PGD(PGDParams(steps=10, restarts=3)), Sometimes(), target=target, micro_batch=2)
    other = run(PGD(PGDParams(steps=10, restarts=3)), Sometimes(), target=target, micro_batch=32)
    torch.testing.assert_close(one.images, other.images)
    detector = QuadraticScore()
    torch.testing.assert_close(detector.score(one.images), one.score_trace[:, -1])
    assert (torch.linalg.vector_norm((one.images - x).flatten(1), dim=1) <= 0.5 * (1 + 1e-5)).all()


def test_a_single_step_is_the_detectors():
    result = run(PGD(PGDParams(steps=1, restarts=1)), Lost())
    exact = run(PGD(PGDParams(steps=1, restarts=1)))
    assert torch.equal(result.images, exact.images)


@pytest.mark.parametrize("copy", [Flat(), Lost()], ids=lambda c: type(c).__name__)
def test_where_the_copy_has_no_slope_the_detector_goes_on(copy):
    detector, (x, _) = QuadraticScore(), images()
    result = run(PGD(PGDParams(steps=10, restarts=1)), copy)
    assert (detector.score(result.images) > detector.score(x) + 0.1).all()
