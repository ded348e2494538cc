"""Attacks of other libraries reach the score through the adapter, and what they do wrong costs nobody anything."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cards.threat import Goal, Loss, Norm, Side
from bench.errors import CardError, CellError, UsageError
from bench.evaluation.crafting import attempt_attack
from bench.testing import fool_threats, threats
from bench.testing.classifiers import LinearClassifier
from bench.testing.closed_forms import FlatScore, LinearScore, QuadraticScore
from bench.testing.fool_threats import FoolSetting, fool_checks
from bench.testing.threats import Setting, attack, images, pool, threat_checks
from bench.threat_models.base import Budget, Context, Status
from bench.threat_models.external.base import External, ExternalParams, SteppedParams
from bench.threat_models.external.foolbox import Foolbox, SteppedFoolbox
from bench.threat_models.pgd import PGD, PGDParams

THREATS = {
    "pgd-l2": (SteppedFoolbox(SteppedParams(attack="L2PGD", steps=6)), Norm.L2, 0.7),
    "pgd-linf": (SteppedFoolbox(SteppedParams(attack="LinfPGD", steps=6)), Norm.LINF, 0.1),
    "fgm": (Foolbox(ExternalParams(attack="L2FastGradientAttack")), Norm.L2, 0.7),
    "noise": (Foolbox(ExternalParams(attack="L2AdditiveUniformNoiseAttack")), Norm.L2, 0.7),
    "deepfool": (SteppedFoolbox(SteppedParams(attack="L2DeepFoolAttack", steps=5)), Norm.L2, 0.7),
}
COUPLED = {  # batch mates are the library's own way, and a stop target is what it aims at
    threats.is_independent_of_batch_mates_and_order,
    threats.stops_early_only_beyond_the_target,
    fool_threats.is_independent_of_batch_mates_and_order,
    fool_threats.stops_early_only_past_the_decision,
}


@pytest.mark.parametrize("name", THREATS)
@pytest.mark.parametrize("check", [c for c in threat_checks() if c not in COUPLED], ids=lambda check: check.__name__)
def test_what_can_be_promised_of_other_libraries_on_scores_holds(check, name: str) -> None:
    threat, norm, eps = THREATS[name]
    check(threat, Setting(norm, eps))


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("name", ["pgd-l2", "fgm"])
@pytest.mark.parametrize("check", [c for c in fool_checks() if c not in COUPLED], ids=lambda check: check.__name__)
def test_what_can_be_promised_of_other_libraries_on_decisions_holds(check, name: str, goal: Goal) -> None:
    threat, norm, eps = THREATS[name]
    check(threat, FoolSetting(norm, eps, goal, Loss.JOINT if goal is Goal.ACCEPT else Loss.MARGIN))


@pytest.mark.parametrize("name", THREATS)
def test_the_order_of_the_samples_changes_nothing(name: str) -> None:
    threat, norm, eps = THREATS[name]
    order = torch.tensor([6, 2, 5, 0, 1, 4, 3])
    whole = attack(threat, QuadraticScore(), Setting(norm, eps))
    turned = attack(threat, QuadraticScore(), Setting(norm, eps), choice=order)
    assert torch.equal(whole.images[order], turned.images)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_scores_of_any_size_are_climbed(offset: float) -> None:
    class Shifted(LinearScore):
        def score(self, x, *, noise=None):
            return 30.0 * super().score(x) + offset

    threat, norm, eps = SteppedFoolbox(SteppedParams(attack="L2PGD", steps=80)), Norm.L2, 0.7
    x, _ = images()
    detector = Shifted().eval()
    with torch.no_grad():
        gain = detector.score(attack(threat, detector, Setting(norm, eps)).images) - detector.score(x)
        ours = PGD(PGDParams(steps=50, restarts=1))
        best = detector.score(attack(ours, detector, Setting(norm, eps)).images) - detector.score(x)
    # Eighty steps of eps/40 lead from any start to near the optimum of a linear score.
    assert (gain >= 0.9 * best).all()


@pytest.mark.parametrize("target", [None, 1e3])
def test_foolbox_pgd_on_a_quadratic_score_comes_as_far_as_ours(target: float | None) -> None:
    threat = SteppedFoolbox(SteppedParams(attack="L2PGD", steps=50))
    setting = Setting(Norm.L2, 0.7)
    theirs = attack(threat, QuadraticScore(), setting, target=target).score_trace[:, -1]
    ours = attack(PGD(), QuadraticScore(), setting).score_trace[:, -1]
    start = QuadraticScore().score(images()[0])
    # Its fifty steps of eps/40 clip to the box after they project onto the ball, which costs some of the way.
    assert ((ours - theirs) <= 0.1 * (ours - start)).all()


class Library(External):
    """Stands for a library: what `returns` makes of the images, after it has asked about what `asks` makes of them."""

    def __init__(self, returns, asks=None) -> None:
        super().__init__(ExternalParams(attack="Stand-in"))
        self.returns, self.asks = returns, asks

    def craft(self, model, x, labels, *, norm, eps, seed):
        if self.asks is not None:
            model(self.asks(x))
        return self.returns(x)


SETTING = Setting(Norm.L2, 0.5)


@pytest.mark.parametrize(
    "returns",
    [torch.zeros_like, lambda x: x + 5.0, lambda x: x * torch.nan, lambda x: x.double()],
    ids=["black", "far", "nan", "double"],
)
def test_whatever_comes_back_is_brought_into_the_ball_and_is_never_worse(returns) -> None:
    x, _ = images()
    detector = LinearScore().eval()
    result = attack(Library(returns), detector, SETTING)
    with torch.no_grad():
        assert (detector.score(result.images) >= detector.score(x) - 1e-5).all()
    assert (result.images - x).flatten(1).norm(dim=1).max() <= 0.5 * (1 + 1e-5)


def test_the_best_image_that_was_asked_about_is_kept_though_another_one_is_returned() -> None:
    def better(x: Tensor) -> Tensor:
        return (x + 0.01 * LinearScore().weight.detach().view(1, 1, 6, 6).sign()).clamp(0, 1)

    x, _ = images()
    result = attack(Library(torch.zeros_like, better), LinearScore(), SETTING)
    moved = LinearScore().eval().score(better(x)) > LinearScore().eval().score(torch.lerp(x, x * 0, 0.1))
    assert torch.equal(result.images[moved], better(x)[moved]) and moved.any()
    assert result.queries.tolist() == [3] * 7 and not result.gradients.any()


def test_questions_in_any_number_and_order_reach_the_images_that_they_stem_from() -> None:
    def some(x: Tensor) -> Tensor:
        return torch.cat([x.flip(0), x, x[:1]]).lerp(torch.ones(()), 0.02)

    x, _ = images()
    bright = LinearScore(torch.ones(36))
    result = attack(Library(lambda x: x, some), bright, SETTING)
    assert torch.allclose(result.images, x.lerp(torch.ones(()), 0.02), atol=1e-6)


def test_images_that_were_asked_about_outside_the_ball_do_not_count() -> None:
    x, _ = images()
    result = attack(Library(lambda x: x, torch.ones_like), LinearScore(torch.ones(36)), SETTING)
    assert torch.equal(result.images, x)


@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
@pytest.mark.parametrize("target", [None, 30.0])
@pytest.mark.parametrize("known", ["images of the attacker's", "the attacked ones"])
def test_what_a_library_is_told_is_how_many_spreads_of_clean_scores_an_image_is_past_its_goal(side, target, known):
    asked = []

    class Asking(Library):
        def craft(self, model, x, labels, *, norm, eps, seed):
            asked.append(model(x))
            return x

    x, ids = images()
    detector, sign = QuadraticScore(), -1.0 if side is Side.ALARM else 1.0
    own = pool() if known == "images of the attacker's" else None
    context = Context(side, seed=7, stop_target=target and sign * target, pool=own)
    Asking(lambda x: x).run(detector, x, ids=ids, budget=Budget(Norm.L2, 0.5), context=context)
    (logits,) = asked
    scores = sign * detector.score(x).double()
    spread = (scores if own is None else sign * detector.score(own).double()).numpy()
    low, high = np.percentile(spread, [25, 75])
    past = (scores - (spread.max() if target is None else target)) / (high - low)
    torch.testing.assert_close(logits[:, 0].double(), past / (1 + past.abs()), rtol=1e-4, atol=1e-6)
    assert logits[:, 1].tolist() == [0.0] * 7


def failing(first: int):
    calls = []

    def returns(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) >= first:
            raise ValueError("two\nlines of trouble")
        return x

    return returns


def test_an_exception_fails_its_chunk_alone_and_says_so_in_one_sentence() -> None:
    x, _ = images()
    result = attack(Library(failing(first=2)), LinearScore(), SETTING)
    assert result.status.count(Status.FAILED) == 3  # chunks of four, and the rest
    failed = torch.tensor([status is Status.FAILED for status in result.status])
    assert torch.equal(result.images[failed], x[failed])
    assert result.notes == ("Stand-in failed (ValueError: two lines of trouble); 3 images count as failed.",)


def test_a_library_without_memory_is_not_a_failed_chunk() -> None:
    def returns(x: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")

    with pytest.raises(RuntimeError, match="not enough memory"):
        attack(Library(returns), LinearScore(), SETTING)


def test_the_harness_passes_on_what_a_threat_has_to_say() -> None:
    x, ids = images()
    context = Context(Side.EVADE, micro_batch=4)
    done = attempt_attack(LinearScore(), Library(failing(first=2)), x, ids=ids, budget=SETTING.budget, context=context)
    assert done.notes == ["Stand-in failed (ValueError: two lines of trouble); 3 images count as failed."]


def test_an_attack_that_fails_everywhere_ends_the_cell_instead_of_making_it_look_robust() -> None:
    with pytest.raises(CellError, match=r"Stand-in failed .* on every image"):
        attack(Library(failing(first=1)), LinearScore(), SETTING)


def test_all_random_states_are_set_for_a_chunk_and_restored() -> None:
    drawn = []

    def returns(x: Tensor) -> Tensor:
        drawn.append((float(torch.rand(())), float(np.random.rand()), random.random()))
        return x

    for start in (5, 6):
        np.random.seed(start), random.seed(start)
        expected = np.random.RandomState(start).rand(), random.Random(start).random()
        attack(Library(returns), LinearScore(), SETTING)
        assert (np.random.rand(), random.random()) == expected
    assert drawn[:2] == drawn[2:]
    assert all(one != other for one, other in zip(drawn[0], drawn[1], strict=True))


@pytest.mark.parametrize("draw", [torch.rand, np.random.rand, lambda _: [random.random()]])
def test_a_library_that_draws_for_itself_gives_the_same_images_for_a_seed_alone(draw) -> None:
    x, ids = images()
    found = []
    for start, seed in ((1, 7), (2, 7), (2, 8)):
        np.random.seed(start), random.seed(start)
        threat = Library(lambda x: x + 0.02 * torch.as_tensor(draw(1), dtype=torch.float32))
        context = Context(Side.EVADE, seed=seed, micro_batch=4)
        found.append(threat.run(LinearScore(), x, ids=ids, budget=SETTING.budget, context=context).last_images)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_a_constant_score_is_no_error() -> None:
    threat, norm, eps = THREATS["pgd-l2"]
    result = attack(threat, FlatScore(), Setting(norm, eps))
    assert set(result.status) == {Status.NO_GRADIENT} and not result.notes


def test_on_the_side_fool_the_library_sees_the_classifier_itself() -> None:
    seen = []

    class Peeping(Library):
        def craft(self, model, x, labels, *, norm, eps, seed):
            seen.append((model(x), labels, model.classes))
            return x

    detector = LinearClassifier().eval()
    x, ids = images()
    labels = torch.arange(7) % 4
    context = Context(Side.FOOL, labels=labels, pool=pool(), micro_batch=8)
    Peeping(lambda x: x).run(detector, x, ids=ids, budget=Budget(Norm.L2, 0.5), context=context)
    assert torch.allclose(seen[0][0], detector.logits(x), atol=1e-6)
    assert torch.equal(seen[0][1], labels) and seen[0][2] == 4


def test_wrong_names_and_versions_are_one_sentence() -> None:
    with pytest.raises(UsageError, match="did you mean LinfPGD"):
        Foolbox(ExternalParams(attack="LinfPDG"))
    with pytest.raises(CardError, match=r"foolbox 0\.1 is asked for"):
        Foolbox(ExternalParams(attack="FGM", version="0.1"))


def test_without_a_ball_there_is_no_attack() -> None:
    x, ids = images()
    with pytest.raises(UsageError, match="needs a norm and an eps"):
        THREATS["fgm"][0].run(LinearScore(), x, ids=ids, budget=Budget(None, None), context=Context(Side.EVADE))


def test_torchattacks_reaches_the_optimum_of_a_linear_score_in_both_norms() -> None:
    pytest.importorskip("torchattacks")
    from bench.threat_models.external.torchattacks import SteppedTorchattacks

    x, _ = images()
    detector = LinearScore().eval()
    for norm, eps in ((Norm.L2, 0.7), (Norm.LINF, 0.1)):
        threat = SteppedTorchattacks(SteppedParams(attack="APGD", steps=40))
        result = attack(threat, detector, Setting(norm, eps))
        ours = attack(PGD(PGDParams(steps=50, restarts=1)), detector, Setting(norm, eps))
        with torch.no_grad():
            clean, theirs, best = (detector.score(points) for points in (x, result.images, ours.images))
        assert ((best - theirs) <= 0.02 * (best - clean)).all()
