"""The contract of threats of side `fool`, as a list of named checks that run as pytest parametrisation.

    @pytest.mark.parametrize("check", fool_checks(min_norm=True), ids=lambda check: check.__name__)
    def test_contract(check):
        check(MyThreat(), FoolSetting(Norm.L2, None))

A failed check raises AssertionError with one sentence. The detectors under attack are closed forms with a classifier:
linear, quadratic, one that is NaN for some samples, and one that is constant.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.cards.threat import Goal, Loss, Side
from bench.detectors.base import Detector
from bench.detectors.untouched import untouched
from bench.errors import UsageError
from bench.testing.classifiers import FlatClassifier, LinearClassifier, PoisonedClassifier, QuadraticClassifier
from bench.testing.closed_forms import LinearScore
from bench.testing.threats import (
    Setting,
    assert_entries,
    assert_inside,
    assert_no_trace,
    assert_same,
    elsewhere,
    images,
    pool,
)
from bench.threat_models.base import Acceptance, AttackResult, Context, Status, Threat
from bench.threat_models.objectives import needed_logits, objective_of

_MICRO_BATCH = 4  # two batches, the last one padded

MISLABELLED = 4
"""The sample whose label says that its clean image is misclassified."""

_ROUNDING = 1e-5
"""Of logits that are sums of 36 products, in the batch shapes of the attack and of the check."""


@dataclass(frozen=True)
class FoolSetting(Setting):
    """The ball in which a threat is checked (no radius for one that looks for the nearest image), and its goal."""

    goal: Goal = Goal.MISCLASSIFY
    loss: Loss = Loss.MARGIN


FoolCheck = Callable[[Threat, FoolSetting], None]


def check_fool_threat(threat: Threat, setting: FoolSetting, *, min_norm: bool = False) -> None:
    """Run every check of `fool_checks`.

    Args:
        threat: The threat, with the parameters in force.
        setting: Ball, goal and loss.
        min_norm: Whether it answers with the nearest image that reaches the goal, and with the clean one if none does.

    Raises:
        AssertionError: The first check that fails, in one sentence.
    """
    for check in fool_checks(min_norm=min_norm):
        check(threat, setting)


def fool_checks(*, min_norm: bool = False) -> list[FoolCheck]:
    """The checks, each a function of a threat and a setting; `min_norm` adds those on the nearest image."""
    checks: list[FoolCheck] = [
        returns_one_entry_a_sample,
        stays_inside_ball_and_box,
        is_independent_of_batch_mates_and_order,
        is_the_same_for_the_same_seed,
        leaves_no_trace_behind,
        survives_logits_that_are_nan,
        survives_logits_without_gradient,
        refuses_detectors_without_classifier,
        takes_an_empty_batch,
    ]
    if min_norm:
        return [*checks, answers_with_a_success_or_the_clean_image, leaves_misclassified_images_alone]
    return [*checks, never_ends_less_fooled_than_it_started, stops_early_only_past_the_decision]


# --------------------------------------------------------------------------- the checks


def returns_one_entry_a_sample(threat: Threat, setting: FoolSetting) -> None:
    """Shapes, types and lengths of the result; a trace that never falls where it is known."""
    x, _ = images()
    result = fool(threat, LinearClassifier(), setting)
    assert_entries(result, x)
    falls = result.score_trace.diff(dim=1) < 0  # NaN as long as nothing is found
    assert not bool(falls.any()), "the trace must never fall."


def stays_inside_ball_and_box(threat: Threat, setting: FoolSetting) -> None:
    """Finite, in [0, 1], within eps (1 + 1e-5), and `norm` says how far."""
    x, _ = images()
    for detector in (LinearClassifier(), QuadraticClassifier()):
        assert_inside(fool(threat, detector, setting), x, setting)


def is_independent_of_batch_mates_and_order(threat: Threat, setting: FoolSetting) -> None:
    """Any order and any choice of samples gives the same bits."""
    for detector in (LinearClassifier(), QuadraticClassifier()):
        whole = fool(threat, detector, setting)
        for order in (torch.arange(len(whole.norm)).flip(0), torch.tensor([6, 2, 5])):
            assert_same(whole, fool(threat, detector, setting, choice=order), order)


def is_the_same_for_the_same_seed(threat: Threat, setting: FoolSetting) -> None:
    """Two runs give the same bits."""
    first, second = (fool(threat, LinearClassifier(), setting) for _ in range(2))
    assert_same(first, second, torch.arange(len(first.norm)))


def leaves_no_trace_behind(threat: Threat, setting: FoolSetting) -> None:
    """Global generator, modes, requires_grad, parameters, gradients and the input are as they were."""
    x, _ = images()
    labels = true_labels(LinearClassifier())
    assert_no_trace(LinearClassifier(), x, lambda detector: fool(threat, detector, setting, x=x, labels=labels))


def survives_logits_that_are_nan(threat: Threat, setting: FoolSetting) -> None:
    """Samples whose logits are NaN get a status and a finite image; the others never notice."""
    healthy, _ = images()
    healthy[:, 0, 0, 0] = 0.0
    poisoned = healthy.clone()
    poisoned[3, 0, 0, 0] = 1.0
    small = replace(setting, eps=min(setting.eps, 0.2)) if setting.eps is not None else setting
    labels = true_labels(LinearClassifier(), healthy)
    result = fool(threat, PoisonedClassifier(), small, x=poisoned, labels=labels)
    alone = fool(threat, PoisonedClassifier(), small, x=healthy, labels=labels)
    others = torch.tensor([i for i in range(len(healthy)) if i != 3])
    assert torch.equal(result.images[others], alone.images[others]), "a NaN changed another sample's image."
    assert bool(torch.isfinite(result.images).all()), "a NaN made an image that is not finite."
    assert result.status[3] in (Status.NON_FINITE, Status.FAILED), f"the NaN sample's status is {result.status[3]}."
    assert torch.equal(result.images[3], poisoned[3]), "a sample that is NaN throughout must keep its clean image."


def survives_logits_without_gradient(threat: Threat, setting: FoolSetting) -> None:
    """Constant logits leave every image in place and are not reported as an attack that went well."""
    x, _ = images()
    constant = replace(setting, goal=Goal.MISCLASSIFY)  # nothing is gained by acceptance alone
    result = fool(threat, FlatClassifier(), constant, labels=torch.zeros(len(x), dtype=torch.int64))
    assert torch.equal(result.images, x), "nothing can be gained on constant logits; the image must stay."
    if bool((result.gradients > 0).all()):
        assert set(result.status) == {Status.NO_GRADIENT}, "a gradient that is zero everywhere needs NO_GRADIENT."


def refuses_detectors_without_classifier(threat: Threat, setting: FoolSetting) -> None:
    """A score alone has no decision to be fooled: one sentence says so."""
    try:
        fool(threat, LinearScore(), setting, labels=torch.zeros(len(images()[0]), dtype=torch.int64))
    except UsageError:
        return
    raise AssertionError("a detector without a classifier must be refused with a UsageError.")


def takes_an_empty_batch(threat: Threat, setting: FoolSetting) -> None:
    """No images, no entries, no error."""
    result = fool(threat, LinearClassifier(), setting, choice=torch.zeros(0, dtype=torch.int64))
    assert len(result.images) == 0 and result.status == [], "no images must give no entries."


def never_ends_less_fooled_than_it_started(threat: Threat, setting: FoolSetting) -> None:
    """The clean image is always a candidate."""
    x, _ = images()
    for detector in (LinearClassifier(), QuadraticClassifier()):
        result = fool(threat, detector, setting)
        gain = judged(detector, result.images, setting) - judged(detector, x, setting)
        assert float(gain.min()) >= -_ROUNDING, f"an image ended {-float(gain.min())} less fooled than it started."


def stops_early_only_past_the_decision(threat: Threat, setting: FoolSetting) -> None:
    """A stop target of 0 changes nobody's success, and STOPPED means success."""
    for detector in (LinearClassifier(), QuadraticClassifier()):
        full, short = fool(threat, detector, setting), fool(threat, detector, setting, target=0.0)
        reached, stopped = (judged(detector, result.images, setting) > 0 for result in (full, short))
        assert torch.equal(reached, stopped), "a stop target changed who is fooled."
        says = torch.tensor([status is Status.STOPPED for status in short.status])
        assert torch.equal(says, stopped), "STOPPED must mean that the goal is reached."


def answers_with_a_success_or_the_clean_image(threat: Threat, setting: FoolSetting) -> None:
    """An image that reaches the goal when it is judged again, or the clean one and a status that says so."""
    x, _ = images()
    failures = (Status.FAILED, Status.NO_GRADIENT, Status.NON_FINITE)
    for detector in (LinearClassifier(), QuadraticClassifier()):
        result = fool(threat, detector, setting)
        reached = judged(detector, result.images, setting) > 0
        assert torch.equal(result.images[~reached], x[~reached]), "where the goal is missed the image must stay clean."
        says = torch.tensor([status not in failures for status in result.status])
        assert torch.equal(says, reached), "the status must say where the goal was missed."


def leaves_misclassified_images_alone(threat: Threat, setting: FoolSetting) -> None:
    """Nothing has to be done where the goal is reached without an attack."""
    x, _ = images()
    detector = LinearClassifier()
    result = fool(threat, detector, setting)
    done = judged(detector, x, setting) > 0
    if setting.goal is Goal.MISCLASSIFY:
        assert bool(done[MISLABELLED]), "one sample is misclassified as it is."
    assert torch.equal(result.images[done], x[done]), "an image that reaches the goal already must stay."
    assert bool((result.norm[done] == 0).all()), "its norm must be 0."
    assert bool((result.gradients[done] == 0).all()), "it must not cost gradients."


# --------------------------------------------------------------------------- what the checks share


def true_labels(detector: Detector, x: Tensor | None = None) -> Tensor:
    """(N,) what the detector predicts for `images`, but for one of them another class."""
    with torch.no_grad(), untouched(detector):
        logits = needed_logits(detector, images()[0] if x is None else x)
    labels = logits.argmax(dim=1)
    labels[MISLABELLED] = (labels[MISLABELLED] + 1) % logits.shape[1]
    return labels


def fool(
    threat: Threat,
    detector: Detector,
    setting: FoolSetting,
    *,
    target: float | None = None,
    choice: Tensor | None = None,
    x: Tensor | None = None,
    labels: Tensor | None = None,
    micro_batch: int = _MICRO_BATCH,
) -> AttackResult:
    """Run the threat on `images`, on some of them, or on others with the same ids."""
    own, ids = images()
    x = own if x is None else x
    labels = true_labels(detector, x) if labels is None else labels
    context = replace(fool_context(detector, setting, labels), stop_target=target, micro_batch=micro_batch)
    if choice is not None:
        x, ids, context = x[choice], ids[choice], context.at(choice)
    return threat.run(detector, x, ids=ids, budget=setting.budget, context=context)


def fool_context(detector: Detector, setting: FoolSetting, labels: Tensor) -> Context:
    """What the harness would tell; the threshold accepts five of the seven clean `images`."""
    with torch.no_grad(), untouched(detector):
        scores = detector.score(images()[0]).sort().values
    acceptance = Acceptance(float(scores[1:3].mean()), scale=max(float(scores[5] - scores[1]), 1e-3))
    return Context(
        Side.FOOL,
        seed=7,
        labels=labels,
        goal=setting.goal,
        loss=setting.loss,
        acceptance=acceptance,
        pool=pool(),
        pool_labels=torch.zeros(len(pool()), dtype=torch.int64),
        micro_batch=_MICRO_BATCH,
        transferred={name: elsewhere(draw) for draw, name in enumerate(("one", "other"), start=1)},
    )


def judged(detector: Detector, x: Tensor, setting: FoolSetting, labels: Tensor | None = None) -> Tensor:
    """(N,) above 0 where these images, of the samples of `images`, reach the goal."""
    labels = true_labels(detector) if labels is None else labels
    context = fool_context(detector, setting, labels)
    with torch.no_grad(), untouched(detector):
        criterion, _ = objective_of(detector, images()[1], context)(x, torch.arange(len(x)))
    return criterion
