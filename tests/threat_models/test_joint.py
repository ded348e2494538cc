"""Classifier and detector fooled together reach the best compromise that linear ones allow."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.cards.threat import Goal, Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.errors import UsageError
from bench.testing.closed_forms import SHAPE, fixed_numbers
from bench.testing.fool_threats import FoolCheck, FoolSetting, fool_checks
from bench.testing.threats import images
from bench.threat_models import geometry
from bench.threat_models.base import Acceptance, Budget, Context, Status
from bench.threat_models.joint import Joint, JointParams, Mode, orthogonal

SAMPLES = 7


class TwoPlanes(Detector):
    """A linear classifier and a linear score, and the cosine of the angle between their weights."""

    info = DetectorInfo(classifier=False)

    def __init__(self, agreement: float = -0.6, poisoned: bool = False) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        a, b = (fixed_numbers(draw) - 0.5 for draw in (1, 2))
        a = a / a.norm()
        b = b - (b @ a) * a
        self.margin_weight, self.score_weight = a, agreement * a + (1 - agreement**2) ** 0.5 * b / b.norm()
        self.poisoned = poisoned

    def logits(self, x):
        side = x.flatten(1) @ self.margin_weight
        return torch.stack([torch.zeros_like(side), side], dim=1)

    def score(self, x, *, noise=None):
        score = x.flatten(1) @ self.score_weight
        return torch.where(x[:, 0, 0, 0] > 0.99, torch.nan, score) if self.poisoned else score


def grey() -> tuple[Tensor, Tensor]:
    """Images far from the walls of the box, so that the ball alone binds."""
    x, ids = images()
    return 0.45 + 0.1 * x, ids


def context_for(detector: Detector, x: Tensor) -> Context:
    """Every image is of the class that it is taken for, and lies at the threshold."""
    with torch.no_grad():
        labels = detector.logits(x).argmax(dim=1)
        threshold = float(detector.score(x).nan_to_num().median())
    return Context(
        Side.FOOL, seed=7, labels=labels, goal=Goal.ACCEPT, acceptance=Acceptance(threshold, scale=0.5), micro_batch=4
    )


def run(detector: Detector, x: Tensor, ids: Tensor, params: JointParams, *, eps: float = 0.8, norm=Norm.L2, **changes):
    context = replace(context_for(detector, x), **changes)
    return context, Joint(params).run(detector, x, ids=ids, budget=Budget(norm, eps), context=context)


def judged(detector: TwoPlanes, x: Tensor, context: Context) -> Tensor:
    side = x.flatten(1).double() @ detector.margin_weight.double()
    margin = torch.where(context.labels == 0, side, -side)
    above = (x.flatten(1).double() @ detector.score_weight.double() - context.acceptance.overall) / 0.5
    return torch.minimum(margin, above)


def best_compromise(detector: TwoPlanes, x: Tensor, eps: float, context: Context) -> Tensor:
    """max over |d| <= eps of min(m + <a, d>, s + <b, d>) = min over t of t m + (1 - t) s + eps |t a + (1 - t) b|.

    The minimax theorem, for t in [0, 1]: both sides are linear in d and in t.
    """
    t = torch.linspace(0, 1, 20_001).double()
    a, b = detector.margin_weight.double(), detector.score_weight.double() / 0.5
    values = []
    for image, label in zip(x.flatten(1).double(), context.labels.tolist(), strict=True):
        sign = 1.0 if label == 0 else -1.0
        m, s = sign * (image @ a), image @ b - context.acceptance.overall / 0.5
        reach = (t[:, None] * sign * a + (1 - t)[:, None] * b).norm(dim=1)
        values.append((t * m + (1 - t) * s + eps * reach).min())
    return torch.stack(values)


@pytest.mark.parametrize("agreement", [-0.9, 0.0, 0.6])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("steps", "allowed"), [(100, 2e-3), (300, 1e-3)])
def test_linear_classifier_and_detector_are_fooled_as_far_as_the_ball_allows(
    mode: Mode, agreement: float, steps: int, allowed: float
) -> None:
    detector, (x, ids) = TwoPlanes(agreement), grey()
    context, result = run(detector, x, ids, JointParams(mode=mode, restarts=1, steps=steps))
    best, start = best_compromise(detector, x, 0.8, context), judged(detector, x, context)
    missed = (best - judged(detector, result.images, context)) / (best - start)
    assert missed.max() <= allowed and missed.min() >= -1e-5  # steps of one gradient at a time turn about the optimum


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_found_lies_in_ball_and_box_and_is_no_worse_than_the_clean_image(mode: Mode, norm: Norm) -> None:
    x, ids = images()
    detector = TwoPlanes()
    context, result = run(detector, x, ids, JointParams(mode=mode, steps=10, restarts=2), eps=0.3, norm=norm)
    assert geometry.distance(result.images, x, norm).max() <= 0.3 * (1 + 1e-5)
    assert ((result.images >= 0) & (result.images <= 1)).all()
    assert (judged(detector, result.images, context) >= judged(detector, x, context) - 1e-5).all()
    assert (result.score_trace.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
@pytest.mark.parametrize("check", fool_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: FoolCheck, norm: Norm, mode: Mode) -> None:
    threat = Joint(JointParams(mode=mode, steps=6, restarts=2))
    check(threat, FoolSetting(norm, 0.7 if norm is Norm.L2 else 0.1, Goal.ACCEPT))


def test_an_orthogonal_step_costs_two_gradients_and_a_selective_one_costs_one() -> None:
    x, ids = grey()
    for mode, cost in ((Mode.SELECTIVE, 1), (Mode.ORTHOGONAL, 2)):
        _, result = run(TwoPlanes(), x, ids, JointParams(mode=mode, steps=5, restarts=3))
        assert result.gradients.tolist() == [15 * cost] * SAMPLES
        assert result.queries.tolist() == [1 + 3] * SAMPLES


def test_a_score_that_is_not_finite_spoils_its_own_sample_alone() -> None:
    x, ids = grey()
    spoiled = x.clone()
    spoiled[3, 0, 0, 0] = 1.0
    params = JointParams(steps=5, restarts=1)
    context, healthy = run(TwoPlanes(poisoned=True), x, ids, params, eps=0.2)
    _, result = run(TwoPlanes(poisoned=True), spoiled, ids, params, eps=0.2, acceptance=context.acceptance)
    others = [0, 1, 2, 4, 5, 6]
    assert torch.equal(result.images[others], healthy.images[others]) and torch.isfinite(result.images).all()
    assert result.status[3] in (Status.NON_FINITE, Status.FAILED) and Status.FAILED not in healthy.status


@pytest.mark.parametrize("mode", list(Mode))
def test_a_sample_that_met_a_score_that_is_not_finite_on_its_way_is_told_so(mode: Mode) -> None:
    x, ids = grey()
    x[3, 0, 0, 0] = 0.985  # its own score is finite, and those of some iterates are not
    _, result = run(TwoPlanes(poisoned=True), x, ids, JointParams(mode=mode, steps=5, restarts=1), eps=0.2)
    assert result.status[3] is Status.NON_FINITE
    assert Status.NON_FINITE not in result.status[:3] + result.status[4:]


def test_the_orthogonal_part_is_what_gram_and_schmidt_leave() -> None:
    g, k = (torch.stack([fixed_numbers(draw) - 0.5, fixed_numbers(draw + 1) - 0.3]) for draw in (10, 20))
    expected = []
    for row, other in zip(g.double(), k.double(), strict=True):
        share = sum(a * b for a, b in zip(row, other, strict=True)) / sum(b * b for b in other)
        expected.append(torch.stack([a - share * b for a, b in zip(row, other, strict=True)]))
    assert torch.allclose(orthogonal(g, k).double(), torch.stack(expected), atol=1e-6)


def test_parallel_zero_and_infinite_gradients_leave_the_whole_one() -> None:
    g = fixed_numbers(10)[None].expand(3, -1)
    k = torch.stack([2.0 * g[0], torch.zeros(36), torch.full((36,), torch.nan)])
    assert torch.equal(orthogonal(g, k), g)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": Side.EVADE}, "side 'fool'"),
        ({"labels": None}, "labels"),
        ({"acceptance": None}, "no threshold"),
    ],
)
def test_what_it_cannot_do_without_is_asked_for_in_one_sentence(changes: dict, sentence: str) -> None:
    x, ids = grey()
    with pytest.raises(UsageError, match=sentence):
        run(TwoPlanes(), x, ids, JointParams(steps=1), **changes)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_the_part_that_leaves_another_function_alone_grows_with_the_gradient_and_with_nothing_else(
    scale: float,
) -> None:
    gradient, kept = torch.tensor([[3.0, 4.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    assert torch.allclose(orthogonal(scale * gradient, kept), scale * torch.tensor([[3.0, 0.0, 0.0]]))
    assert torch.allclose(orthogonal(scale * gradient, kept / scale), scale * torch.tensor([[3.0, 0.0, 0.0]]))


def test_a_gradient_of_which_nothing_but_rounding_would_be_left_stays_as_it_is() -> None:
    for left, expected in ((0.5e-3, [1.0, 0.5e-3]), (2e-3, [0.0, 2e-3])):
        found = orthogonal(torch.tensor([[1.0, left]]), torch.tensor([[1.0, 0.0]]))
        assert found.tolist() == [pytest.approx(expected)]
