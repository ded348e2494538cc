"""The contract of threats that look for the nearest image across a detector's threshold (`min_norm: true`).

    @pytest.mark.parametrize("check", nearest_checks(), ids=lambda check: check.__name__)
    def test_contract(check):
        check(MyThreat(), Setting(Norm.L2, None))

It holds on the sides evade and alarm; what such a threat does on side fool is in `bench.testing.fool_threats`.
"""

import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector
from bench.detectors.untouched import untouched
from bench.testing.closed_forms import (
    FlatScore,
    LinearScore,
    PoisonedScore,
    QuadraticScore,
    RoundedScore,
    fixed_numbers,
)
from bench.testing.threats import (
    Check,
    Setting,
    assert_entries,
    assert_inside,
    assert_no_trace,
    assert_same,
    attack,
    images,
)
from bench.threat_models.base import AttackResult, Status, Threat

_POISONED = 3
_FAILURES = (Status.FAILED, Status.NO_GRADIENT, Status.NON_FINITE)


def check_nearest_threat(threat: Threat, *, norm: Norm) -> None:
    """Run every check of `nearest_checks`.

    Args:
        threat: The threat, with the parameters in force.
        norm: In which it looks for the nearest image.

    Raises:
        AssertionError: The first check that fails, in one sentence.
    """
    for check in nearest_checks():
        check(threat, Setting(norm, None))


def nearest_checks() -> list[Check]:
    """The checks, each a function of a threat and a setting without a radius."""
    return [
        returns_one_entry_a_sample,
        stays_inside_the_box,
        answers_across_the_threshold_or_with_the_clean_image,
        leaves_images_alone_that_are_across,
        is_independent_of_batch_mates_and_order,
        is_the_same_for_the_same_seed,
        leaves_no_trace_behind,
        survives_scores_that_are_nan,
        survives_scores_without_gradient,
        lowers_scores_as_it_raises_them,
        takes_an_empty_batch,
    ]


# --------------------------------------------------------------------------- the checks


def returns_one_entry_a_sample(threat: Threat, setting: Setting) -> None:
    """Shapes, types and lengths of the result; a trace of negative distances that never falls."""
    result = cross(threat, QuadraticScore(), setting)
    assert_entries(result, images()[0])
    assert not bool((result.score_trace.diff(dim=1) < 0).any()), "the trace must never fall."


def stays_inside_the_box(threat: Threat, setting: Setting) -> None:
    """Finite, in [0, 1], and `norm` says how far."""
    for detector in (LinearScore(), QuadraticScore()):
        assert_inside(cross(threat, detector, setting), images()[0], setting)


def answers_across_the_threshold_or_with_the_clean_image(threat: Threat, setting: Setting) -> None:
    """Strictly across when it is scored again, or the clean image and a status that says so."""
    x, _ = images()
    for detector in (LinearScore(), QuadraticScore(), RoundedScore()):
        for side in (Side.EVADE, Side.ALARM):
            result = cross(threat, detector, setting, side=side)
            reached = across(detector, result.images, side)
            assert torch.equal(result.images[~reached], x[~reached]), "what is not across must be the clean image."
            says = torch.tensor([status not in _FAILURES for status in result.status])
            assert torch.equal(says, reached), "the status must say where no image across was found."


def leaves_images_alone_that_are_across(threat: Threat, setting: Setting) -> None:
    """Nothing has to be done for them."""
    x, _ = images()
    detector = LinearScore()
    done = across(detector, x, Side.EVADE)
    assert 0 < int(done.sum()) < len(x), "some images are across as they are."
    result = cross(threat, detector, setting)
    assert torch.equal(result.images[done], x[done]), "an image that is across already must stay."
    assert bool((result.norm[done] == 0).all()), "its norm must be 0."
    assert bool((result.gradients[done] == 0).all()), "it must not cost gradients."


def is_independent_of_batch_mates_and_order(threat: Threat, setting: Setting) -> None:
    """Any order and any choice of samples gives the same bits."""
    for detector in (QuadraticScore(), RoundedScore()):
        whole = cross(threat, detector, setting)
        for order in (torch.arange(len(whole.norm)).flip(0), torch.tensor([6, 2, 5])):
            assert_same(whole, cross(threat, detector, setting, choice=order), order)


def is_the_same_for_the_same_seed(threat: Threat, setting: Setting) -> None:
    """Two runs give the same bits."""
    first, second = (cross(threat, LinearScore(), setting) for _ in range(2))
    assert_same(first, second, torch.arange(len(first.norm)))


def leaves_no_trace_behind(threat: Threat, setting: Setting) -> None:
    """Global generator, modes, requires_grad, parameters, gradients and the input are as they were."""
    x, _ = images()
    assert_no_trace(LinearScore(), x, lambda detector: cross(threat, detector, setting, x=x))


def survives_scores_that_are_nan(threat: Threat, setting: Setting) -> None:
    """Samples whose score is NaN keep their image; the others never notice."""
    healthy = images()[0].clone()
    healthy[:, 0, 0, 0] = 0.0
    poisoned = healthy.clone()
    poisoned[_POISONED, 0, 0, 0] = 1.0
    result, alone = (cross(threat, PoisonedScore(), setting, x=x, line=0.5) for x in (poisoned, healthy))
    others = torch.tensor([i for i in range(len(healthy)) if i != _POISONED])
    assert torch.equal(result.images[others], alone.images[others]), "a NaN score changed another sample's image."
    assert torch.equal(result.images[_POISONED], poisoned[_POISONED]), "a sample that is NaN must keep its image."
    assert result.status[_POISONED] in (Status.NON_FINITE, Status.FAILED), "the NaN sample's status must say so."


def survives_scores_without_gradient(threat: Threat, setting: Setting) -> None:
    """A constant score leaves every image in place and is not reported as an attack that went well."""
    result = cross(threat, FlatScore(), setting, line=1.0)
    assert torch.equal(result.images, images()[0]), "nothing can be gained on a constant score; the image must stay."
    if bool((result.gradients > 0).all()):
        assert set(result.status) == {Status.NO_GRADIENT}, "a gradient that is zero everywhere needs NO_GRADIENT."


def lowers_scores_as_it_raises_them(threat: Threat, setting: Setting) -> None:
    """An alarm on s is an evasion on -s, bit for bit."""
    weight = fixed_numbers(1) - 0.5
    alarm = cross(threat, LinearScore(weight), setting, side=Side.ALARM, line=-0.25)
    evade = cross(threat, LinearScore(-weight), setting, line=0.25)
    assert torch.equal(alarm.images, evade.images), "lowering s must give the same images as raising -s."


def takes_an_empty_batch(threat: Threat, setting: Setting) -> None:
    """No images, no entries, no error."""
    result = cross(threat, LinearScore(), setting, choice=torch.zeros(0, dtype=torch.int64))
    assert len(result.images) == 0 and result.status == [], "no images must give no entries."


# --------------------------------------------------------------------------- what the checks share


def threshold(detector: Detector, side: Side = Side.EVADE) -> float:
    """A threshold that two of the seven clean `images` are across."""
    with torch.no_grad(), untouched(detector):
        scores = detector.score(images()[0]).sort(descending=side is Side.EVADE).values
    return float(scores[1:3].mean())


def across(detector: Detector, x: Tensor, side: Side) -> Tensor:
    """(N,) which images are strictly across it."""
    sign = -1.0 if side is Side.ALARM else 1.0
    with torch.no_grad(), untouched(detector):
        return sign * detector.score(x) > sign * threshold(detector, side)


def cross(
    threat: Threat,
    detector: Detector,
    setting: Setting,
    *,
    side: Side = Side.EVADE,
    choice: Tensor | None = None,
    x: Tensor | None = None,
    line: float | None = None,
) -> AttackResult:
    """Run the threat on `images`, on some of them, or on others with the same ids."""
    line = threshold(detector, side) if line is None else line
    return attack(threat, detector, setting, side=side, choice=choice, x=x, line=line)
