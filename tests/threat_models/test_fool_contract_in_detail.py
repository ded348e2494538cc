"""What the checks of side `fool` tell an attack, and what they say of a result in which one thing is wrong."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Goal, Loss, Norm
from bench.errors import UsageError
from bench.testing import fool_threats
from bench.testing.classifiers import LinearClassifier
from bench.testing.fool_threats import FoolSetting, fool, fool_checks, true_labels
from bench.testing.threats import elsewhere, images, pool
from bench.threat_models.base import Status, Threat
from bench.threat_models.clean import Clean
from bench.threat_models.pgd import PGD, PGDParams

BALL = FoolSetting(Norm.L2, 0.5)
CHECKS = {check.__name__: check for check in (*fool_checks(min_norm=True), *fool_checks())}


class Heard(Threat):
    """Leaves every image where it is, and keeps what it was told."""

    def __init__(self):
        super().__init__(None)
        self.calls = []

    def attack(self, detector, x, *, ids, budget, context):
        self.calls.append((x.clone(), ids.clone(), context))
        return Clean().attack(detector, x, ids=ids, budget=budget, context=context)


class Changed(Threat):
    """PGD whose result is changed by a function of the result, the images and the number of earlier calls."""

    def __init__(self, change):
        super().__init__(None)
        self.change, self.count = change, -1

    def attack(self, detector, x, *, ids, budget, context):
        found = PGD(PGDParams(steps=3, restarts=1)).attack(detector, x, ids=ids, budget=budget, context=context)
        self.count += 1
        return replace(found, **self.change(found, x, self.count))


def sentence(name, threat, setting=BALL):
    with pytest.raises(AssertionError) as error:
        CHECKS[name](threat, setting)
    return str(error.value).splitlines()[0]


def test_an_attack_is_told_labels_pool_images_from_elsewhere_and_the_same_seed():
    threat, (x, ids), detector = Heard(), images(), LinearClassifier()
    setting = FoolSetting(Norm.L2, 0.5, goal=Goal.ACCEPT, loss=Loss.JOINT)
    fool(threat, detector, setting, target=0.25, micro_batch=2)
    fool(threat, detector, setting, choice=torch.tensor([6, 2]))
    (all_x, all_ids, context), (some_x, some_ids, of_some) = threat.calls
    assert torch.equal(all_x, x) and torch.equal(all_ids, ids)
    assert (context.seed, context.stop_target, context.micro_batch) == (7, 0.25, 2)
    assert (context.goal, context.loss) == (Goal.ACCEPT, Loss.JOINT)
    assert torch.equal(context.labels, true_labels(detector))
    assert torch.equal(context.pool, pool()) and context.pool_labels.tolist() == [0] * len(pool())
    assert list(context.transferred) == ["one", "other"]
    assert torch.equal(context.transferred["one"], elsewhere(1))
    assert torch.equal(context.transferred["other"], elsewhere(2))
    assert torch.equal(some_x, x[[6, 2]]) and torch.equal(some_ids, ids[[6, 2]])
    assert torch.equal(of_some.labels, true_labels(detector)[[6, 2]])
    assert (of_some.stop_target, of_some.micro_batch) == (None, 4)


def test_orders_and_choices_are_all_samples_reversed_and_three_of_them():
    threat, (_, ids) = Heard(), images()
    CHECKS["is_independent_of_batch_mates_and_order"](threat, BALL)
    asked = [call[1].tolist() for call in threat.calls]
    assert asked == [ids.tolist(), ids.flip(0).tolist(), ids[[6, 2, 5]].tolist()] * 2


def test_constant_logits_are_attacked_for_another_class_whatever_the_goal():
    threat = Heard()
    CHECKS["survives_logits_without_gradient"](threat, replace(BALL, goal=Goal.ACCEPT))
    assert [call[2].goal for call in threat.calls] == [Goal.MISCLASSIFY]
    assert threat.calls[0][2].labels.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("returns_one_entry_a_sample", lambda found, x, count: {"norm": found.norm[:, None]}, "norm must be (N,)."),
        ("returns_one_entry_a_sample", lambda found, x, count: {"score_trace": -torch.arange(14.0).reshape(7, 2)},
         "the trace must never fall."),
        ("stays_inside_ball_and_box", lambda found, x, count: {"norm": found.norm + 1}, "`norm` must be the distance"),
        ("is_the_same_for_the_same_seed", lambda found, x, count: {"queries": found.queries + count},
         "`queries` depends on"),
        ("is_independent_of_batch_mates_and_order", lambda found, x, count: {"queries": found.queries + len(x)},
         "`queries` depends on"),
        ("survives_logits_that_are_nan",
         lambda found, x, count: {"images": torch.where(torch.arange(7)[:, None, None, None] == 3, torch.nan,
                                                        found.images)} if count == 0 else {},
         "a NaN made an image that is not finite."),
        ("survives_logits_that_are_nan",
         lambda found, x, count: {"images": found.images + 0.01 * (torch.arange(7)[:, None, None, None] == 2)}
         if count == 0 else {}, "a NaN changed another sample's image."),
        ("survives_logits_that_are_nan",
         lambda found, x, count: {"images": (found.images - 0.01 * (torch.arange(7)[:, None, None, None] == 3))}
         if count == 0 else {}, "a sample that is NaN throughout must keep its clean image."),
        ("survives_logits_that_are_nan", lambda found, x, count: {"status": [Status.COMPLETED] * 7},
         "the NaN sample's status is"),
        ("survives_logits_without_gradient", lambda found, x, count: {"images": (x + 0.01).clamp(0, 1)},
         "nothing can be gained on constant logits"),
        ("survives_logits_without_gradient", lambda found, x, count: {"status": [Status.COMPLETED] * 7},
         "a gradient that is zero everywhere needs NO_GRADIENT."),
        ("never_ends_less_fooled_than_it_started", lambda found, x, count: {"images": 2 * x - found.images},
         "an image ended "),
        ("answers_with_a_success_or_the_clean_image", lambda found, x, count: {},
         "where the goal is missed the image must stay clean."),
        ("leaves_misclassified_images_alone", lambda found, x, count: {}, "an image that reaches the goal already"),
        ("leaves_misclassified_images_alone", lambda found, x, count: {"images": x}, "its norm must be 0."),
        ("leaves_misclassified_images_alone", lambda found, x, count: {"images": x, "norm": 0 * found.norm},
         "it must not cost gradients."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(name, change, said):
    assert sentence(name, Changed(change)).startswith(said)


@pytest.mark.parametrize("name", [name for name in CHECKS if name.startswith(("returns", "stays", "is_", "leaves_no"))])
def test_nothing_is_said_of_a_result_that_is_right(name):
    CHECKS[name](Changed(lambda found, x, count: {}), BALL)


@pytest.mark.parametrize("over", [{"status": [Status.COMPLETED]}, {"images": torch.zeros(1, 1, 6, 6)}])
def test_no_images_must_give_no_images_and_no_status(over):
    class Invents(Heard):
        def run(self, *arguments, **named):
            return replace(super().run(*arguments, **named), **over)

    assert sentence("takes_an_empty_batch", Invents()) == "no images must give no entries."


def test_what_an_attack_leaves_behind_is_told():
    class Draws(Heard):
        def run(self, *arguments, **named):
            torch.rand(1)
            return super().run(*arguments, **named)

    state = torch.get_rng_state()
    assert sentence("leaves_no_trace_behind", Draws()).startswith("the global random state changed.")
    torch.set_rng_state(state)


def test_an_attack_that_takes_a_score_for_a_classifier_is_told():
    class Takes(Heard):
        def attack(self, detector, x, *, ids, budget, context):
            return super().attack(LinearClassifier(), x, ids=ids, budget=budget, context=context)

    said = sentence("refuses_detectors_without_classifier", Takes())
    assert said == "a detector without a classifier must be refused with a UsageError."

    class Refuses(Heard):
        def attack(self, *arguments, **named):
            raise UsageError("no.")

    CHECKS["refuses_detectors_without_classifier"](Refuses(), BALL)


def test_one_sample_has_to_be_misclassified_where_that_is_the_goal_alone(monkeypatch):
    monkeypatch.setattr(fool_threats, "judged", lambda detector, x, setting: -torch.ones(len(x)))
    assert sentence("leaves_misclassified_images_alone", Heard()) == "one sample is misclassified as it is."
    CHECKS["leaves_misclassified_images_alone"](Heard(), replace(BALL, goal=Goal.ACCEPT))
