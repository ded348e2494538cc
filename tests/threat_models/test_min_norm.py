"""Attacks that look for the nearest image across a threshold or a decision: contract, closed forms, both sides."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Goal, Norm, Side
from bench.errors import UsageError
from bench.testing.classifiers import LinearClassifier
from bench.testing.closed_forms import SHAPE, LinearScore, QuadraticScore
from bench.testing.fool_threats import FoolCheck, FoolSetting, fool, fool_checks, true_labels
from bench.testing.nearest_threats import across, check_nearest_threat, cross, nearest_checks, threshold
from bench.testing.threats import Check, Setting, images
from bench.threat_models import geometry
from bench.threat_models.base import Acceptance, Budget, Context, Status, Threat
from bench.threat_models.clean import Clean
from bench.threat_models.crossing import Crossing
from bench.threat_models.ddn import DDN
from bench.threat_models.fmn import FMN
from bench.threat_models.min_norm import MinNormParams

QUICK = MinNormParams(steps=12, shrink_steps=4)
THREATS = {"ddn": (DDN, Norm.L2), "fmn": (FMN, Norm.LINF)}


@pytest.mark.parametrize("name", THREATS)
@pytest.mark.parametrize("check", nearest_checks(), ids=lambda check: check.__name__)
def test_they_keep_the_contract_on_the_score(check: Check, name: str) -> None:
    kind, norm = THREATS[name]
    check(kind(QUICK), Setting(norm, None))


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("name", THREATS)
@pytest.mark.parametrize("check", fool_checks(min_norm=True), ids=lambda check: check.__name__)
def test_they_keep_the_contract_on_decisions(check: FoolCheck, name: str, goal: Goal) -> None:
    kind, norm = THREATS[name]
    check(kind(QUICK), FoolSetting(norm, None, goal=goal))


def gray() -> torch.Tensor:
    return torch.full((7, *SHAPE), 0.5)


def radius_of(score_far: callable, line: float, norm: Norm, sign: float) -> torch.Tensor:
    """(7,) the smallest radius whose best point is across, by bisection."""
    low, high = torch.zeros(7), torch.full((7,), 6.0)
    for _ in range(40):
        middle = (low + high) / 2
        best = torch.stack([score_far(row, float(eps)) for row, eps in enumerate(middle)])
        there = sign * best > sign * line
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    return high


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize(("name", "order"), [("ddn", 2), ("fmn", 1)])
def test_in_the_middle_of_the_box_a_linear_score_is_crossed_at_its_distance_over_the_dual_norm(
    name: str, order: int, side: Side
) -> None:
    kind, norm = THREATS[name]
    detector, x = LinearScore().eval(), gray()
    weight, sign = detector.weight.detach(), 1.0 if side is Side.EVADE else -1.0
    line = float(detector.score(x)[0].detach()) + sign * 0.4
    result = cross(kind(), detector, Setting(norm, None), side=side, x=x, line=line)
    expected = 0.4 / float(torch.linalg.vector_norm(weight, ord=order))
    assert result.norm.tolist() == pytest.approx([expected] * 7, rel=1e-3)
    assert (result.norm >= expected * (1 - 1e-4)).all()  # nothing is nearer than the optimum


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("name", THREATS)
def test_against_the_walls_of_the_box_a_linear_score_is_crossed_at_the_optimum(name: str, side: Side) -> None:
    kind, norm = THREATS[name]
    detector, (x, _) = LinearScore().eval(), images()
    sign = 1.0 if side is Side.EVADE else -1.0
    clean = detector.score(x).detach()
    line = float(clean.amax() if sign > 0 else clean.amin()) + sign * 0.5
    far = sign * 1e4 * detector.weight.detach().view(1, *SHAPE)

    def best(row: int, eps: float) -> torch.Tensor:
        return detector.score(geometry.project(x[row : row + 1] + far, x[row : row + 1], norm, eps))[0].detach()

    expected = radius_of(best, line, norm, sign)
    result = cross(kind(), detector, Setting(norm, None), side=side, line=line)
    assert result.norm.tolist() == pytest.approx(expected.tolist(), rel=5e-3)


@pytest.mark.parametrize("name", THREATS)
def test_a_quadratic_score_is_crossed_at_the_optimum(name: str) -> None:
    kind, norm = THREATS[name]
    detector, (x, _) = QuadraticScore(), images()
    line = float(detector.score(x).amax()) * 0.4
    center = detector.center.view(1, *SHAPE)

    def best(row: int, eps: float) -> torch.Tensor:
        return detector.score(geometry.project(center, x[row : row + 1], norm, eps))[0]

    result = cross(kind(), detector, Setting(norm, None), line=line)
    assert result.norm.tolist() == pytest.approx(radius_of(best, line, norm, 1.0).tolist(), rel=5e-3)


@pytest.mark.parametrize(("name", "order"), [("ddn", 2), ("fmn", 1)])
def test_a_linear_classifier_is_fooled_at_its_nearest_boundary(name: str, order: int) -> None:
    kind, norm = THREATS[name]
    detector = LinearClassifier()
    x = 0.5 + 0.02 * (images()[0] - 0.5)
    labels = true_labels(detector, x)
    result = fool(kind(), detector, FoolSetting(norm, None), x=x, labels=labels)
    flat = x.clone().requires_grad_(True)
    logits = detector.logits(flat)
    rows = torch.stack(
        [
            torch.autograd.grad(logits[:, k].sum(), flat, retain_graph=True)[0].flatten(1)
            for k in range(logits.shape[1])
        ],
        dim=1,
    )
    own = labels[:, None]
    gap = logits.detach().gather(1, own) - logits.detach()
    slopes = torch.linalg.vector_norm(rows - rows[torch.arange(7), labels][:, None], ord=order, dim=2)
    away = (gap / slopes).scatter(1, own, torch.inf).amin(dim=1).clamp_min(0)
    moved = away > 0
    assert result.norm[moved].tolist() == pytest.approx(away[moved].tolist(), rel=5e-3)


def test_a_score_per_class_is_crossed_at_the_threshold_of_the_class_that_is_predicted() -> None:
    detector, (x, ids) = LinearClassifier().eval(), images()
    with torch.no_grad():
        classes, score = detector.logits(x).argmax(dim=1), detector.score(x)
    lines = {label: float(score.max()) + 0.1 * (1 + label) for label in range(3)}
    context = Context(Side.EVADE, acceptance=Acceptance(1e9, lines), micro_batch=4)
    with torch.no_grad():
        criterion, _ = Crossing(detector, ids, context)(x, torch.arange(7))
    expected = score - torch.tensor([lines.get(int(c), 1e9) for c in classes])
    assert criterion.tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_the_search_needs_a_threshold_and_says_so() -> None:
    x, ids = images()
    with pytest.raises(UsageError, match="needs a threshold; the harness gives it"):
        DDN(QUICK).run(LinearScore(), x, ids=ids, budget=Budget(Norm.L2, None), context=Context(Side.EVADE))


@pytest.mark.parametrize(("kind", "norm"), [(DDN, Norm.LINF), (FMN, Norm.L2)])
def test_another_norm_is_refused_in_one_sentence(kind: type[Threat], norm: Norm) -> None:
    with pytest.raises(UsageError, match=f"not in {norm}; take another threat"):
        cross(kind(QUICK), LinearScore(), Setting(norm, None))


def test_a_stop_target_is_none_of_distances() -> None:
    x, ids = images()
    context = Context(Side.EVADE, stop_target=-5.0, acceptance=Acceptance(threshold(LinearScore())), micro_batch=4)
    result = DDN(QUICK).run(LinearScore(), x, ids=ids, budget=Budget(Norm.L2, None), context=context)
    assert set(result.status) == {"completed"}


def test_more_steps_come_nearer() -> None:
    norms = [cross(DDN(MinNormParams(steps=s)), QuadraticScore(), Setting(Norm.L2, None)).norm for s in (5, 40, 400)]
    assert norms[0].sum() > norms[1].sum() > norms[2].sum()


def test_the_segment_to_the_clean_image_is_bisected_at_the_end() -> None:
    loose, tight = (
        cross(FMN(MinNormParams(steps=4, shrink_steps=turns)), LinearScore(), Setting(Norm.LINF, None))
        for turns in (0, 12)
    )
    assert (tight.norm <= loose.norm).all() and (tight.norm < loose.norm).any()
    assert (tight.queries - loose.queries).unique().tolist() == [0, 12]


class FarAway(Clean):
    """Answers with black images, wherever the line is."""

    def attack(self, detector, x, *, ids, budget, context):
        result = super().attack(detector, x, ids=ids, budget=budget, context=context)
        return replace(result, images=torch.zeros_like(x))


@pytest.mark.parametrize("broken", [FarAway, Clean])
def test_a_threat_that_breaks_the_contract_is_caught(broken: type[Threat]) -> None:
    with pytest.raises(AssertionError):
        check_nearest_threat(broken(), norm=Norm.L2)


def test_the_images_across_are_strictly_across() -> None:
    for side in (Side.EVADE, Side.ALARM):
        result = cross(DDN(), QuadraticScore(), Setting(Norm.L2, None), side=side)
        found = torch.tensor([status == "completed" for status in result.status])
        assert found.any() and across(QuadraticScore(), result.images, side)[found].all()


@pytest.mark.parametrize("name", THREATS)
def test_where_no_norm_is_asked_for_it_is_the_first_that_the_attack_works_in(name: str) -> None:
    kind, norm = THREATS[name]
    asked, unasked = (cross(kind(QUICK), LinearScore().eval(), Setting(each, None)) for each in (norm, None))
    assert torch.equal(asked.images, unasked.images) and torch.equal(asked.norm, unasked.norm)


@pytest.mark.parametrize("name", THREATS)
def test_images_whose_answers_stop_being_numbers_after_some_steps_say_so(name: str) -> None:
    class Tired(LinearClassifier):
        asked = 0

        def logits(self, x: torch.Tensor) -> torch.Tensor:
            self.asked += 1
            return super().logits(x) * (torch.nan if self.asked > 20 else 1.0)

    kind, norm = THREATS[name]
    detector = Tired()
    wrong = (LinearClassifier().logits(images()[0]).argmax(dim=1) != true_labels(LinearClassifier())).tolist()
    result = fool(kind(MinNormParams(steps=30, shrink_steps=4)), detector, FoolSetting(norm, None))
    assert detector.asked > 20 and any(wrong)  # an image that is misclassified as it is needs no step
    assert result.status == [Status.COMPLETED if done else Status.NON_FINITE for done in wrong]
