"""Foolbox's DeepFool and Carlini-Wagner are the references that ours must not fall behind on a network."""

import foolbox
import pytest
import torch
from torch import Tensor, nn

from bench.cards.threat import Norm
from bench.testing.closed_forms import LinearScore
from bench.testing.fool_threats import MISLABELLED, FoolSetting, fool, judged, true_labels
from bench.testing.threats import images
from bench.threat_models import geometry
from bench.threat_models.cw import CarliniWagner, CWParams
from bench.threat_models.deepfool import DeepFool

NEAREST = FoolSetting(Norm.L2, None)
CORRECT = torch.tensor([i for i in range(7) if i != MISLABELLED])


class CurvedClassifier(LinearScore):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.Tanh(), nn.Linear(40, 5))
        for parameter in self.body.parameters():
            parameter.data *= 3  # decision boundaries inside the box, and curved

    def logits(self, x):
        return self.body(x)


def theirs(attack, detector: CurvedClassifier) -> Tensor:
    """(7,) distances of foolbox's images; infinite where it found none (its Carlini-Wagner returns black images)."""
    x, _ = images()
    labels = true_labels(detector)
    model = foolbox.PyTorchModel(detector.body.eval(), bounds=(0, 1), device="cpu")
    _, found, _ = attack(model, x, labels, epsilons=None)
    fooled = detector.logits(found).argmax(dim=1) != labels
    return torch.where(fooled, geometry.distance(found, x, Norm.L2), torch.inf)


def ours(threat, detector: CurvedClassifier) -> Tensor:
    result = fool(threat, detector, NEAREST, micro_batch=8)
    return torch.where(judged(detector, result.images, NEAREST) > 0, result.norm, torch.inf)


def test_deepfool_on_a_network_comes_as_near_as_foolbox() -> None:
    detector = CurvedClassifier()
    reference = theirs(foolbox.attacks.L2DeepFoolAttack(overshoot=0.02), detector)[CORRECT]
    found = ours(DeepFool(), detector)[CORRECT]
    # Foolbox lengthens every step by 1e-4, and may so take one linearisation less or more.
    assert found.tolist() == pytest.approx(reference.tolist(), rel=0.03)


def test_carlini_wagner_on_a_network_comes_as_near_as_foolbox_with_as_many_gradients() -> None:
    detector = CurvedClassifier()
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=6, steps=200, stepsize=0.05, initial_const=0.1, abort_early=False
    )
    reference = theirs(attack, detector)[CORRECT]
    found = ours(CarliniWagner(CWParams(abort_early=False)), detector)[CORRECT]
    # An image may end at another local minimum, for either of them.
    assert found.median() <= reference.median()
    assert (found <= 1.05 * reference).all()


def test_carlini_wagner_is_hardly_ever_farther_than_deepfool() -> None:
    detector = CurvedClassifier()
    near, far = (ours(threat, detector)[CORRECT] for threat in (CarliniWagner(), DeepFool()))
    assert near.median() <= far.median()
    assert (near <= far * 1.01).all()  # DeepFool may end at another, nearer boundary by chance
