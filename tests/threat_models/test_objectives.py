"""What attacks are after: the score up or down, or a decision, on closed forms."""

import pytest
import torch
from torch.nn import functional

from bench.cards.threat import Goal, Loss, Side
from bench.detectors.base import DetectorInfo
from bench.errors import UsageError
from bench.testing.classifiers import LinearClassifier
from bench.testing.closed_forms import QuadraticScore, RoundedScore
from bench.threat_models.base import Acceptance, Context
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import JOINT_MARGIN, mean_score, noise_source, objective_of, wrong_margin
from bench.threat_models.pgd import PGD

COUNT = 6
IDS = torch.arange(COUNT) * 31 + 7


@pytest.fixture
def x():
    return Context(Side.EVADE, seed=2).uniform(IDS, 0, (1, 6, 6))


def fool(x, labels, **options):
    context = Context(Side.FOOL, labels=labels, **options)
    detector = LinearClassifier().eval()
    return detector, objective_of(detector, IDS, context)(x, torch.arange(COUNT))


def test_the_score_judges_and_the_objective_directs_in_the_attackers_sign(x):
    detector = RoundedScore().eval()
    for side, sign in ((Side.EVADE, 1.0), (Side.ALARM, -1.0)):
        criterion, direction = objective_of(detector, IDS, Context(side))(x, torch.arange(COUNT))
        assert torch.equal(criterion, sign * detector.score(x)) and torch.equal(direction, sign * detector.objective(x))


def test_an_image_is_fooled_exactly_where_another_class_wins(x):
    detector = LinearClassifier().eval()
    winners = detector.logits(x).argmax(dim=1)
    labels = torch.where(torch.arange(COUNT) % 2 == 0, winners, (winners + 1) % 4)
    _, (criterion, _) = fool(x, labels)
    assert torch.equal(criterion > 0, winners != labels)


def test_the_losses_are_cross_entropy_and_margin(x):
    labels = torch.zeros(COUNT, dtype=torch.int64)
    detector, (_, ce) = fool(x, labels, loss=Loss.CE)
    _, (_, margin) = fool(x, labels, loss=Loss.MARGIN)
    logits = detector.logits(x)
    assert torch.allclose(ce, functional.cross_entropy(logits, labels, reduction="none"))
    assert torch.allclose(margin, logits[:, 1:].amax(dim=1) - logits[:, 0])


def test_acceptance_is_judged_by_the_threshold_of_the_predicted_class_in_units_of_the_scale(x):
    detector = LinearClassifier().eval()
    labels = torch.zeros(COUNT, dtype=torch.int64)
    predicted = detector.logits(x).argmax(dim=1)
    thresholds = Acceptance(0.25, {1: -0.5}, scale=2.0)
    _, (criterion, _) = fool(x, labels, goal=Goal.ACCEPT, acceptance=thresholds)
    floor = torch.where(predicted == 1, -0.5, 0.25)
    above = (detector.score(x) - floor) / 2.0
    assert torch.allclose(criterion, torch.minimum(wrong_margin(detector.logits(x), labels), above))


def test_the_joint_loss_pushes_nothing_that_is_reached_with_room_to_spare(x):
    labels = (LinearClassifier().eval().logits(x).argmax(dim=1) + 1) % 4  # already misclassified
    far = Acceptance(-1e3, scale=1.0)
    x.requires_grad_(True)
    detector, (criterion, direction) = fool(x, labels, goal=Goal.ACCEPT, loss=Loss.JOINT, acceptance=far)
    done = wrong_margin(detector.logits(x), labels) > JOINT_MARGIN
    (gradient,) = torch.autograd.grad(direction.sum(), x)
    assert torch.equal(gradient.flatten(1).abs().amax(dim=1) == 0, done)
    assert bool((criterion > 0).all())


def test_acceptance_takes_its_gradient_from_the_objective_where_the_score_has_none(x):
    class Rounded(LinearClassifier):
        def score(self, x, *, noise=None):
            return super().score(x).detach().round()

        def objective(self, x):
            return super().score(x)

    detector, x = Rounded().eval(), x.requires_grad_(True)
    context = Context(
        Side.FOOL,
        labels=torch.zeros(COUNT, dtype=torch.int64),
        goal=Goal.ACCEPT,
        loss=Loss.JOINT,
        acceptance=Acceptance(50.0),
    )
    _, direction = objective_of(detector, IDS, context)(x, torch.arange(COUNT))
    wanted = wrong_margin(detector.logits(x), context.labels).clamp(max=JOINT_MARGIN) + detector.objective(x)
    (found,) = torch.autograd.grad(direction.sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad(wanted.sum(), x)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": None}, "needs the labels"),
        ({"labels": torch.zeros(COUNT, dtype=torch.int64), "goal": Goal.ACCEPT}, "there is no threshold"),
    ],
)
def test_what_the_harness_forgot_to_give_is_named(x, options, sentence):
    objective = objective_of(LinearClassifier().eval(), IDS, Context(Side.FOOL, **options))
    with pytest.raises(UsageError, match=sentence):
        objective(x, torch.arange(COUNT))


def test_a_detector_without_classes_cannot_be_fooled(x):
    objective = objective_of(QuadraticScore(), IDS, Context(Side.FOOL, labels=torch.zeros(COUNT, dtype=torch.int64)))
    with pytest.raises(UsageError, match="predicts no classes"):
        objective(x, torch.arange(COUNT))


class Shaken(QuadraticScore):
    """A quadratic score with noise on top where noise is given."""

    info = DetectorInfo(classifier=False, random=True)

    def score(self, x, *, noise=None):
        still = super().score(x)
        return still if noise is None else still + noise(()) + noise((2,)).sum(dim=1)


def test_a_random_score_is_averaged_over_draws_that_depend_on_the_sample_alone(x):
    detector, context = Shaken(), Context(Side.EVADE, seed=5, draws=200)
    mean = mean_score(detector, x, IDS, context)
    assert torch.allclose(mean, detector.score(x), atol=5 * (3 / 200) ** 0.5)
    assert not torch.allclose(mean, mean_score(detector, x, IDS, context, first=200))
    one = mean_score(detector, x[2:3], IDS[2:3], context)
    assert torch.allclose(one, mean[2:3])


def test_an_attack_on_a_random_detector_sees_the_same_draws_at_every_step(x):
    oracle = Oracle(Shaken(), ids=IDS, context=Context(Side.EVADE, draws=4, micro_batch=4))
    first, again = oracle.evaluate(x)[0], oracle.evaluate(x)[0]
    assert torch.equal(first, again)
    order = torch.tensor([4, 1])
    assert torch.allclose(oracle.evaluate(x[order], order)[0], first[order])


@pytest.mark.parametrize(
    ("options", "missed"),
    [
        ({}, ()),
        ({"side": Side.FOOL}, ()),
        ({"side": Side.FOOL, "goal": Goal.ACCEPT, "loss": Loss.CE}, ("preprocessing",)),
        ({"side": Side.FOOL, "goal": Goal.ACCEPT, "loss": Loss.JOINT}, ()),
    ],
)
def test_an_attack_that_does_not_see_a_part_of_the_detector_says_so(options, missed):
    context = Context(**{"side": Side.EVADE, **options})
    assert PGD().leaves_out(DetectorInfo(components=("classifier", "preprocessing")), context) == missed


def test_an_attack_that_declares_what_it_covers_leaves_out_the_rest():
    class Half(PGD):
        covers = ("classifier",)

    assert Half().leaves_out(DetectorInfo(components=("classifier", "preprocessing")), Context(Side.EVADE)) == (
        "preprocessing",
    )


def test_the_noise_of_a_random_detector_is_none_of_the_numbers_that_threats_draw() -> None:
    """Threats number their draws from 0 on; starts that equal a detector's noise would not be random next to it."""
    ids, context = torch.arange(3), Context(Side.EVADE, seed=5, draws=2)
    taken = torch.stack([context.noise(ids, draw, (4,)) for draw in range(3000)])
    for draw in range(2):
        source = noise_source(ids, draw, context)
        for asked in (source((4,)), source((4,))):
            assert not (taken == asked).flatten(1).all(dim=1).any()


def test_an_oracle_answers_with_the_direction_where_another_number_judges(x):
    detector = RoundedScore().eval()
    criterion, direction = Oracle(detector, ids=IDS, context=Context(Side.EVADE, micro_batch=COUNT)).ask(
        x, torch.arange(COUNT)
    )
    assert torch.equal(criterion, detector.score(x)) and torch.equal(direction, detector.objective(x))
    assert not torch.equal(criterion, direction)
