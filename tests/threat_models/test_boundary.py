"""The boundary attack comes near the nearest image that fools, by decisions alone, every sample by itself."""

from dataclasses import replace

import foolbox
import pytest
import torch
from torch import Tensor, nn

from bench.cards.threat import Goal, Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.errors import UsageError
from bench.testing.closed_forms import SHAPE, fixed_numbers
from bench.testing.fool_threats import FoolCheck, FoolSetting, fool_checks
from bench.testing.threats import images
from bench.threat_models.base import Acceptance, Budget, Context, Status
from bench.threat_models.boundary import Boundary, BoundaryParams, Targeted, along_sphere

BUDGET = Budget(Norm.L2, None)
SAMPLES = 7


class Linear(Detector):
    """Class 1 beyond a plane; the score says how bright the image is."""

    info = DetectorInfo(classifier=False)

    def __init__(self, weight: Tensor, bias: float, scale: float = 1.0) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        self.register_buffer("weight", weight)
        self.bias, self.scale = bias, scale

    def logits(self, x):
        side = (x.flatten(1) * self.weight).sum(dim=1) - self.bias
        return torch.stack([torch.zeros_like(side), self.scale * side], dim=1)

    def score(self, x, *, noise=None):
        return x.flatten(1).sum(dim=1)


class Curved(Detector):
    info = DetectorInfo(classifier=False)

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=3, params=DetectorParams())
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.Tanh(), nn.Linear(40, 3))

    def logits(self, x):
        return self.body(8.0 * (x - 0.5))

    def score(self, x, *, noise=None):
        return -x.flatten(1).sum(dim=1)


def plane() -> tuple[Tensor, float]:
    """A plane that has all clean images on one side."""
    weight = fixed_numbers(1) - 0.3
    x, _ = images()
    return weight, float((x.flatten(1) @ weight).max()) + 0.8


def pool() -> Tensor:
    return Context(Side.FOOL, seed=4).uniform(torch.arange(40) + 10_000, 0, SHAPE)


def bright_pool() -> Tensor:
    """Images beyond the plane: bright where its weights are positive."""
    weight, _ = plane()
    toward = (weight > 0).float().view(1, *SHAPE)
    return (0.2 * pool() + 0.8 * toward).clamp(0, 1)


def run(detector: Detector, threat: Boundary, *, choice: Tensor | None = None, **changes):
    x, ids = images()
    with torch.no_grad():
        labels = detector.logits(x).argmax(dim=1)
    context = Context(Side.FOOL, seed=7, labels=labels, pool=bright_pool(), micro_batch=4)
    context = replace(context, **changes)
    if choice is not None:
        x, ids, context = x[choice], ids[choice], replace(context, labels=context.labels[choice])
    return x, threat.run(detector.eval(), x, ids=ids, budget=BUDGET, context=context)


def minimal_norms(x: Tensor, weight: Tensor, bias: float) -> Tensor:
    """Distance to a plane inside the box: the nearest point is clip(x + t w), by the conditions of optimality."""
    flat, w = x.flatten(1).double(), weight.double()
    low, high = torch.zeros(len(x), 1).double(), torch.full((len(x), 1), 1e3).double()
    for _ in range(80):
        middle = (low + high) / 2
        short = ((flat + middle * w).clamp(0, 1) @ w)[:, None] < bias
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return ((flat + high * w).clamp(0, 1) - flat).norm(dim=1)


def test_the_default_budget_comes_within_a_tenth_of_the_minimal_norm() -> None:
    weight, bias = plane()
    x, result = run(Linear(weight, bias), Boundary())
    shortest = minimal_norms(x, weight, bias)
    assert (result.norm >= 0.999 * shortest).all()
    assert (result.norm <= 1.1 * shortest).all()
    assert result.status == [Status.COMPLETED] * SAMPLES
    assert result.queries.max() < 27_500 and result.gradients.sum() == 0


def test_the_images_found_fool_and_their_norm_is_said() -> None:
    detector = Curved()
    x, result = run(detector, Boundary(BoundaryParams(steps=200)), pool=pool())
    with torch.no_grad():
        assert (detector.logits(result.images).argmax(dim=1) != detector.logits(x).argmax(dim=1)).all()
    assert torch.allclose(result.norm, (result.images - x).flatten(1).norm(dim=1), rtol=1e-5)
    assert ((result.images >= 0) & (result.images <= 1)).all()


def test_more_steps_never_end_farther_away() -> None:
    norms = [run(Curved(), Boundary(BoundaryParams(steps=steps)), pool=pool())[1].norm for steps in (1, 30, 300)]
    assert (norms[0] >= norms[1]).all() and (norms[1] >= norms[2]).all() and (norms[0] > norms[2]).any()


def test_only_decisions_count() -> None:
    weight, bias = plane()
    threat = Boundary(BoundaryParams(steps=50))
    plain, steep = (run(Linear(weight, bias, scale), threat)[1] for scale in (1.0, 16.0))
    assert torch.equal(plain.images, steep.images)


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("check", fool_checks(min_norm=True), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: FoolCheck, goal: Goal) -> None:
    check(Boundary(BoundaryParams(steps=30)), FoolSetting(Norm.L2, None, goal))


def test_a_sample_without_a_start_fails_alone() -> None:
    weight, bias = plane()
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0])  # the fourth is misclassified as it is; all of the pool is class 1
    x, result = run(Linear(weight, bias), Boundary(BoundaryParams(steps=20)), labels=labels)
    assert result.status == [Status.COMPLETED] * SAMPLES and result.norm[3] == 0
    nowhere = Linear(weight, bias + 100)
    x, result = run(nowhere, Boundary(BoundaryParams(steps=20)), labels=labels)
    assert result.status == [Status.FAILED] * 3 + [Status.COMPLETED] + [Status.FAILED] * 3
    assert torch.equal(result.images, x)


def test_starts_of_another_label_and_near_ones_come_first() -> None:
    weight, bias = plane()
    x, _ = images()
    far = torch.cat([x[:1], bright_pool()])  # the clean image itself is the nearest one, and of no use
    labels = torch.tensor([0] + [1] * 40)
    threat = Boundary(BoundaryParams(steps=1, starts=1))
    assert run(Linear(weight, bias), threat, pool=far, pool_labels=labels)[1].status[0] is Status.COMPLETED
    assert run(Linear(weight, bias), threat, pool=far)[1].status[0] is Status.FAILED


@pytest.mark.parametrize("targeted", [Targeted.NEXT, Targeted.RANDOM])
def test_a_targeted_walk_ends_in_the_target_class(targeted: Targeted) -> None:
    detector = Curved()
    x, result = run(detector, Boundary(BoundaryParams(steps=100, targeted=targeted)), pool=pool())
    found = torch.tensor([status is Status.COMPLETED for status in result.status])
    assert found.any()
    with torch.no_grad():
        was, now = (detector.logits(points).argmax(dim=1)[found] for points in (x, result.images))
    assert (now != was).all()
    if targeted is Targeted.NEXT:
        assert torch.equal(now, (was + 1) % 3)


def test_a_targeted_walk_asks_a_classifier_about_no_empty_batch() -> None:
    class Busy(Curved):
        def logits(self, x):
            return super().logits(x - 0 * x.amin())  # there is no least of nothing

    threat = Boundary(BoundaryParams(steps=5, targeted=Targeted.NEXT))
    assert torch.equal(run(Busy(), threat, pool=pool())[1].images, run(Curved(), threat, pool=pool())[1].images)


def test_where_acceptance_is_the_goal_every_image_found_is_accepted() -> None:
    detector = Curved()
    threshold = -17.0
    _, plain = run(detector, Boundary(BoundaryParams(steps=150)), pool=pool())
    acceptance = Acceptance(overall=threshold)
    _, both = run(detector, Boundary(BoundaryParams(steps=150)), pool=pool(), goal=Goal.ACCEPT, acceptance=acceptance)
    found = torch.tensor([status is Status.COMPLETED for status in both.status])
    assert found.any()
    with torch.no_grad():
        assert (detector.score(both.images)[found] > threshold).all()
        assert (detector.score(plain.images) <= threshold).any()  # or the goal would ask for nothing


def test_a_step_along_the_sphere_keeps_the_distance_and_turns_by_the_angle() -> None:
    numbers = torch.stack([fixed_numbers(draw) for draw in range(5, 9)]).double()
    x, y, noise = 0.4 + 0.1 * numbers[:1], 0.4 + 0.2 * numbers[1:2], numbers[2:3] - 0.5
    moved = along_sphere(x, y, noise, torch.tensor([0.3]).double())
    before, after = (y - x)[0], (moved - x)[0]
    assert torch.allclose(before.norm(), after.norm(), rtol=1e-12)
    cosine = before @ after / before.norm() ** 2
    assert torch.allclose(torch.tan(torch.acos(cosine)), torch.tensor(0.3).double(), rtol=1e-6)


def test_it_is_not_behind_foolbox_at_equal_queries() -> None:
    detector, steps = Curved().eval(), 600
    x, _ = images()
    _, ours = run(detector, Boundary(BoundaryParams(steps=steps)), pool=pool())

    class Classifier(nn.Module):
        def forward(self, points):
            return detector.logits(points)

    with torch.no_grad():
        labels, taken = detector.logits(x).argmax(dim=1), detector.logits(pool()).argmax(dim=1)
    starts = torch.stack(
        [
            min((p for p, k in zip(pool(), taken, strict=True) if k != label), key=lambda p, i=i: float((p - i).norm()))
            for i, label in zip(x, labels, strict=True)
        ]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attack = foolbox.attacks.BoundaryAttack(steps=steps)
        model = foolbox.PyTorchModel(Classifier().eval(), bounds=(0, 1), device="cpu")
        theirs = attack.run(model, x, labels, starting_points=starts)
    assert ours.queries.max() <= 1.1 * steps + 60  # and what finding a start costs
    assert ours.norm.median() <= (theirs - x).flatten(1).norm(dim=1).median()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": Side.EVADE}, "choose --side fool"),
        ({"labels": None}, "needs the labels"),
        ({"pool": None}, "in-distribution images"),
    ],
)
def test_what_it_cannot_do_without_is_asked_for_in_one_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(Curved(), Boundary(BoundaryParams(steps=1)), **changes)


def test_another_norm_is_refused() -> None:
    x, ids = images()
    with pytest.raises(UsageError, match="L2"):
        Boundary().run(Curved(), x, ids=ids, budget=Budget(Norm.LINF, None), context=Context(Side.FOOL))
