"""The contract of every threat, as a list of named checks that run as pytest parametrisation.

    @pytest.mark.parametrize("check", threat_checks(gradient=True), ids=lambda check: check.__name__)
    def test_contract(check):
        check(MyThreat(), Setting(Norm.L2, 0.5))

A failed check raises AssertionError with one sentence. The detectors under attack are closed forms: linear, quadratic,
rounded (many ties) and one that is NaN for some samples.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector
from bench.testing.closed_forms import (
    SHAPE,
    FlatScore,
    LinearScore,
    PoisonedScore,
    QuadraticScore,
    RoundedScore,
    fixed_numbers,
)
from bench.threat_models import geometry
from bench.threat_models.base import TRACE_LENGTH, Acceptance, AttackResult, Budget, Context, Status, Threat

_SAMPLES = 7
_MICRO_BATCH = 4  # two batches, the last one padded

_FLOAT32 = 1e-4
"""Relative tolerance of optima: sums of 36 float32 products, and the last steps of a shrinking step size."""


@dataclass(frozen=True)
class Setting:
    """The ball in which a threat is checked."""

    norm: Norm | None
    eps: float | None

    @property
    def budget(self) -> Budget:
        """The same, as threats take it."""
        return Budget(self.norm, self.eps)


Check = Callable[[Threat, Setting], None]


def check_threat(threat: Threat, *, norm: Norm | None, eps: float | None, gradient: bool = False) -> None:
    """Run every check of `threat_checks`.

    Args:
        threat: The threat, with the parameters in force.
        norm: The norm in which it works; None where only the box binds.
        eps: The radius to check it at; None where only the box binds.
        gradient: Whether it must reach the closed-form optimum of linear and quadratic scores.

    Raises:
        AssertionError: The first check that fails, in one sentence.
    """
    for check in threat_checks(gradient=gradient):
        check(threat, Setting(norm, eps))


def threat_checks(*, gradient: bool = False) -> list[Check]:
    """The checks, each a function of a threat and a setting; `gradient` adds those on closed-form optima."""
    checks: list[Check] = [
        returns_one_entry_a_sample,
        stays_inside_ball_and_box,
        never_ends_worse_than_it_started,
        is_independent_of_batch_mates_and_order,
        is_the_same_for_the_same_seed,
        leaves_no_trace_behind,
        survives_scores_that_are_nan,
        survives_scores_without_gradient,
        lowers_scores_as_it_raises_them,
        stops_early_only_beyond_the_target,
        takes_an_empty_batch,
    ]
    return (
        [*checks, reaches_the_optimum_of_linear_scores, reaches_the_optimum_of_quadratic_scores] if gradient else checks
    )


# --------------------------------------------------------------------------- the checks


def returns_one_entry_a_sample(threat: Threat, setting: Setting) -> None:
    """Shapes, types and lengths of the result; a trace that only rises and ends at the best score."""
    x, _ = images()
    detector = QuadraticScore()
    result = attack(threat, detector, setting)
    assert_entries(result, x)
    trace = result.score_trace
    assert bool((trace.diff(dim=1) >= 0).all()), "the trace of an evasion must never fall."
    final = detector.score(result.images).detach()
    assert torch.allclose(trace[:, -1], final, rtol=1e-5, atol=1e-5), "the trace must end at the best image's score."


def stays_inside_ball_and_box(threat: Threat, setting: Setting) -> None:
    """Finite, in [0, 1], within eps (1 + 1e-5), and `norm` says how far."""
    x, _ = images()
    for detector in (LinearScore(), QuadraticScore()):
        assert_inside(attack(threat, detector, setting), x, setting)


def never_ends_worse_than_it_started(threat: Threat, setting: Setting) -> None:
    """The clean image is always a candidate."""
    x, _ = images()
    for detector in (LinearScore(), RoundedScore()):
        with torch.no_grad():
            detector.eval()
            for side in (Side.EVADE, Side.ALARM):
                gain = detector.score(attack(threat, detector, setting, side=side).images) - detector.score(x)
                gain = -gain if side is Side.ALARM else gain
                # One rounding of a sum of 36 products: batch shapes differ between the attack and this check.
                assert float(gain.min()) >= -1e-5, f"{side}: an image ended {-float(gain.min())} worse than it started."


def is_independent_of_batch_mates_and_order(threat: Threat, setting: Setting) -> None:
    """Any order and any choice of samples gives the same bits, with and without a stop target."""
    for detector in (QuadraticScore(), RoundedScore()):
        for target in (None, _reachable_target(threat, detector, setting)):
            whole = attack(threat, detector, setting, target=target)
            for order in (torch.arange(_SAMPLES).flip(0), torch.tensor([6, 2, 5])):
                assert_same(whole, attack(threat, detector, setting, target=target, choice=order), order)


def is_the_same_for_the_same_seed(threat: Threat, setting: Setting) -> None:
    """Two runs give the same bits."""
    assert_same(attack(threat, LinearScore(), setting), attack(threat, LinearScore(), setting), torch.arange(_SAMPLES))


def leaves_no_trace_behind(threat: Threat, setting: Setting) -> None:
    """Global generator, modes, requires_grad, parameters, gradients and the input are as they were."""
    x, _ = images()
    assert_no_trace(LinearScore(), x, lambda detector: attack(threat, detector, setting, x=x))


def survives_scores_that_are_nan(threat: Threat, setting: Setting) -> None:
    """Samples whose score is NaN get a status and a finite image; the others never notice."""
    x, _ = images()
    healthy = x.clone()
    healthy[:, 0, 0, 0] = 0.0
    poisoned = healthy.clone()
    poisoned[3, 0, 0, 0] = 1.0
    small = replace(setting, eps=min(setting.eps, 0.2)) if setting.eps is not None else setting
    result = attack(threat, PoisonedScore(), small, x=poisoned)
    alone = attack(threat, PoisonedScore(), small, x=healthy)
    others = torch.tensor([i for i in range(_SAMPLES) if i != 3])
    assert torch.equal(result.images[others], alone.images[others]), "a NaN score changed another sample's image."
    assert bool(torch.isfinite(result.images).all()), "a NaN score made an image that is not finite."
    assert result.status[3] in (Status.NON_FINITE, Status.FAILED), f"the NaN sample's status is {result.status[3]}."
    assert Status.FAILED not in [result.status[i] for i in others.tolist()], "a healthy sample failed."


def survives_scores_without_gradient(threat: Threat, setting: Setting) -> None:
    """A constant score leaves every image in place and is not reported as an attack that went well."""
    x, _ = images()
    result = attack(threat, FlatScore(), setting)
    assert torch.equal(result.images, x), "nothing can be gained on a constant score; the image must stay."
    if bool((result.gradients > 0).all()):
        assert set(result.status) == {Status.NO_GRADIENT}, "a gradient that is zero everywhere needs NO_GRADIENT."


def lowers_scores_as_it_raises_them(threat: Threat, setting: Setting) -> None:
    """An alarm on s is an evasion on -s, bit for bit."""
    weight = fixed_numbers(1) - 0.5
    alarm = attack(threat, LinearScore(weight), setting, side=Side.ALARM)
    evade = attack(threat, LinearScore(-weight), setting, side=Side.EVADE)
    assert torch.equal(alarm.images, evade.images), "lowering s must give the same images as raising -s."
    assert torch.equal(alarm.score_trace, -evade.score_trace), "the trace must be in the detector's own sign."


def stops_early_only_beyond_the_target(threat: Threat, setting: Setting) -> None:
    """A stop target changes no image of a sample that stays below it, and a stopped one is strictly beyond it."""
    for detector in (QuadraticScore(), RoundedScore()):
        detector.eval()
        for side in (Side.EVADE, Side.ALARM):
            sign = 1.0 if side is Side.EVADE else -1.0
            target = _reachable_target(threat, detector, setting, side)
            full = attack(threat, detector, setting, side=side)
            short = attack(threat, detector, setting, side=side, target=target)
            reached, stopped = (
                sign * full.score_trace[:, -1] > sign * target,
                sign * short.score_trace[:, -1] > sign * target,
            )
            assert torch.equal(reached, stopped), "a stop target changed who gets beyond it."
            assert torch.equal(full.images[~reached], short.images[~reached]), (
                "a stop target changed an unstopped image."
            )
            says = torch.tensor([status is Status.STOPPED for status in short.status])
            assert torch.equal(says, stopped), "STOPPED must mean a score strictly beyond the target."
            assert bool((short.gradients <= full.gradients).all()), "stopping early must not cost more gradients."


def takes_an_empty_batch(threat: Threat, setting: Setting) -> None:
    """No images, no entries, no error."""
    result = attack(threat, LinearScore(), setting, choice=torch.zeros(0, dtype=torch.int64))
    assert result.images.shape == (0, *SHAPE) and result.status == [], "no images must give no entries."


def reaches_the_optimum_of_linear_scores(threat: Threat, setting: Setting) -> None:
    """Within 1e-4 of the gain of the point far along the weights, projected."""
    norm, eps = _ball(setting)
    detector = LinearScore().eval()
    x, _ = images()
    weight = detector.weight.detach().view(1, *SHAPE)
    ideal = geometry.project(x + 1e4 * weight / weight.norm(), x, norm, eps)
    _assert_optimal(threat, detector, setting, ideal)


def reaches_the_optimum_of_quadratic_scores(threat: Threat, setting: Setting) -> None:
    """Within 1e-4 of the gain of the centre, projected."""
    norm, eps = _ball(setting)
    x, _ = images()
    detector = QuadraticScore()
    ideal = geometry.project(detector.center.view(1, *SHAPE).expand_as(x).contiguous(), x, norm, eps)
    _assert_optimal(threat, detector, setting, ideal)


# --------------------------------------------------------------------------- what the checks share


def images() -> tuple[Tensor, Tensor]:
    """(7, 1, 6, 6) images in [0, 1] with pixels on both walls of the box, and their ids."""
    ids = torch.arange(_SAMPLES) * 1009 + 5
    x = Context(Side.EVADE, seed=3).uniform(ids, 0, SHAPE)
    return torch.where(x < 0.3, 0.0, torch.where(x > 0.85, 1.0, x)), ids


def pool() -> Tensor:
    """(5, 1, 6, 6) images in [0, 1] that the attacker may use; the first pixel is black."""
    drawn = Context(Side.EVADE, seed=4).uniform(torch.arange(5), 0, SHAPE)
    drawn[:, 0, 0, 0] = 0.0
    return drawn


def elsewhere(draw: int) -> Tensor:
    """(7, 1, 6, 6) images in [0, 1] that an attack on another detector may have made of `images`; one for each draw."""
    own, ids = images()
    return (own + 0.4 * (Context(Side.EVADE, seed=5).uniform(ids, draw, SHAPE) - 0.5)).clamp(0.0, 1.0)


def attack(
    threat: Threat,
    detector: Detector,
    setting: Setting,
    *,
    side: Side = Side.EVADE,
    target: float | None = None,
    choice: Tensor | None = None,
    x: Tensor | None = None,
    line: float | None = None,
) -> AttackResult:
    """Run the threat on `images`, on some of them, or on others with the same ids; `line` is the threshold."""
    own, ids = images()
    x = own if x is None else x
    context = Context(
        side,
        seed=7,
        stop_target=target,
        labels=torch.zeros(len(x), dtype=torch.int64),
        pool=pool(),
        transferred={name: elsewhere(draw) for draw, name in enumerate(("one", "other"), start=1)},
        micro_batch=_MICRO_BATCH,
        acceptance=Acceptance(line) if line is not None else None,
    )
    if choice is not None:
        x, ids, context = x[choice], ids[choice], context.at(choice)
    return threat.run(detector, x, ids=ids, budget=setting.budget, context=context)


def assert_entries(result: AttackResult, x: Tensor) -> None:
    """Shapes, types and lengths of a result for these images."""
    count = len(x)
    assert result.images.shape == result.last_images.shape == x.shape, "images must have the shape of the input."
    for name in ("gradients", "queries"):
        spent = getattr(result, name)
        assert spent.shape == (count,) and spent.dtype is torch.int64, f"{name} must be (N,) int64."
        assert bool((spent >= 0).all()), f"{name} must not be negative."
    assert result.norm.shape == (count,), "norm must be (N,)."
    assert len(result.status) == count and all(isinstance(s, Status) for s in result.status), "one Status a sample."
    assert all(figure.shape == (count,) for figure in result.figures.values()), "figures must be (N,)."
    trace = result.score_trace
    assert trace.ndim == 2 and len(trace) == count and 1 <= trace.shape[1] <= TRACE_LENGTH, (
        "trace must be (N, T <= 64)."
    )


def assert_inside(result: AttackResult, x: Tensor, setting: Setting) -> None:
    """Finite, in ball and box, and `norm` is the distance."""
    for candidates in (result.images, result.last_images):
        assert bool(torch.isfinite(candidates).all()), "images must be finite."
        assert bool(((candidates >= 0) & (candidates <= 1)).all()), "images must stay in [0, 1]."
        away = geometry.distance(candidates, x, setting.norm or Norm.L2)
        if setting.eps is not None:
            worst = float(away.max())
            assert worst <= setting.eps * (1 + 1e-5), f"an image is {worst} away, eps is {setting.eps}."
    away = geometry.distance(result.images, x, setting.norm or Norm.L2)
    assert torch.allclose(result.norm, away, rtol=1e-5, atol=1e-7), "`norm` must be the distance of `images`."


def assert_no_trace(detector: LinearScore, x: Tensor, attack: Callable[[Detector], object]) -> None:
    """The attack leaves everything as it was: the detector, the images and the global generator."""
    before_x = x.clone()
    detector.train()
    detector.dropout.eval()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    state = torch.get_rng_state()
    attack(detector)
    assert torch.equal(torch.get_rng_state(), state), "the global random state changed."
    assert detector.training and not detector.dropout.training, "train or evaluation mode changed."
    assert detector.weight.requires_grad and detector.weight.grad is None, "requires_grad or gradients changed."
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items()), "parameters changed."
    assert torch.equal(x, before_x) and not x.requires_grad, "the input changed."


def assert_same(whole: AttackResult, part: AttackResult, order: Tensor) -> None:
    """The results of some samples (positions in the whole) are the same bits as in the whole."""
    for name in ("images", "last_images", "score_trace", "gradients", "queries", "norm"):
        same = _identical(getattr(whole, name)[order], getattr(part, name))
        assert same, f"`{name}` depends on the other samples of the call or on their order."
    for name, figure in whole.figures.items():
        same = _identical(figure[order], part.figures[name])
        assert same, f"the figure `{name}` depends on the other samples of the call or on their order."
    assert [whole.status[i] for i in order.tolist()] == part.status, (
        "`status` depends on the other samples of the call."
    )


def _identical(one: Tensor, other: Tensor) -> bool:
    """Bit-equal, where NaN equals NaN."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _ball(setting: Setting) -> tuple[Norm, float]:
    assert setting.norm is not None and setting.eps is not None, "closed-form optima need a norm and an eps."
    return setting.norm, setting.eps


def _reachable_target(threat: Threat, detector: Detector, setting: Setting, side: Side = Side.EVADE) -> float:
    """A score that about half of the attacked samples get beyond."""
    return float(attack(threat, detector, setting, side=side).score_trace[:, -1].median())


def _assert_optimal(threat: Threat, detector: Detector, setting: Setting, ideal: Tensor) -> None:
    x, _ = images()
    result = attack(threat, detector, setting)
    with torch.no_grad():
        start, best, reached = (detector.score(points).double() for points in (x, ideal, result.images))
    short = (best - reached) / (best - start)
    assert float(short.max()) <= _FLOAT32, f"{float(short.max()):.1e} of the possible gain was missed."
