"""What the checks of the contract say of a result in which one thing is wrong, and nothing of one that is right."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.testing import closed_forms, threats
from bench.testing.classifiers import CLASSES, FlatClassifier, LinearClassifier, PoisonedClassifier, QuadraticClassifier
from bench.testing.closed_forms import SHAPE, FlatScore, LinearScore, MixtureScore, PoisonedScore, RoundedScore
from bench.testing.fool_threats import (
    MISLABELLED,
    FoolSetting,
    check_fool_threat,
    fool_checks,
    fool_context,
    judged,
    true_labels,
)
from bench.testing.threats import (
    QuadraticScore,
    Setting,
    assert_entries,
    assert_inside,
    assert_no_trace,
    assert_same,
    attack,
    check_threat,
    elsewhere,
    images,
    pool,
    threat_checks,
)
from bench.threat_models.base import TRACE_LENGTH, AttackResult, Status, Threat
from bench.threat_models.clean import Clean
from bench.threat_models.pgd import PGD, PGDParams

EPS = 0.5
BALL = Setting(Norm.L2, EPS)


def result(**over):
    """A result of seven images that keeps every rule: each is moved by 0.25 in one pixel."""
    x = torch.full((7, *SHAPE), 0.5)
    moved = x.clone()
    moved[:, 0, 0, 0] = 0.75
    given = {
        "images": moved,
        "last_images": moved.clone(),
        "score_trace": torch.arange(14.0).reshape(7, 2),
        "gradients": torch.arange(7),
        "queries": torch.zeros(7, dtype=torch.int64),
        "norm": torch.full((7,), 0.25),
        "status": [Status.COMPLETED] * 7,
        "figures": {"mape": torch.full((7,), torch.nan)},
    }
    return AttackResult(**{**given, **over}), x


def sentence(check, *args):
    with pytest.raises(AssertionError) as error:
        check(*args)
    return str(error.value).splitlines()[0]


def test_a_result_that_keeps_every_rule_passes():
    found, x = result()
    assert_entries(found, x)
    assert_inside(found, x, BALL)
    assert_inside(found, x, Setting(None, None))
    assert_same(found, found, torch.arange(7))
    assert_entries(result(score_trace=torch.zeros(7, 1))[0], x)
    assert_entries(result(score_trace=torch.zeros(7, TRACE_LENGTH))[0], x)


SHORT = torch.zeros(6, *SHAPE)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"images": SHORT}, "images must have the shape of the input."),
        ({"last_images": SHORT}, "images must have the shape of the input."),
        ({"gradients": torch.zeros(6, dtype=torch.int64)}, "gradients must be (N,) int64."),
        ({"gradients": torch.zeros(7)}, "gradients must be (N,) int64."),
        ({"queries": torch.zeros(7, 1, dtype=torch.int64)}, "queries must be (N,) int64."),
        ({"queries": torch.tensor([0] * 6 + [-1])}, "queries must not be negative."),
        ({"norm": torch.zeros(6)}, "norm must be (N,)."),
        ({"status": [Status.COMPLETED] * 6}, "one Status a sample."),
        ({"status": [Status.COMPLETED] * 6 + ["fine"]}, "one Status a sample."),
        ({"figures": {"a": torch.zeros(7), "b": torch.zeros(6)}}, "figures must be (N,)."),
        ({"score_trace": torch.zeros(7)}, "trace must be (N, T <= 64)."),
        ({"score_trace": torch.zeros(6, 2)}, "trace must be (N, T <= 64)."),
        ({"score_trace": torch.zeros(7, 0)}, "trace must be (N, T <= 64)."),
        ({"score_trace": torch.zeros(7, TRACE_LENGTH + 1)}, "trace must be (N, T <= 64)."),
    ],
)
def test_a_wrong_entry_is_named(over, words):
    found, x = result(**over)
    assert sentence(assert_entries, found, x).startswith(words)


def at(value):
    """The images of `result`, one pixel of one of them changed."""
    changed = result()[0].images.clone()
    changed[6, 0, 5, 5] = value
    return changed


@pytest.mark.parametrize("name", ["images", "last_images"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.nan, "images must be finite."),
        (torch.inf, "images must be finite."),
        (1.001, "images must stay in [0, 1]."),
        (-0.001, "images must stay in [0, 1]."),
        (1.0, "an image is 0.559"),
    ],
)
def test_an_image_outside_is_told(name, value, words):
    found, x = result(**{name: at(value)})
    assert sentence(assert_inside, found, x, BALL).startswith(words)


def test_a_radius_may_be_missed_by_a_rounding_and_no_more_and_the_norm_says_the_distance():
    found, x = result()
    assert_inside(found, x, Setting(Norm.L2, 0.25))
    assert_inside(found, x, Setting(Norm.LINF, 0.25 / (1 + 0.9e-5)))
    said = sentence(assert_inside, found, x, Setting(Norm.L2, 0.25 / (1 + 1.2e-5)))
    assert said.startswith("an image is 0.25 away, eps is 0.2499")
    assert sentence(assert_inside, replace(found, norm=found.norm * 1.001), x, BALL).startswith("`norm` must be")
    two = found.images.clone()
    two[:, 0, 0, 1] = 0.75
    away = replace(found, images=two, norm=torch.full((7,), 0.25))
    assert_inside(away, x, Setting(Norm.LINF, EPS))
    assert sentence(assert_inside, away, x, Setting(None, None)).startswith("`norm` must be")


@pytest.mark.parametrize("name", ["images", "last_images", "score_trace", "gradients", "queries", "norm"])
def test_one_number_that_differs_between_two_runs_is_named(name):
    found, _ = result()
    order = torch.tensor([6, 2, 5])
    part = {each: getattr(found, each)[order].clone() for each in ("images", "last_images", "score_trace", "norm")}
    part |= {each: getattr(found, each)[order].clone() for each in ("gradients", "queries")}
    part |= {"status": found.status[:3], "figures": {"mape": torch.full((3,), torch.nan)}}
    same = AttackResult(**part)
    assert_same(found, same, order)
    changed = getattr(same, name).clone()
    changed.view(-1)[-1] += 1
    said = sentence(assert_same, found, replace(same, **{name: changed}), order)
    assert said.startswith(f"`{name}` depends on the other samples of the call or on their order.")
    cut = replace(same, **{name: getattr(same, name)[:2]})
    assert sentence(assert_same, found, cut, order).startswith(f"`{name}` depends")


def test_figures_and_statuses_that_differ_are_named():
    found, _ = result()
    order = torch.arange(7)
    figures = {"mape": torch.tensor([0.0] + [torch.nan] * 6)}
    assert sentence(assert_same, found, replace(found, figures=figures), order).startswith("the figure `mape` depends")
    other = next(status for status in Status if status is not found.status[0])
    said = sentence(assert_same, found, replace(found, status=[*found.status[:6], other]), order)
    assert said.startswith("`status` depends on the other samples of the call.")


TRACES = {
    "the global random state changed.": lambda detector, x: torch.rand(1),
    "train or evaluation mode changed.": lambda detector, x: detector.eval(),
    "requires_grad or gradients changed.": lambda detector, x: detector.requires_grad_(False),
    "parameters changed.": lambda detector, x: detector.weight.data.add_(1.0),
    "the input changed.": lambda detector, x: x.mul_(0.5),
}


@pytest.mark.parametrize("words", TRACES)
def test_what_an_attack_leaves_behind_is_named(words):
    x, _ = images()
    assert_no_trace(LinearScore(), x, lambda detector: detector.score(x))
    state = torch.get_rng_state()
    said = sentence(assert_no_trace, LinearScore(), x, lambda detector: TRACES[words](detector, x))
    torch.set_rng_state(state)
    assert said.startswith(words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda detector, x: detector.dropout.train(), "train or evaluation mode changed."),
        (lambda detector, x: detector.score(x).sum().backward(), "requires_grad or gradients changed."),
        (lambda detector, x: x.requires_grad_(True), "the input changed."),
    ],
)
def test_so_is_the_half_of_it(change, words):
    x, _ = images()
    assert sentence(assert_no_trace, LinearScore(), x, lambda detector: change(detector, x)).startswith(words)


# --------------------------------------------------------------------------- what attacks are tried on


def test_the_images_have_both_walls_of_the_box_and_stay_the_same():
    x, ids = images()
    assert (x.shape, ids.tolist()) == ((7, *SHAPE), [5 + 1009 * k for k in range(7)])
    black, white = (x == 0).double().mean(), (x == 1).double().mean()
    assert 0.2 < black < 0.4 and 0.08 < white < 0.25
    assert not ((x > 0) & (x < 0.3)).any() and not ((x > 0.85) & (x < 1)).any()
    assert torch.equal(images()[0], x)
    assert pool().shape == (5, *SHAPE)
    assert (pool()[:, 0, 0, 0] == 0).all() and (pool()[:, 0, 0, 1] > 0).all()
    for draw in (1, 2):
        away = (elsewhere(draw) - x).abs()
        assert 0.15 < away.max() <= 0.2 + 1e-6
    assert not torch.equal(elsewhere(1), elsewhere(2))


def test_closed_forms_are_what_they_say():
    x, _ = images()
    flat = x.flatten(1)
    first, centre = closed_forms.fixed_numbers(1), closed_forms.fixed_numbers(2)
    linear = flat @ (first - 0.5)
    assert torch.allclose(LinearScore().eval().score(x), linear, atol=1e-5)
    assert torch.allclose(QuadraticScore().score(x), -(flat - centre).square().sum(1), atol=1e-5)
    rounded = RoundedScore().eval()
    assert torch.allclose(rounded.score(x), (linear * 4).round() / 4, atol=1e-5)
    assert torch.allclose(rounded.objective(x), linear, atol=1e-5)
    assert FlatScore().score(x).tolist() == [0.0] * 7
    edge = x[:3].clone()
    edge[:, 0, 0, 0] = torch.tensor([0.5, 0.51, 0.0])
    assert PoisonedScore().eval().score(edge).isnan().tolist() == [False, True, False]
    means = torch.stack([closed_forms.fixed_numbers(draw) for draw in (3, 4, 5)]).double()
    normal = torch.distributions.Normal(means[:, None], 0.5).log_prob(flat.double()).sum(2)
    density = (normal + torch.tensor([0.5, 0.3, 0.2]).double().log()[:, None]).logsumexp(0)
    assert torch.allclose(MixtureScore().score(x).double(), density, atol=1e-3)  # sums of 36 float32 squares
    assert (LinearScore().shape, LinearScore().classes) == ((1, 6, 6), 2)


def test_classifiers_are_what_they_say():
    x, _ = images()
    linear = LinearClassifier().eval()
    rows = torch.stack([closed_forms.fixed_numbers(20 + label) - 0.5 for label in range(4)])
    rows[:, 0] = 0
    logits = x.flatten(1) @ rows.T
    assert (CLASSES, linear.classes) == (4, 4)
    assert torch.allclose(linear.logits(x), logits, atol=1e-5)
    lacking = logits - logits.amax(1, keepdim=True)
    assert torch.allclose(linear.class_scores(x), linear.score(x)[:, None] + lacking, atol=1e-5)
    quadratic = QuadraticClassifier(1.5)
    distance = (x.flatten(1) - closed_forms.fixed_numbers(2)).norm(dim=1)
    assert torch.allclose(quadratic.logits(x)[:, 1], 2.25 - distance.square(), atol=1e-5)
    assert quadratic.logits(x)[:, 0].tolist() == [0.0] * 7
    assert torch.allclose(quadratic.minimal_norm(x), distance.double() - 1.5, atol=1e-5)
    assert QuadraticClassifier().radius == 1.0
    assert FlatClassifier().logits(x).tolist() == [[0.0] * 4] * 7
    edge = x[:3].clone()
    edge[:, 0, 0, 0] = torch.tensor([0.5, 0.51, 0.0])
    assert PoisonedClassifier().eval().logits(edge).isnan().all(1).tolist() == [False, True, False]


def test_the_nearest_misclassified_image_of_a_linear_classifier_is_found_inside_the_box():
    x = torch.full((7, *SHAPE), 0.5)
    detector = LinearClassifier().eval()
    logits = detector.logits(x).double()
    labels = logits.argmax(1)
    rows = detector.rows.detach().double()
    slopes = rows - rows[labels[0]]
    plain = ((logits[0, labels[0]] - logits[0]) / slopes.norm(dim=1))[torch.arange(4) != labels[0]].min()
    # in the middle of the box the walls are far: the distance is that to the nearest half-space
    assert torch.allclose(detector.minimal_norm(x, labels), plain.expand(7), rtol=1e-4)
    white = torch.ones(1, *SHAPE)
    own = detector.logits(white).argmax(1)
    assert detector.minimal_norm(white, own) > 0


def test_one_sample_is_mislabelled_and_the_threshold_accepts_five_of_seven():
    x, _ = images()
    for detector in (LinearClassifier().eval(), QuadraticClassifier()):
        predicted = detector.logits(x).argmax(1)
        labels = true_labels(detector)
        assert (labels != predicted).nonzero().flatten().tolist() == [MISLABELLED] == [4]
        context = fool_context(detector, FoolSetting(Norm.L2, 1.0), labels)
        assert int((detector.score(x) >= context.acceptance.overall).sum()) == 5
        scores = detector.score(x).detach().sort().values
        assert context.acceptance.scale == pytest.approx(float(scores[5] - scores[1]))
    reached = judged(LinearClassifier(), x, FoolSetting(Norm.L2, 1.0)) > 0
    assert reached.nonzero().flatten().tolist() == [4]


# --------------------------------------------------------------------------- lists of checks

COMMON = [
    "returns_one_entry_a_sample", "stays_inside_ball_and_box", "never_ends_worse_than_it_started",
    "is_independent_of_batch_mates_and_order", "is_the_same_for_the_same_seed", "leaves_no_trace_behind",
    "survives_scores_that_are_nan", "survives_scores_without_gradient", "lowers_scores_as_it_raises_them",
    "stops_early_only_beyond_the_target", "takes_an_empty_batch",
]  # fmt: skip
OPTIMA = ["reaches_the_optimum_of_linear_scores", "reaches_the_optimum_of_quadratic_scores"]


def test_the_checks_are_these():
    assert [check.__name__ for check in threat_checks()] == COMMON
    assert [check.__name__ for check in threat_checks(gradient=True)] == COMMON + OPTIMA
    near = {"answers_with_a_success_or_the_clean_image", "leaves_misclassified_images_alone"}
    ball = {"never_ends_less_fooled_than_it_started", "stops_early_only_past_the_decision"}
    nearest, within = ({check.__name__ for check in fool_checks(min_norm=flag)} for flag in (True, False))
    assert (nearest - within, within - nearest, len(nearest & within)) == (near, ball, 9)


class Sitting(Threat):
    """Leaves every image where it is."""

    def attack(self, detector, x, *, ids, budget, context):
        return Clean().attack(detector, x, ids=ids, budget=budget, context=context)


def changed(**over):
    """A threat whose results have something else in these fields."""

    class Changed(Threat):
        def attack(self, detector, x, *, ids, budget, context):
            params = PGDParams(steps=3, restarts=1)
            found = PGD(params).attack(detector, x, ids=ids, budget=budget, context=context)
            return replace(found, **{name: make(found, detector, x, context) for name, make in over.items()})

    return Changed()


WRONG = {
    "the trace of an evasion must never fall.": {"score_trace": lambda r, *_: r.score_trace.flip(1) + 0.0},
    "the trace must end at the best image's score.": {"score_trace": lambda r, *_: r.score_trace + 1.0},
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_trace_is_told(words):
    check = threat_checks()[0]
    check(changed(), BALL)
    assert sentence(check, changed(**WRONG[words]), BALL).startswith(words)


def test_nothing_found_on_a_constant_score_needs_its_status():
    check = threats.survives_scores_without_gradient
    check(changed(), BALL)
    fine = {"status": lambda r, d, x, c: [Status.STOPPED] * len(x)}
    assert sentence(check, changed(**fine), BALL).startswith("a gradient that is zero everywhere needs NO_GRADIENT.")
    moved = {"images": lambda r, d, x, c: (x + 0.01).clamp(0, 1)}
    assert sentence(check, changed(**moved), BALL).startswith("nothing can be gained on a constant score")
    check(Sitting(), BALL)  # which spends no gradient, and so may say what it likes


@pytest.mark.parametrize(
    "over",
    [
        {"images": lambda r, d, x, c: torch.zeros(0, 1, 6, 5) if len(x) == 0 else r.images},
        {"status": lambda r, d, x, c: r.status or [Status.COMPLETED]},
    ],
)
def test_no_images_have_no_entries_of_the_shape_of_images(over):
    threats.takes_an_empty_batch(changed(), BALL)
    assert sentence(threats.takes_an_empty_batch, changed(**over), BALL).startswith("no images must give no entries.")


def test_an_optimum_is_missed_by_its_share_of_the_gain():
    said = sentence(threats.reaches_the_optimum_of_linear_scores, Sitting(), BALL)
    assert said.startswith("1.0e+00 of the possible gain was missed.")
    for broken in (Setting(None, 0.1), Setting(Norm.L2, None)):
        assert sentence(threats.reaches_the_optimum_of_quadratic_scores, PGD(), broken).startswith("closed-form optima")


def test_the_samples_that_are_chosen_are_attacked_with_their_own_ids():
    whole = attack(PGD(PGDParams(steps=3, restarts=2)), LinearScore(), BALL)
    part = attack(PGD(PGDParams(steps=3, restarts=2)), LinearScore(), BALL, choice=torch.tensor([6, 2]))
    assert torch.equal(part.images, whole.images[[6, 2]])
    alarm = attack(PGD(PGDParams(steps=3, restarts=2)), LinearScore(), BALL, side=Side.ALARM)
    assert (alarm.score_trace[:, -1] < whole.score_trace[:, -1]).all()
    check_threat(PGD(PGDParams(steps=6, restarts=2)), norm=Norm.LINF, eps=0.1)
    with pytest.raises(AssertionError):
        check_fool_threat(changed(norm=lambda r, *_: r.norm + 1), FoolSetting(Norm.L2, EPS))
