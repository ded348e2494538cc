"""The attacks of published evaluations: held to loops in plain torch, to closed forms, and to what their cards say."""

import math

import pytest
import torch
from shipped_cards import FOLDER, shipped
from torch import nn

from bench import randomness
from bench.cards.threat import Norm, Side
from bench.detectors.base import DetectorParams
from bench.detectors.logit import LogitDetector
from bench.errors import UsageError
from bench.testing.closed_forms import LinearScore, MixtureScore, QuadraticScore
from bench.testing.threats import Check, Setting, attack, images, threat_checks
from bench.threat_models.base import Budget, Context
from bench.threat_models.protocols import (
    BatchProtocol,
    BatchProtocolParams,
    Follow,
    Keep,
    Protocol,
    ProtocolParams,
    Rounding,
    Start,
    followed,
)

EPS = 25 / 255
BALL = Setting(Norm.LINF, EPS)
NAMES = sorted(path.stem for path in FOLDER.glob("protocol-*.yaml"))


class Confidence(LogitDetector):
    """The softmax maximum of a small network, in its own words."""

    def __init__(self):
        super().__init__(None, shape=(1, 6, 6), classes=3, params=DetectorParams())
        weights = randomness.normal(0, torch.arange(8), 1, (36,))
        self.first = nn.Linear(36, 8, bias=False)
        self.first.weight = nn.Parameter(weights)
        self.second = nn.Parameter(randomness.normal(0, torch.arange(3), 2, (8,)))

    def scored_logits(self, x):
        return torch.tanh(self.first(x.flatten(1))) @ self.second.T

    def score_logits(self, logits):
        return logits.softmax(dim=1).amax(dim=1)


def followed_in_plain_torch(logits, follow):
    p = logits.softmax(dim=1)
    return {
        "uniform": -torch.log(p).mean(dim=1),
        "negentropy": (p * torch.log(p)).sum(dim=1),
        "confidence": p.max(dim=1).values,
        "log-confidence": torch.log(p.max(dim=1).values),
    }[follow]


def naive(detector, x, follow, *, steps, size, sign=1.0, noise=None, keep="last", batch=1, rounding=None):
    """The published loops, image by image or batch by batch, without anything of the harness."""
    ends = []
    for first in range(0, len(x), batch):
        clean = x[first : first + batch]
        y = clean.clone()
        if noise is not None:
            y = (clean + noise[first : first + batch] * EPS).clamp(clean - EPS, clean + EPS).clamp(0, 1)
        best, most = clean, sign * followed_in_plain_torch(detector.scored_logits(clean), follow).mean()
        for _ in range(steps):
            y = y.detach().requires_grad_(True)
            values = sign * followed_in_plain_torch(detector.scored_logits(y), follow)
            if values.mean() > most:
                best, most = y.detach(), values.mean().detach()
            (gradient,) = torch.autograd.grad(values.sum(), y)
            y = (y + size * EPS * gradient.sign()).detach()
            y = torch.min(torch.max(y, clean - EPS), clean + EPS).clamp(0, 1)
        if keep == "best" and followed_in_plain_torch(detector.scored_logits(y), follow).mean() * sign <= most:
            y = best
        if rounding == "nearest":
            y = clean + torch.round((y - clean) * 255) / 255
        ends.append(y.detach())
    return torch.cat(ends)


def better_or_clean(detector, x, y, sign):
    """As the harness has it: an image that ended worse than it began counts as the clean one."""
    with torch.no_grad():
        worse = sign * (detector.score(y) - detector.score(x)) <= 0
    return torch.where(worse.view(-1, 1, 1, 1), x, y)


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("follow", ["uniform", "negentropy", "confidence", "log-confidence"])
@pytest.mark.parametrize("keep", list(Keep))
def test_a_protocol_is_the_published_loop(follow, keep, side):
    x, _ = images()
    detector, sign = Confidence().eval(), 1.0 if side is Side.EVADE else -1.0
    params = ProtocolParams(steps=6, step_size=0.4, start="random", follow=follow, keep=keep)
    result = attack(Protocol(params), detector, BALL, side=side)
    noise = start_noise(side)
    expected = naive(detector, x, follow, steps=6, size=0.4, sign=sign, noise=noise, keep=str(keep))
    if keep is Keep.LAST:
        assert torch.allclose(result.last_images, expected, atol=1e-6)
    assert torch.allclose(result.images, better_or_clean(detector, x, expected, sign), atol=1e-6)


def start_noise(side):
    """(7, 1, 6, 6) in [-1, 1], read off a start whose steps are too short to move it; the box binds nowhere."""
    half = torch.full((7, 1, 6, 6), 0.5)
    params = ProtocolParams(steps=1, step_size=1e-9)
    return (attack(Protocol(params), LinearScore().eval(), BALL, x=half, side=side).last_images - half) / EPS


def test_the_start_is_uniform_in_the_ball_and_each_image_has_its_own():
    noise = start_noise(Side.EVADE)
    assert noise.abs().max() <= 1.0
    assert noise.abs().max() > 0.97
    assert abs(float(noise.mean())) < 0.12  # 252 draws: three standard errors are 0.11
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 7


def test_the_last_iterate_is_returned_though_an_earlier_one_was_better():
    x = torch.full((7, 1, 6, 6), 0.5)
    center = torch.full((36,), 0.5 + 0.7 * EPS)
    steps = {n: ProtocolParams(steps=n, step_size=0.5, start="clean") for n in (1, 2)}
    detector = QuadraticScore(center).eval()
    after_one = attack(Protocol(steps[1]), detector, BALL, x=x)
    after_two = attack(Protocol(steps[2]), detector, BALL, x=x)
    best = attack(Protocol(steps[2].model_copy(update={"keep": Keep.BEST})), detector, BALL, x=x)
    assert (detector.score(after_two.images) < detector.score(after_one.images)).all()
    assert torch.equal(best.images, after_one.images)


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
def test_full_steps_reach_the_corner_of_a_linear_score(side):
    x = torch.full((7, 1, 6, 6), 0.5)
    detector, sign = LinearScore().eval(), 1.0 if side is Side.EVADE else -1.0
    result = attack(Protocol(ProtocolParams(steps=3, step_size=1.0)), detector, BALL, x=x, side=side)
    corner = x + sign * EPS * detector.weight.detach().sign().view(1, 1, 6, 6)
    assert torch.allclose(result.images, corner, atol=1e-6)
    assert result.gradients.tolist() == [3] * 7


def test_a_batch_keeps_the_iterate_of_its_best_mean_and_a_mate_can_keep_a_worse_point():
    x, _ = images()
    detector = Confidence().eval()
    params = BatchProtocolParams(steps=5, step_size=0.9, start="clean", follow="uniform", batch=4)
    result = attack(BatchProtocol(params), detector, BALL)
    expected = naive(detector, x, "uniform", steps=5, size=0.9, keep="best", batch=4)
    assert torch.allclose(result.images, better_or_clean(detector, x, expected, 1.0), atol=1e-6)
    alone = attack(Protocol(ProtocolParams(**params.model_dump(exclude={"batch"}))), detector, BALL)
    value = [followed(Follow.UNIFORM, detector.scored_logits(found.images)) for found in (result, alone)]
    assert (value[0] < value[1] - 1e-4).any()
    single = BatchProtocol(params.model_copy(update={"batch": 1}))
    assert torch.equal(attack(single, detector, BALL).images, alone.images)


def test_rounded_perturbations_are_whole_numbers_of_grey_levels():
    x = torch.full((7, 1, 6, 6), 128 / 255)
    setting = Setting(Norm.LINF, 8 / 255)
    for rounding in (Rounding.NEAREST, Rounding.TOWARD_ZERO):
        params = ProtocolParams(steps=7, step_size=0.125, rounding=rounding)
        moved = (attack(Protocol(params), MixtureScore().eval(), setting, x=x).images - x) * 255
        assert (moved - moved.round()).abs().max() < 1e-3
        assert moved.abs().max() <= 8.001
        assert (moved.abs() > 1.5).any()


def test_the_nearest_rounding_is_the_published_one():
    x, _ = images()
    x = (x * 255).round() / 255
    detector = Confidence().eval()
    params = ProtocolParams(steps=5, step_size=0.283, start="clean", follow="uniform", keep="best", rounding="nearest")
    result = attack(Protocol(params), detector, BALL, x=x)
    expected = naive(detector, x, "uniform", steps=5, size=0.283, keep="best", rounding="nearest")
    inside = torch.min(torch.max(expected, x - EPS), x + EPS).clamp(0, 1)
    assert torch.allclose(result.images, better_or_clean(detector, x, inside, 1.0), atol=1e-6)


def test_rounding_toward_zero_makes_a_start_within_one_grey_level_the_clean_image():
    x = torch.full((7, 1, 6, 6), 128 / 255)
    params = ProtocolParams(steps=1, step_size=1e-9, rounding="toward-zero")
    result = attack(Protocol(params), LinearScore().eval(), Setting(Norm.LINF, 1 / 255), x=x)
    assert torch.equal(result.last_images, x)


def test_units_shrink_the_ball_of_each_channel_and_the_mean_serves_other_images():
    x, _ = images()
    for units, share in (((0.25,), 0.25), ((0.2, 0.3, 0.4), 0.3)):
        params = ProtocolParams(steps=20, step_size=1.0, units=units)
        moved = (attack(Protocol(params), LinearScore().eval(), BALL).images - x).abs().amax()
        assert moved == pytest.approx(share * EPS, rel=1e-4)
    colours = torch.full((2, 3, 4, 4), 0.5)

    class Bright(QuadraticScore):
        def score(self, x, *, noise=None):
            return x.flatten(1).sum(dim=1)

    params = ProtocolParams(steps=4, step_size=1.0, units=(0.2, 0.3, 0.4))
    result = Protocol(params).run(
        Bright().eval(), colours, ids=torch.arange(2), budget=Budget(Norm.LINF, 0.1), context=Context(side=Side.EVADE)
    )
    assert torch.allclose((result.images - 0.5).mean(dim=(0, 2, 3)), torch.tensor([0.02, 0.03, 0.04]), atol=1e-6)


def test_what_papers_follow_has_the_values_that_their_formulas_say():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    values = {follow: float(followed(follow, logits)) for follow in list(Follow)[2:]}
    assert values["uniform"] == pytest.approx(-0.5 * (math.log(0.25) + math.log(0.75)))
    assert values["negentropy"] == pytest.approx(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert values["confidence"] == pytest.approx(0.75)
    assert values["log-confidence"] == pytest.approx(math.log(0.75))


def test_the_confidence_saturates_in_float32_and_its_logarithm_does_not():
    logits = torch.tensor([[12.0, 0.0]], requires_grad=True)
    slopes = [torch.autograd.grad(followed(f, 10 * logits).sum(), logits)[0] for f in ("confidence", "log-confidence")]
    assert float(slopes[0].abs().max()) == 0.0 or float(slopes[0].abs().max()) < 1e-30
    assert float(followed(Follow.CONFIDENCE, 10 * logits.detach())) == 1.0


def test_on_alarm_another_loss_can_be_followed():
    detector = Confidence().eval()
    both = ProtocolParams(steps=4, start="clean", follow="negentropy", follow_alarm="uniform", step_size=0.5)
    one = both.model_copy(update={"follow": Follow.UNIFORM, "follow_alarm": None})
    alarm = attack(Protocol(both), detector, BALL, side=Side.ALARM)
    assert torch.equal(alarm.last_images, attack(Protocol(one), detector, BALL, side=Side.ALARM).last_images)
    assert not torch.equal(
        attack(Protocol(both), detector, BALL).last_images, attack(Protocol(one), detector, BALL).last_images
    )


def test_a_score_that_is_no_function_of_logits_alone_is_followed_itself():
    found = [
        attack(Protocol(ProtocolParams(steps=4, follow=follow)), MixtureScore().eval(), BALL).images
        for follow in (Follow.OBJECTIVE, Follow.UNIFORM)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("keep", list(Keep))
def test_protocols_keep_the_contract(check: Check, keep: Keep) -> None:
    check(Protocol(ProtocolParams(steps=5, step_size=0.3, keep=keep)), BALL)


def test_another_norm_is_refused():
    with pytest.raises(UsageError, match="L-infinity"):
        attack(Protocol(), LinearScore().eval(), Setting(Norm.L2, 1.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_its_protocol_leaves_out_and_its_threat_stays_in_the_ball(name):
    card, threat = shipped(name)
    assert card.name == name
    assert card.misses
    assert card.paper is not None
    assert card.norm is Norm.LINF
    few = type(threat)(threat.params.model_copy(update={"steps": 2}))
    x, _ = images()
    for side in card.sides:
        if side is not Side.BOTH:
            result = attack(few, QuadraticScore().eval(), Setting(card.norm, card.eps[0]), side=side)
            assert (result.images - x).abs().max() <= card.eps[0] * (1 + 1e-5)


def test_the_cards_say_what_their_papers_do():
    of = {name.removeprefix("protocol-"): shipped(name) for name in NAMES}
    assert set(of) == {"atom", "atd", "rodeo", "aros", "halo", "ross", "prood", "good", "robust-ood"}
    steps = {name: threat.params.steps for name, (_, threat) in of.items()}
    assert steps == {
        "atom": 40, "atd": 100, "rodeo": 1000, "aros": 10, "halo": 40, "ross": 40, "prood": 500, "good": 20,
        "robust-ood": 10,
    }  # fmt: skip
    lengths = {name: threat.params.step_size * card.eps[0] * 255 for name, (card, threat) in of.items()}
    assert lengths["atom"] == pytest.approx(1.0)
    assert lengths["robust-ood"] == pytest.approx(1.0)
    assert {name for name, (card, _) in of.items() if card.sides == (Side.EVADE,)} == {"atom", "ross", "prood", "good"}
    assert all(threat.params.start is Start.RANDOM for name, (_, threat) in of.items() if name not in ("prood", "good"))


def test_what_a_protocol_leaves_out_is_no_part_of_its_hash():
    card, _ = shipped("protocol-atd")
    assert card.content_hash() == card.model_copy(update={"misses": None}).content_hash()
