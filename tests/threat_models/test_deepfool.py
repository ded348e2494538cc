"""DeepFool is exact on linear classifiers, and elsewhere the algorithm of its paper."""

import pytest
import torch

from bench.cards.threat import Norm
from bench.testing.classifiers import LinearClassifier, QuadraticClassifier
from bench.testing.fool_threats import FoolSetting, fool, judged, true_labels
from bench.testing.threats import images
from bench.threat_models.deepfool import DeepFool, DeepFoolParams, nearest_boundary

NEAREST = FoolSetting(Norm.L2, None)


def inner() -> torch.Tensor:
    """The images, moved so far from the walls of the box that no step meets them."""
    return 0.3 + 0.4 * images()[0]


@pytest.mark.parametrize("overshoot", [0.0, 0.02, 0.2])
def test_the_nearest_image_of_a_linear_classifier_is_met_up_to_the_overshoot(overshoot: float) -> None:
    detector, x = LinearClassifier(), inner()
    labels = detector.logits(x).argmax(dim=1)
    result = fool(DeepFool(DeepFoolParams(overshoot=overshoot)), detector, NEAREST, x=x, labels=labels)
    assert (judged(detector, result.images, NEAREST, labels) > 0).all()
    ideal = detector.minimal_norm(x, labels).float() * (1 + overshoot)
    # Without overshoot a step ends on the boundary itself, and one as long as a few roundings crosses it.
    assert torch.allclose(result.norm, ideal, rtol=1e-4, atol=1e-5)


def test_one_step_suffices_on_a_linear_classifier() -> None:
    detector, x = LinearClassifier(), inner()
    labels = detector.logits(x).argmax(dim=1)
    result = fool(DeepFool(DeepFoolParams(steps=1)), detector, NEAREST, x=x, labels=labels)
    assert (judged(detector, result.images, NEAREST, labels) > 0).all()
    assert result.gradients.tolist() == [4] * len(x)


def test_the_box_binds_and_is_not_far_from_the_nearest_image() -> None:
    detector = LinearClassifier()
    result = fool(DeepFool(), detector, NEAREST)
    ideal = detector.minimal_norm(images()[0], true_labels(detector))
    correct = torch.isfinite(ideal) & (result.norm > 0)
    assert (judged(detector, result.images, NEAREST) > 0).all()
    assert (result.norm[correct] <= 1.1 * ideal[correct]).all()


def reference(detector: QuadraticClassifier, x: torch.Tensor, overshoot: float, steps: int) -> torch.Tensor:
    """Algorithm 1 of the paper for two classes, for one image in float64, with the overshoot at every step."""
    center = detector.center.double()
    start, total = x.flatten().double(), torch.zeros(36, dtype=torch.float64)
    y = start.clone()
    for _ in range(steps):
        f = detector.radius**2 - float(sum((y - center) ** 2))
        if f > 0:
            break
        slope = -2 * (y - center)
        total += -f / float(sum(slope**2)) * slope
        y = start + (1 + overshoot) * total
    return y


def test_steps_are_those_of_the_paper() -> None:
    detector = QuadraticClassifier(0.8)
    x = inner()
    labels = torch.zeros(len(x), dtype=torch.int64)
    result = fool(DeepFool(), detector, NEAREST, x=x, labels=labels)
    for i in range(len(x)):
        expected = reference(detector, x[i], 0.02, 50)
        assert torch.allclose(result.images[i].flatten().double(), expected, atol=1e-5)


def test_the_nearest_of_several_boundaries_is_chosen() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.5]])
    gradients = torch.zeros(1, 3, 1, 1, 2)
    gradients[0, 1, 0, 0] = torch.tensor([0.0, 4.0])  # 1 / 4 away
    gradients[0, 2, 0, 0] = torch.tensor([1.0, 0.0])  # 0.5 / 1 away
    assert torch.allclose(nearest_boundary(logits, gradients).flatten(), torch.tensor([0.0, 0.25]))


def test_only_the_candidates_are_considered() -> None:
    detector, x = LinearClassifier(), inner()
    logits = detector.logits(x)
    labels = logits.argmax(dim=1)
    result = fool(DeepFool(DeepFoolParams(candidates=1)), detector, NEAREST, x=x, labels=labels)
    second = logits.topk(2, dim=1).indices[:, 1]
    # At the end the two are about equal, and the others are wherever they are: the first step aims at the second class.
    slope = detector.rows[second] - detector.rows[labels]
    moved = (result.images - x).flatten(1)
    cosine = torch.nn.functional.cosine_similarity(moved, slope)
    assert cosine.min() >= 1 - 1e-4
