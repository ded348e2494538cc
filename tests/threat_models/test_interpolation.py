"""Interpolation: what lies inside the ball is copied, and what does not is approached."""

from pathlib import Path

import pytest
import torch
import yaml

from bench.cards.threat import Knowledge, Norm, Side, ThreatCard
from bench.errors import UsageError
from bench.testing.closed_forms import LinearScore, QuadraticScore
from bench.testing.threats import Check, Setting, images, pool, threat_checks
from bench.threat_models import geometry
from bench.threat_models.base import AttackResult, Budget, Context, Status
from bench.threat_models.guides import drawn_guides, nearest_guides
from bench.threat_models.interpolation import Between, BetweenParams, Interpolation, InterpolationParams, on_the_way

SETTINGS = [Setting(Norm.L2, 0.7), Setting(Norm.LINF, 0.1)]
CARDS = sorted((Path(__file__).parents[2] / "threat_models").glob("interpolation*.yaml"))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.norm)
@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: Check, setting: Setting) -> None:
    check(Interpolation(InterpolationParams(nearest=2, drawn=2, points=3)), setting)


def walk(detector, params: InterpolationParams, setting: Setting, side: Side = Side.EVADE, **more) -> AttackResult:
    x, ids = images()
    context = Context(side, seed=7, pool=pool(), micro_batch=4, **more)
    return Interpolation(params).run(detector, x, ids=ids, budget=setting.budget, context=context)


@pytest.mark.parametrize("norm", list(Norm))
def test_an_id_image_inside_the_ball_is_copied_bit_for_bit(norm: Norm) -> None:
    detector = QuadraticScore(pool()[2].flatten())  # its optimum is the third image of the pool
    result = walk(detector, InterpolationParams(nearest=5, drawn=0, points=2), Setting(norm, 100.0))
    assert torch.equal(result.images, pool()[[2] * 7])


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.norm)
@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
def test_it_finds_the_best_of_all_points_computed_naively(setting: Setting, side: Side) -> None:
    detector, params = LinearScore().eval(), InterpolationParams(nearest=2, drawn=2, points=4)
    result = walk(detector, params, setting, side)
    x, ids = images()
    drawn = drawn_guides(ids, 2, pool=5, draw=0, context=Context(side, seed=7))
    sign = 1.0 if side is Side.EVADE else -1.0
    order = 2.0 if setting.norm is Norm.L2 else float("inf")
    for i, image in enumerate(x.double()):
        ways = (pool().double() - image).flatten(1)
        lengths = torch.linalg.vector_norm(ways, ord=order, dim=1)
        chosen = [*lengths.argsort()[:2].tolist(), *drawn[i].tolist()]
        reached = [image]
        for guide in chosen:
            far = min(1.0, setting.eps / float(lengths[guide]))
            reached += [image + far * k / 4 * ways[guide].view_as(image) for k in range(1, 5)]
        with torch.no_grad():
            scores = detector.score(torch.stack(reached).float())
        # Points in float32, whose norm is held a millionth below eps.
        assert float(sign * result.score_trace[i, -1]) == pytest.approx(float((sign * scores).max()), abs=1e-5)


def test_every_point_costs_one_query_and_no_gradient() -> None:
    result = walk(LinearScore(), InterpolationParams(nearest=2, drawn=3, points=4), SETTINGS[0])
    assert set(result.queries.tolist()) == {1 + 5 * 4} and set(result.gradients.tolist()) == {0}
    assert set(result.status) == {Status.COMPLETED}


def test_nearest_guides_are_the_nearest_and_no_others() -> None:
    x, _ = images()
    for norm in Norm:
        found = nearest_guides(x, pool(), norm, 2)
        for image, row in zip(x, found, strict=True):
            lengths = geometry.distance(pool(), image.expand_as(pool()), norm)
            assert row.tolist() == lengths.argsort()[:2].tolist()


def test_a_way_in_l0_changes_the_values_that_differ_most_one_after_the_other() -> None:
    x, guides = torch.zeros(1, 1, 1, 4), torch.tensor([[[[0.1, 0.9, 0.0, 0.5]]]])
    ways = [on_the_way(x, guides, share, Norm.L0, 4.0)[0, 0, 0].tolist() for share in (0.25, 0.5, 1.0)]
    expected = [[0, 0.9, 0, 0], [0, 0.9, 0, 0.5], [0.1, 0.9, 0, 0.5]]
    assert ways == [pytest.approx(way) for way in expected]


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF, Norm.L1])
def test_points_on_the_way_stay_in_the_ball_at_their_share_of_it(norm: Norm) -> None:
    x, _ = images()
    guides = x.flip(0).contiguous()
    length = geometry.distance(guides, x, norm)
    for share in (0.0, 0.25, 1.0):
        points = on_the_way(x, guides, share, norm, 0.2)
        # Projection aims a millionth below eps; the middle image leads to itself.
        assert torch.allclose(geometry.distance(points, x, norm), share * length.clamp(max=0.2), atol=1e-6)


def test_nowhere_to_walk_to_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="nowhere to walk to"):
        walk(LinearScore(), InterpolationParams(nearest=0, drawn=0), SETTINGS[0])


def test_between_says_on_which_side_it_runs() -> None:
    x, ids = images()
    with pytest.raises(UsageError, match="--side between"):
        Between().run(LinearScore(), x, ids=ids, budget=Budget(None, None), context=Context(Side.EVADE))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_cards_list_every_parameter_and_say_that_scores_are_all_they_ask_for(path: Path) -> None:
    card = ThreatCard.model_validate(yaml.safe_load(path.read_text()))
    params = (InterpolationParams if card.norm else BetweenParams).model_validate(card.params)
    assert card.params == params.model_dump() and card.name == path.stem
    assert card.knowledge is Knowledge.SCORES
    assert card.sides == ((Side.EVADE, Side.ALARM) if card.norm else (Side.BETWEEN,))
