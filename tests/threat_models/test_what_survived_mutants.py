"""Small mistakes in attacks that no other test would see: where walks start, which match is told, signs of balls."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bench.cards.threat import Goal, Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.testing.classifiers import LinearClassifier
from bench.testing.closed_forms import SHAPE
from bench.testing.fool_threats import FoolSetting, fool_context, true_labels
from bench.testing.threats import images, pool
from bench.threat_models.base import Acceptance, Budget, Context, Status
from bench.threat_models.boundary import Boundary, BoundaryParams, Targeted, _Walk
from bench.threat_models.feature_matching import FeatureMatching, FeatureMatchingParams
from bench.threat_models.geometry import project, uniform_in_ball
from bench.threat_models.gradient import Oracle
from bench.threat_models.guides import nearest_guides, ordered_guides
from bench.threat_models.matching import relative_error
from bench.threat_models.nearest import Nearest
from bench.threat_models.objectives import objective_of
from bench.threat_models.pgd import Schedule

ACCEPTED = 0.5
"""The threshold of `Thirds`: the mean of the last two rows."""


class Thirds(Detector):
    """The class is the brightest pair of columns; accepted is what is bright in the last two rows."""

    info = DetectorInfo(classifier=False)

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=3, params=DetectorParams())

    def logits(self, x: Tensor) -> Tensor:
        return 20 * torch.stack([x[..., :4, k : k + 2].mean((1, 2, 3)) for k in (0, 2, 4)], dim=1)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return x[..., 4:, :].mean((1, 2, 3))


def of_class(label: int, *, accepted: bool, seed: int) -> Tensor:
    noise = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.1
    noise[..., :4, 2 * label : 2 * label + 2] += 0.5
    noise[..., 4:, :] += 0.6 if accepted else 0.1
    return noise


def walked(guides: list[Tensor], labels: list[int], targeted: Targeted):
    """Walks from images of class 0, none of them accepted, towards images that are taken for another and accepted."""
    x = torch.stack([of_class(0, accepted=False, seed=k) for k in range(4)])
    context = Context(
        Side.FOOL, seed=3, labels=torch.zeros(4, dtype=torch.int64), pool=torch.stack(guides),
        pool_labels=torch.tensor(labels), goal=Goal.ACCEPT, acceptance=Acceptance(overall=ACCEPTED), micro_batch=4,
    )  # fmt: skip
    threat = Boundary(BoundaryParams(steps=60, targeted=targeted))
    return x, threat.run(Thirds(), x, ids=torch.arange(4), budget=Budget(Norm.L2, None), context=context)


@pytest.mark.parametrize("targeted", list(Targeted))
def test_no_walk_starts_from_an_image_that_the_detector_does_not_accept(targeted):
    guides = [of_class(k, accepted=False, seed=10 + k) for k in (1, 2, 1, 2)]
    x, result = walked(guides, [1, 2, 1, 2], targeted)
    assert result.status == [Status.FAILED] * 4
    assert torch.equal(result.images, x)


@pytest.mark.parametrize("targeted", list(Targeted))
def test_a_walk_passes_over_near_images_that_are_not_accepted_and_ends_with_an_accepted_one(targeted):
    near = [of_class(k, accepted=False, seed=10 + k) for k in (1, 2)]
    far = [of_class(k, accepted=True, seed=20 + k) for k in (1, 2)]
    _, result = walked([*near, *far], [1, 2, 1, 2], targeted)
    detector = Thirds()
    assert result.status == [Status.COMPLETED] * 4
    assert (detector.score(result.images) >= ACCEPTED).all()
    found = detector.logits(result.images).argmax(dim=1)
    assert (found != 0).all()
    if targeted is Targeted.NEXT:
        assert (found == 1).all()


class Double(LinearClassifier):
    """Its scores are held in float64, in which they differ by less than float32 can tell."""

    def score(self, x: Tensor) -> Tensor:
        return 1.0 + 1e-12 * super().score(x).double()


def test_an_oracle_judges_in_the_type_that_holds_the_scores():
    detector, (x, ids) = Double().eval(), images()
    context = Context(Side.EVADE, micro_batch=4, precision=torch.float64)
    criterion, direction = Oracle(detector, ids=ids, context=context).evaluate(x)
    assert criterion.dtype == direction.dtype == torch.float64
    assert criterion.tolist() == detector.score(x).tolist() and len(set(criterion.tolist())) > 1


def test_a_walk_begins_at_the_boundary_on_the_straight_line_to_its_start():
    """Of a linear classifier the crossing is known; ten halvings leave a thousandth of the way, on its far side."""
    detector, (x, ids) = LinearClassifier().eval(), images()
    setting = FoolSetting(Norm.L2, None)
    context = replace(fool_context(detector, setting, true_labels(detector)), pool=pool())
    objective = objective_of(detector, ids, context)
    oracle = Oracle(detector, ids=ids, context=context, objective=objective)
    tracker = Nearest(x, iterations=2, context=context)
    walk = _Walk(oracle, tracker, x, ids, context)
    begun = walk.begin(tracker.begin(oracle), nearest_guides(x, context.pool, Norm.L2, len(context.pool)))
    assert len(begun) > 2
    for i in begun.tolist():
        starts = nearest_guides(x[i : i + 1], context.pool, Norm.L2, len(context.pool))[0]
        y = true_labels(detector)[i]
        start = next(p for p in (context.pool[k] for k in starts) if detector.logits(p[None]).argmax() != y)

        def lead(share, i=i, y=y, start=start):
            logits = detector.logits(torch.lerp(x[i], start, share)[None])[0].detach().double()
            return float(torch.cat([logits[:y], logits[y + 1 :]]).max() - logits[y])

        low, high = 0.0, 1.0
        for _ in range(40):
            low, high = (low, (low + high) / 2) if lead((low + high) / 2) > 0 else ((low + high) / 2, high)
        way = float((start - x[i]).norm())
        assert high * way - 1e-5 <= float(walk.distance[i]) <= high * way + way * 2.0**-10 + 1e-5
    begins_at = tracker.result(Budget(Norm.L2, None)).score_trace[begun, 0]
    assert torch.equal(begins_at.abs(), walk.distance[begun])  # the trace begins there too, before the first step


def test_an_image_without_a_finite_direction_is_counted_and_not_attacked():
    context, x = Context(Side.FOOL), torch.full((4, *SHAPE), 0.5)
    tracker = Nearest(x, iterations=2, context=context)
    criterion, direction = torch.tensor([-1.0, torch.nan, -1.0, 1.0]), torch.tensor([-1.0, -1.0, torch.inf, 1.0])
    left = tracker.begin(SimpleNamespace(evaluate=lambda images: (criterion, direction)))
    assert left.tolist() == [0]
    assert tracker.non_finite.tolist() == [0, 1, 1, 0]
    assert tracker.queries.tolist() == [1] * 4


class Squares(Detector):
    """Smooth features that large steps overshoot."""

    info = DetectorInfo(classifier=False, matched="logits")

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        self.register_buffer("weight", Context(Side.EVADE, seed=8).noise(torch.arange(3), 0, (36,)))

    def features(self, x: Tensor, at: str) -> Tensor:
        return torch.tanh(x.flatten(1) @ self.weight.T / 3.0)

    def score(self, x: Tensor, *, noise=None) -> Tensor:
        return self.features(x, "logits").sum(dim=1)


def matched(norm: Norm, eps: float, **params):
    x, ids = images()
    settings = FeatureMatchingParams(steps=7, step_size=0.9, schedule=Schedule.CONSTANT, match="logits", **params)
    context = Context(Side.EVADE, seed=7, pool=pool(), micro_batch=4)
    return FeatureMatching(settings).run(Squares(), x, ids=ids, budget=Budget(norm, eps), context=context)


@pytest.mark.parametrize(("norm", "eps"), [(Norm.L2, 1.5), (Norm.LINF, 0.2)])
def test_the_mape_is_that_of_the_closest_match_and_not_of_the_last_iterate(norm, eps):
    """Steps too long for the last iterate to be the closest: more of them only add matches to choose from."""
    x, ids = images()
    detector = Squares()
    guides = pool()[ordered_guides(ids, 1, pool=len(pool()))[:, 0]]
    result = matched(norm, eps, update="plain", noise=0.0, pairing="in-order")
    target, y, errors, losses = detector.features(guides, "logits"), x, [], []
    for _ in range(8):
        leaf = y.clone().requires_grad_(True)
        loss = (detector.features(leaf, "logits") - target).square().sum(dim=1)
        (slope,) = torch.autograd.grad(loss.sum(), leaf)
        errors.append(relative_error(detector.features(y, "logits"), target))
        losses.append(loss.detach())
        down = slope.sign() if norm is Norm.LINF else slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
        y = project(y - 0.9 * eps * down, x, norm, eps)
    closest = torch.stack(losses).argmin(dim=0)
    assert (closest < 7).any()
    expected = torch.stack(errors).gather(0, closest[None])[0]
    assert torch.allclose(result.figures["mape"], expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(expected, errors[-1], rtol=1e-3)


def test_the_mape_of_several_starts_is_the_least_of_them():
    told = [matched(Norm.L2, 1.5, restarts=count).figures["mape"] for count in (1, 2, 3, 4)]
    for fewer, more in itertools.pairwise(told):
        assert (more <= fewer).all()
    assert (told[3] < told[0]).any()


def test_a_start_lies_where_direction_and_radius_say():
    x = torch.full((5, *SHAPE), 0.5)
    ids, context = torch.arange(5), Context(Side.EVADE, seed=2)
    normal, share = context.noise(ids, 2 * 3, SHAPE), context.uniform(ids, 2 * 3 + 1, (1,))
    length = normal.flatten(1).norm(dim=1)[:, None, None, None]
    expected = x + 0.4 * share.pow(1 / 36).view(-1, 1, 1, 1) * normal / length
    torch.testing.assert_close(uniform_in_ball(x, Norm.L2, 0.4, ids=ids, draw=3, context=context), expected)
    cube = x + 0.1 * (2 * context.uniform(ids, 2 * 3, SHAPE) - 1)
    torch.testing.assert_close(uniform_in_ball(x, Norm.LINF, 0.1, ids=ids, draw=3, context=context), cube)


@pytest.mark.parametrize(
    ("seed", "row", "pixels", "reach"), [(63, 216, 36, 1.0), (3, 122, 36, 1.0), (23, 249, 36, 1.0)]
)
def test_the_l2_projection_uses_a_ball_of_a_few_spacings_of_floats(seed, row, pixels, reach):
    """Where rounding hides the rise of the secant, its slope is that from the centre; any other falls 0.5 % short."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(256, pixels, generator=generator)
    z = x + reach * torch.randn(256, pixels, generator=generator)
    y = project(z[row : row + 1], x[row : row + 1], Norm.L2, 3e-6)
    assert float((y.double() - x[row : row + 1].double()).norm()) == pytest.approx(3e-6, rel=1e-3)
