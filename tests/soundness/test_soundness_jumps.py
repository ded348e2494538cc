"""Jumps of a score within the ball, on linear scores with a step of known height."""

import numpy as np
import pytest
import torch
from soundness_cases import COUNT, IQR, view
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.soundness import records
from bench.soundness.jumps import HALVINGS, PIECES, largest_jumps, queries
from bench.soundness.probes import Target
from bench.soundness.verdicts import Verdict
from bench.testing.closed_forms import SHAPE, LinearScore, PoisonedScore, QuadraticScore
from bench.threat_models.base import Context

IMAGES, EPS, HEIGHT = 6, 0.5, 3.0
IDS = torch.arange(IMAGES) + 7


def images() -> Tensor:
    return 0.25 + 0.5 * torch.rand((IMAGES, *SHAPE), generator=torch.Generator().manual_seed(0))


def aside(by: float = 0.2) -> Tensor:
    """Each image with the first pixel alone moved."""
    moved = images()
    moved[:, 0, 0, 0] += by
    return moved


def target(detector, norm: Norm = Norm.L2) -> Target:
    return Target(detector.eval(), images(), IDS, norm, EPS, Context(Side.EVADE, seed=3, micro_batch=4))


class Gated(LinearScore):
    """Lower by a constant where the other pixels are an image's and the first has been moved by more than 0.01."""

    at = 0.01

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        nearest = torch.cdist(x.detach().flatten(1), images().flatten(1)).amin(1)
        return super().score(x) - HEIGHT * (nearest > self.at)


class Far(Gated):
    """The step lies beyond the ball."""

    at = 1.2 * EPS


class Steep(LinearScore):
    """A sigmoid that rises within a thousandth of the mean pixel: steep, and continuous."""

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return HEIGHT * torch.sigmoid(1e3 * (x.flatten(1).mean(1) - 0.5))


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_the_height_of_a_step_is_found(norm):
    found = largest_jumps(target(Gated(), norm), [aside()])
    assert found == pytest.approx(np.full(IMAGES, HEIGHT), abs=1e-3)


def test_the_largest_of_several_ways_counts():
    assert largest_jumps(target(Gated()), [images(), aside()]) == pytest.approx(np.full(IMAGES, HEIGHT), abs=1e-3)


@pytest.mark.parametrize("detector", [LinearScore, QuadraticScore, Steep])
def test_a_continuous_score_has_no_jump(detector):
    assert largest_jumps(target(detector()), [aside(), torch.ones_like(images())]).max() < 0.01 * HEIGHT


def test_a_step_beyond_the_ball_is_none():
    assert largest_jumps(target(Far()), [1.0 - images(), torch.ones_like(images())]).max() < 1e-3


def test_scores_that_are_not_finite_are_no_jumps():
    assert np.isfinite(largest_jumps(target(PoisonedScore()), [torch.ones_like(images())])).all()


def test_as_many_scores_are_asked_for_as_are_counted():
    class Counting(LinearScore):
        asked = 0

        def score(self, x: Tensor, *, noise=None) -> Tensor:
            self.asked += 1
            return super().score(x)

    detector = Counting()
    largest_jumps(target(detector), [aside(), aside(0.1)])
    assert detector.asked == queries(2) * 2  # six images are two batches of four
    assert queries(1) == PIECES + 1 + HALVINGS


@pytest.mark.parametrize(("share", "verdict"), [(0.0, Verdict.PASS), (0.05, Verdict.PASS), (0.1, Verdict.WARN)])
def test_the_share_of_images_with_a_jump_is_told(share, verdict):
    jumps = np.where(np.arange(COUNT) < share * COUNT, 2.0 * IQR, 0.0)
    finding = records.without_jumps(view(), jumps, None)
    assert finding.verdict is verdict
    assert finding.figures == {"share_jumping": share, "largest_jump": 2.0 if share else 0.0}
    assert ("cannot be relied on" in finding.found) is (verdict is Verdict.WARN)


def test_differences_below_a_twentieth_of_the_spread_are_no_jumps():
    assert records.without_jumps(view(), np.full(COUNT, 0.05 * IQR), None).figures["share_jumping"] == 0.0
    assert records.without_jumps(view(), np.full(COUNT, 0.051 * IQR), None).figures["share_jumping"] == 1.0


def test_roughness_and_jumps_are_one_finding():
    rough = records.smooth(view(), 0.9)
    finding = records.without_jumps(view(), np.zeros(COUNT), rough)
    assert rough.verdict is Verdict.WARN and finding.verdict is Verdict.WARN
    assert set(finding.figures) == {*rough.figures, "share_jumping", "largest_jump"}
    assert finding.found == f"the score jumps near 0.0% of the images; {rough.found}"
