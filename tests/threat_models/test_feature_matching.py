"""Feature matching: exact where the ball reaches, and equal to the paper's algorithm step by step."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from bench.cards.threat import Norm, Side
from bench.detectors.base import DetectorInfo
from bench.errors import UsageError
from bench.testing.closed_forms import SHAPE, ClosedForm, LinearScore, QuadraticScore
from bench.testing.threats import Check, Setting, images, pool, threat_checks
from bench.threat_models import matching
from bench.threat_models.base import AttackResult, Budget, Context
from bench.threat_models.feature_matching import TEST_GUIDES, FeatureMatching, FeatureMatchingParams, Guides, Pairing
from bench.threat_models.geometry import uniform_in_ball
from bench.threat_models.guides import drawn_guides, ordered_guides
from bench.threat_models.matching import Update, relative_error
from bench.threat_models.pgd import Schedule

SETTINGS = [Setting(Norm.L2, 0.7), Setting(Norm.LINF, 0.1)]
CARDS = sorted((Path(__file__).parents[2] / "threat_models").glob("feature-matching-*.yaml"))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.norm)
@pytest.mark.parametrize("update", list(Update))
@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: Check, update: Update, setting: Setting) -> None:
    check(FeatureMatching(FeatureMatchingParams(steps=6, restarts=2, guides_per_image=2, update=update)), setting)


class LinearFeatures(ClosedForm):
    """Three inner products as logits; the score is their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(Context(Side.EVADE, seed=8).noise(torch.arange(3), 0, (math.prod(SHAPE),)))

    def features(self, x: Tensor, at: str) -> Tensor:
        if at == "score":
            return self.score(x)[:, None]
        return x.flatten(1) @ self.weight.T

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return (x.flatten(1) @ self.weight.T).sum(dim=1)


class SmoothFeatures(LinearFeatures):
    """Linear features behind a tanh, matched as logits by default."""

    info = DetectorInfo(classifier=False, matched="logits")

    def features(self, x: Tensor, at: str) -> Tensor:
        return torch.tanh(super().features(x, at) / 3.0) if at == "logits" else super().features(x, at)


def match(
    detector, params: FeatureMatchingParams, setting: Setting, *, x: Tensor | None = None, seed: int = 7, **more
) -> AttackResult:
    own, ids = images()
    x = own if x is None else x
    context = Context(Side.EVADE, seed=seed, pool=pool(), micro_batch=4, **more)
    return FeatureMatching(params).run(detector, x, ids=ids, budget=setting.budget, context=context)


@pytest.mark.parametrize("setting", [Setting(Norm.L2, 3.0), Setting(Norm.LINF, 0.5)], ids=lambda s: s.norm)
def test_linear_features_are_matched_exactly_where_the_ball_reaches(setting: Setting) -> None:
    params = FeatureMatchingParams(
        match="logits", steps=300, step_size=0.1, schedule=Schedule.COSINE, update=Update.PLAIN
    )
    result = match(LinearFeatures(), params, setting)
    # The last cosine steps are 3e-6 of the first; float32 sums of 36 products allow 1e-6 of the largest feature.
    assert float(result.figures["mape"].max()) < 1e-4


def test_linear_features_stay_apart_where_the_ball_does_not_reach() -> None:
    detector, setting = LinearScore(), Setting(Norm.L2, 0.05)
    x, ids = images()
    params = FeatureMatchingParams(match="score", steps=100, step_size=0.1, schedule=Schedule.COSINE)
    result = match(detector, params, setting)
    guides = drawn_guides(ids, 1, pool=5, draw=-1, context=Context(Side.EVADE, seed=7))[:, 0]
    with torch.no_grad():
        here, there = detector.eval().score(x), detector.score(pool())[guides]
    # No step of length eps changes <w, x> by more than eps |w|, whatever the box cuts off.
    least = ((there - here).abs() - 0.05 * detector.weight.norm()).clamp(min=0) / there.abs()
    assert (least > 0).any()
    assert (result.figures["mape"] >= least * (1 - 1e-4)).all()


@pytest.mark.parametrize("update", list(Update))
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.norm)
def test_it_equals_algorithm_1_computed_naively(setting: Setting, update: Update) -> None:
    detector, steps = SmoothFeatures(), 25
    params = FeatureMatchingParams(steps=steps, step_size=0.05, update=update)
    result = match(detector, params, setting)
    x, ids = images()
    context = Context(Side.EVADE, seed=7)
    starts = starting_points(x, ids, setting, context)
    guides = drawn_guides(ids, 1, pool=5, draw=-1, context=context)[:, 0]
    for i in range(len(x)):
        closest, error = algorithm_1(
            detector.weight.detach().double(), x[i].double(), starts[i].double(), pool()[guides[i]].double(),
            setting=setting, alpha=0.05 * setting.eps, steps=steps, adamax=update is Update.ADAMAX,
        )  # fmt: skip
        # The projection stays up to 3e-6 eps inside the ball in each of 25 steps, and features follow.
        assert math.isclose(float(result.figures["mape"][i]), error, abs_tol=2e-5)
        if torch.equal(result.images[i], x[i]):
            continue  # the image itself scored best, and no start gave one
        # 25 steps of float32 next to float64; signs of gradients near 0 may differ for L-infinity.
        assert torch.allclose(result.last_images[i].double(), closest, atol=2e-5)


def starting_points(x: Tensor, ids: Tensor, setting: Setting, context: Context) -> Tensor:
    """x plus noise within eps."""
    return uniform_in_ball(x, setting.norm, setting.eps, ids=ids, draw=0, context=context)


def algorithm_1(
    weight: Tensor, x: Tensor, start: Tensor, guide: Tensor, *, setting: Setting, alpha: float, steps: int, adamax: bool
) -> tuple[Tensor, float]:
    """The iterate of least J and its MAPE, one image at a time, with the gradient of J by hand."""

    def f(image: Tensor) -> Tensor:
        return torch.tanh(weight @ image.flatten() / 3.0)

    target, y = f(guide), start
    mean, largest = torch.zeros_like(y), torch.zeros_like(y)
    least, closest = math.inf, x
    for n in range(1, steps + 2):
        error = f(y) - target
        if float(error.square().sum()) < least:
            least, closest = float(error.square().sum()), y
        gradient = (2.0 * error * (1.0 - f(y).square()) @ weight / 3.0).view_as(y)
        h = gradient.sign() if setting.norm is Norm.LINF else gradient / gradient.norm()
        step = h
        if adamax:
            mean = 0.9 * mean + 0.1 * h
            largest = torch.maximum(0.999 * largest, h.abs() + 1e-8)
            step = mean / (1.0 - 0.9**n) / largest
        y = clip(y - alpha * step, x, setting)
    return closest, float((f(closest) - target).abs().mean() / target.abs().max())


def clip(y: Tensor, x: Tensor, setting: Setting) -> Tensor:
    """The nearest point in ball and box; for L2 the displacement is shortened by bisection until it fits."""
    if setting.norm is Norm.LINF:
        return torch.clamp(torch.minimum(torch.maximum(y, x - setting.eps), x + setting.eps), 0, 1)
    low, high = 0.0, 1.0
    if float((y.clamp(0, 1) - x).norm()) <= setting.eps:
        return y.clamp(0, 1)
    for _ in range(60):
        t = (low + high) / 2
        low, high = (t, high) if float(((x + t * (y - x)).clamp(0, 1) - x).norm()) <= setting.eps else (low, t)
    return (x + low * (y - x)).clamp(0, 1)


def test_one_start_led_by_every_guide_in_order_copies_every_score() -> None:
    detector, start = QuadraticScore(), images()[0][0]
    ids = torch.arange(5) + (99 << 31)
    params = FeatureMatchingParams(
        guides=Guides.TEST, pairing=Pairing.IN_ORDER, steps=300, step_size=0.05, schedule=Schedule.COSINE
    )
    context = Context(Side.EVADE, pool=pool(), micro_batch=4)
    threat = FeatureMatching(params)
    result = threat.run(detector, start.expand(5, *SHAPE), ids=ids, budget=Budget(Norm.L2, 4.0), context=context)
    # A score of about -6 in float32, matched by steps that shrink to nothing.
    assert torch.allclose(detector.score(result.last_images), detector.score(pool()), atol=1e-3)
    assert result.notes == (TEST_GUIDES,)


def test_the_score_and_not_the_match_chooses_the_image() -> None:
    result = match(QuadraticScore(), FeatureMatchingParams(steps=50, step_size=0.05), Setting(Norm.L2, 2.0))
    best, matched = QuadraticScore().score(result.images), QuadraticScore().score(result.last_images)
    assert (best >= matched).all() and (best > matched).any()


def test_auto_matches_what_the_detector_says() -> None:
    setting, steps = Setting(Norm.L2, 0.7), {"steps": 5}
    auto, named = (
        match(SmoothFeatures(), FeatureMatchingParams(match=m, **steps), setting) for m in ("auto", "logits")
    )
    other = match(SmoothFeatures(), FeatureMatchingParams(match="score", **steps), setting)
    assert torch.equal(auto.images, named.images)
    assert not torch.equal(auto.images, other.images)


def test_more_guides_are_never_worse() -> None:
    one, many = (
        match(QuadraticScore(), FeatureMatchingParams(steps=20, guides_per_image=n), SETTINGS[0]).score_trace[:, -1]
        for n in (1, 4)
    )
    assert (many >= one).all() and (many > one).any()


def test_costs_are_a_gradient_a_step_and_a_query_where_the_score_is_not_the_feature() -> None:
    own = match(QuadraticScore(), FeatureMatchingParams(match="score", steps=10, restarts=2), SETTINGS[0])
    assert set(own.gradients.tolist()) == {20} and set(own.queries.tolist()) == {1 + 2}
    other = match(SmoothFeatures(), FeatureMatchingParams(match="logits", steps=10, restarts=2), SETTINGS[0])
    assert set(other.gradients.tolist()) == {20} and set(other.queries.tolist()) == {1 + 2 * 11}


def test_images_of_which_not_one_may_be_held_are_led_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (x, ids), threat = images(), FeatureMatching(FeatureMatchingParams(steps=3))
    context = Context(Side.EVADE, pool=pool(), micro_batch=4)
    found = []
    for held in (2**23, 1):
        monkeypatch.setattr(matching, "_HELD_BYTES", held)
        found.append(threat.run(QuadraticScore(), x, ids=ids, budget=Budget(Norm.L2, 0.5), context=context))
    assert torch.equal(found[0].images, found[1].images)


def test_without_noise_the_start_is_the_image_itself() -> None:
    params = FeatureMatchingParams(steps=1, noise=0.0, step_size=0.01, update=Update.PLAIN)
    result = match(LinearScore().eval(), params, Setting(Norm.L2, 1.0))
    assert float((result.last_images - images()[0]).flatten(1).norm(dim=1).max()) <= 0.01 + 1e-6


def test_a_guide_whose_features_are_not_finite_leads_nobody() -> None:
    class Broken(QuadraticScore):
        def features(self, x: Tensor, at: str) -> Tensor:
            return torch.where(x[:, :, 0, 0] == 0.0, torch.nan, super().features(x, at))

    x = images()[0].clone()
    x[:, 0, 0, 0] = 0.5
    result = match(Broken(), FeatureMatchingParams(steps=3), SETTINGS[0], x=x)
    assert torch.equal(result.images, x) and bool(result.figures["mape"].isnan().all())


@pytest.mark.parametrize("what", ["score", "objective"])
def test_an_iterate_whose_score_or_objective_alone_is_no_number_is_never_the_answer(what: str) -> None:
    class Holed(SmoothFeatures):
        """Brighter is better, and beyond a level one of the two is NaN."""

        def score(self, x: Tensor, *, noise=None) -> Tensor:
            return self.told(x, "score")

        def objective(self, x: Tensor) -> Tensor:
            return self.told(x, "objective")

        def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.score(x), self.objective(x)

        def told(self, x: Tensor, name: str) -> Tensor:
            level = x.flatten(1).mean(1)
            return torch.where(level > 0.55, torch.nan, level) if name == what else level

    x = images()[0] * 0.5 + 0.25
    x = x - (x.flatten(1).mean(1) - 0.5).view(-1, 1, 1, 1)  # all of the same brightness
    params = FeatureMatchingParams(steps=20, step_size=0.2, match="logits", noise=1.0)
    result = match(Holed(), params, Setting(Norm.LINF, 0.3), x=x)
    level = result.images.flatten(1).mean(1)
    assert level.max() <= 0.55
    assert (level > 0.5).any()
    assert torch.isfinite(result.score_trace[:, -1]).all()


def test_no_pool_is_one_sentence() -> None:
    x, ids = images()
    with pytest.raises(UsageError, match="led by in-distribution images"):
        FeatureMatching().run(
            QuadraticScore(), x, ids=ids, budget=Budget(Norm.L2, 1.0), context=Context(Side.EVADE, micro_batch=4)
        )


def test_guides_come_from_the_test_set_only_where_that_is_asked_for() -> None:
    assert not FeatureMatching().reads_test
    assert FeatureMatching(FeatureMatchingParams(guides="test")).reads_test


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_the_cards_have_the_papers_budget_and_no_test_guides(card: Path) -> None:
    params = yaml.safe_load(card.read_text())["params"]
    threat = FeatureMatching(FeatureMatchingParams.model_validate(params))
    assert set(params) == set(FeatureMatchingParams.model_fields)
    assert not threat.reads_test
    assert (threat.params.steps, threat.params.step_size) == (1000, 0.01)


def test_drawn_guides_are_distinct_and_a_function_of_the_id_alone() -> None:
    ids, context = torch.arange(50) * 17 + 3, Context(Side.EVADE, seed=1)
    guides = drawn_guides(ids, 4, pool=9, draw=0, context=context)
    assert all(len(set(row.tolist())) == 4 and min(row) >= 0 and max(row) < 9 for row in guides)
    assert torch.equal(guides[[7, 3]], drawn_guides(ids[[7, 3]], 4, pool=9, draw=0, context=context))
    assert set(guides[:, 0].tolist()) == set(range(9))
    assert not torch.equal(guides, drawn_guides(ids, 4, pool=9, draw=0, context=Context(Side.EVADE, seed=2)))


def test_more_guides_than_images_are_all_images() -> None:
    guides = drawn_guides(torch.arange(3), 10, pool=4, draw=0, context=Context(Side.EVADE))
    assert [sorted(row.tolist()) for row in guides] == [[0, 1, 2, 3]] * 3


def test_ordered_guides_follow_the_position_in_the_set() -> None:
    ids = (12345 << 31) + torch.tensor([0, 1, 5, 6])
    assert ordered_guides(ids, 1, pool=5).tolist() == [[0], [1], [0], [1]]


def test_the_relative_error_is_the_papers() -> None:
    features, target = torch.tensor([[1.0, -2.0], [0.0, 1.0]]), torch.tensor([[2.0, -4.0], [0.0, 0.0]])
    error = relative_error(features, target)
    assert float(error[0]) == pytest.approx((1.0 + 2.0) / 2 / 4.0)
    assert bool(error[1].isnan())


@pytest.mark.parametrize(
    ("info", "match", "missed"),
    [
        (DetectorInfo(components=("classifier", "densities"), matched="logits"), "auto", ("densities",)),
        (DetectorInfo(components=("classifier", "densities"), matched="logits"), "score", ()),
        (DetectorInfo(components=("encoder", "decoder"), matched="penultimate"), "auto", ("decoder",)),
        (DetectorInfo(components=("classifier", "preprocessing")), "logits", ()),
    ],
)
def test_components_on_which_the_matched_features_do_not_depend_are_left_out(info, match, missed):
    threat = FeatureMatching(FeatureMatchingParams(match=match))
    assert threat.leaves_out(info, Context(Side.EVADE)) == missed
