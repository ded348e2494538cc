"""What holds for every detector that runs code of others, whichever way it came in."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from bench.cards.threat import Norm
from bench.detectors.adapters.callable import GivenDetector
from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.detectors.boundary import Bounded, _held, admit
from bench.detectors.energy import Energy
from bench.detectors.networks.base import FromPixels, Network
from bench.errors import UsageError
from bench.threat_models.base import Budget, Context
from bench.threat_models.gradient import Oracle
from bench.threat_models.square import Square, SquareParams

SHAPE = (1, 6, 6)


def given(target) -> Detector:
    return admit(GivenDetector(target, "mine", shape=SHAPE, classes=3, params=DetectorParams()), "mine")


def own(kind: type[Detector]) -> Detector:
    return admit(kind(None, shape=SHAPE, classes=3, params=DetectorParams()), "mine")


@pytest.fixture
def images():
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))


def level(x):
    return x.flatten(1).mean(1)


class Writes(Detector):
    """Each of its methods writes into its images before it looks at them."""

    info = DetectorInfo(classifier=False)

    def score(self, x, *, noise=None):
        return level(x.mul_(2.0))

    def objective(self, x):
        return level(x.mul_(3.0))

    def logits(self, x):
        return x.mul_(2.0).flatten(1)[:, :3]

    def features(self, x, at):
        return x.mul_(2.0).flatten(1)

    def bits_per_dim(self, x):
        return level(x.mul_(2.0))

    def bound(self, x, norm, eps):
        return level(x.mul_(2.0)) + eps


class WritesAsModule(nn.Module):
    score, objective = (lambda self, x: level(x.mul_(2.0))), (lambda self, x: level(x.mul_(3.0)))
    logits = Writes.logits
    bits_per_dim, bound = Writes.bits_per_dim, Writes.bound


@pytest.mark.parametrize("make", [lambda: own(Writes), lambda: given(WritesAsModule())], ids=["Detector", "module"])
def test_what_it_writes_into_its_images_reaches_nobody(make, images):
    detector, before = make(), images.clone()
    asked = {
        "score": detector.score,
        "objective": detector.objective,
        "both": detector.score_and_objective,
        "logits": detector.logits,
        "features": lambda x: detector.features(x, "score"),
        "bits": detector.bits_per_dim,
        "bound": lambda x: detector.bound(x, Norm.L2, 1.0),
    }
    for name, function in asked.items():
        function(images)
        assert torch.equal(images, before), name
    score, objective = detector.score_and_objective(images)
    assert torch.equal(score, level(2 * images)) and torch.equal(objective, level(3 * images))
    leaf = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(detector.objective(leaf).sum(), leaf)
    assert torch.allclose(slope, torch.full_like(slope, 3 / 36))


class WritingNetwork(Network):
    def activations(self, x):
        flat = x.sub_(0.5).flatten(1)
        return {"penultimate": flat, "logits": flat[:, :3]}


def test_a_network_of_others_under_a_score_of_ours_gets_a_copy(images):
    network = FromPixels(WritingNetwork())
    detector = admit(Energy(network, shape=SHAPE, classes=3, params=Energy.Params()), "mine")
    assert isinstance(detector, Bounded)
    before = images.clone()
    first = detector.score(images)
    assert torch.equal(images, before) and torch.equal(detector.score(images), first)
    assert torch.equal(network(images), network(images))


class Quiet(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.weight * level(x)


class UnderInference(Quiet):
    @torch.inference_mode()
    def score(self, x):
        return self.forward(x)


class UnderNoGrad(Quiet):
    @torch.no_grad()
    def score(self, x):
        return self.forward(x)


class Detaches(Quiet):
    def score(self, x):
        return self.weight * level(x.detach())


class ThroughNumpy(Quiet):
    def score(self, x):
        return np.asarray(x.detach().numpy()).mean((1, 2, 3))


class DetachedDetector(Detector):
    def score(self, x, *, noise=None):
        return level(x.detach()) * nn.Parameter(torch.ones(1))


class TakesItsOwnGradient(Quiet):
    """As ODIN does it, by code that asks for no gradient of its caller."""

    def score(self, x):
        with torch.no_grad():
            pass
        x = x.detach().requires_grad_(True)
        level(x**2).sum().backward()
        return level(x.grad)


@pytest.mark.parametrize("kind", [UnderInference, UnderNoGrad, Detaches, ThroughNumpy, TakesItsOwnGradient])
def test_a_score_whose_gradient_does_not_reach_the_images_is_a_black_box(kind, images):
    module = kind()
    detector = given(module)
    assert not detector.info.differentiable
    leaf = images.clone().requires_grad_(True)
    scores = detector.score(leaf)
    assert not scores.requires_grad and scores.shape == (5,)
    scores.mul_(2.0)  # not a tensor of inference mode
    assert module.weight.grad is None


def test_an_own_detector_without_a_gradient_is_a_black_box_whatever_it_declares():
    assert DetachedDetector.info.differentiable and not own(DetachedDetector).info.differentiable


def test_a_gradient_that_is_zero_at_some_images_only_is_one():
    detector = given(lambda x: torch.relu(level(x) - 0.85))
    assert detector.info.differentiable and not detector.flat


def test_a_gradient_that_is_zero_at_every_made_up_image_is_looked_for_elsewhere(images):
    steps = given(lambda x: (255 * level(x)).round() + 0 * level(x))
    assert steps.info.differentiable and steps.flat and not steps.gives_gradients(images)
    dark = given(lambda x: torch.relu(0.01 - level(x)))
    assert dark.flat and dark.gives_gradients(torch.zeros(2, *SHAPE))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: x, r"returns shape \(2, 1, 6, 6\) for 2 images; return \(N,\) scores"),
        (lambda x: level(x).sum(), r"returns shape \(1,\) for 2 images"),
        (lambda x: level(x)[:1], r"returns shape \(1,\) for 2 images"),
        (lambda x: level(x) * torch.nan, "returns NaN"),
        (lambda x: level(x).to(torch.complex64), "return real numbers"),
        (lambda x: "high", "returns something of type str"),
        (lambda x: {"a": level(x), "b": level(x)}, r"of type dict with a: \(2,\), b: \(2,\)"),
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
        (3, "is of type int"),
        (Quiet, "is a class"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(function, sentence):
    with pytest.raises(UsageError, match=sentence) as error:
        given(function)
    assert "\n" not in str(error.value) and str(error.value).startswith("mine")


class TwoScores(Detector):
    def score(self, x, *, noise=None):
        return x.flatten(1)[:, :2]


def test_an_own_detector_of_another_shape_is_one_sentence():
    with pytest.raises(UsageError, match=r"mine: score returns shape \(2, 2\) for 2 images; return \(N,\)"):
        own(TwoScores)


class Output:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: logits,
        Output,
        lambda logits: {"logits": logits, "hidden": torch.zeros(len(logits), 9)},
        lambda logits: {"out": logits, "aux": torch.zeros(len(logits), 9)},
        lambda logits: (logits, torch.zeros(len(logits), 9)),
        lambda logits: [logits],
    ],
)
def test_logits_are_read_out_of_what_holds_them(wrap, images):
    detector = given(lambda x: wrap(x.flatten(1)[:, :3]))
    assert detector.info.classifier and detector.info.differentiable
    assert torch.equal(detector.logits(images), images.flatten(1)[:, :3])
    assert torch.allclose(detector.score(images), torch.logsumexp(images.flatten(1)[:, :3], 1))


def test_a_layer_named_logits_is_no_method(images):
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Linear(36, 3)

        def forward(self, x):
            return self.logits(x.flatten(1))

    model = Classifier()
    assert torch.allclose(given(model).logits(images), model(images))


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float64),
    ],
)
def test_scores_are_held_in_a_type_that_loses_nothing(kind, held, images):
    detector = given(lambda x: (100 * level(x)).to(kind))
    assert detector.precision == held and detector.score(images).dtype == held
    assert torch.equal(detector.score(images), (100 * level(images)).to(kind).to(held))


def test_an_attack_tells_float64_scores_apart_that_are_one_number_in_float32(images):
    near = lambda x: x.double()[..., :3].mean((1, 2, 3)) - x.double()[..., 3:].mean((1, 2, 3))  # noqa: E731
    runs = []
    for function in (near, lambda x: 1e-4 * near(x) - 250_000.0):
        detector = given(function)
        context = Context(side="evade", micro_batch=8, precision=detector.precision)
        attack = Square(SquareParams(queries=20, restarts=1))
        runs.append(attack.run(detector, images, ids=torch.arange(5), budget=Budget(Norm.LINF, 0.1), context=context))
    assert torch.equal(runs[0].images, runs[1].images)
    assert runs[1].score_trace.dtype == torch.float64


def _weight_norm():
    module = nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(36, 3)))
    module(torch.rand(2, *SHAPE))
    return module


class Prototype(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
        self.stored, self.lock = self.net(torch.rand(4, *SHAPE)), threading.Lock()

    def forward(self, x):
        with self.lock:
            return -torch.cdist(self.net(x), self.stored).min(1).values


@pytest.mark.filterwarnings("ignore")  # weight_norm and TorchScript are deprecated
@pytest.mark.parametrize(
    "make",
    [
        _weight_norm,
        Prototype,
        lambda: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(36, 3))),
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
        lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(36, 3))),
        lambda: nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(36, 3)),
    ],
)
def test_a_module_is_asked_as_it_is_and_left_as_it_was(make, images):
    module = make().train()
    detector = given(module)
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    oracle = Oracle(detector, ids=torch.arange(5), context=Context(side="evade", micro_batch=5))
    criterion, _, slope = oracle.ascend(images, torch.arange(5))
    assert torch.isfinite(criterion).all() and bool(slope.any())
    assert module.training and all(each.training for each in module.modules())
    assert all(wanted) and [parameter.requires_grad for parameter in module.parameters()] == wanted
    assert all(parameter.grad is None for parameter in module.parameters())


class Shaken(nn.Module):
    def score(self, x):
        return level(x) + torch.rand(len(x))


class Centred(nn.Module):
    def score(self, x):
        return level(x) - level(x).mean()


def test_what_a_score_depends_on_beside_its_image_is_remarked():
    (centred,) = given(Centred()).remarks
    assert "by the others of its batch" in centred
    assert given(Quiet()).remarks == given(Shaken()).remarks == ()  # the clean cell says that a score is random


class Drifting(nn.Module):
    """A score that its batch moves by a two-thousandth of what lies between scores, far more than it rounds by."""

    def score(self, x):
        return level(x) + 5e-4 * (level(x).max() - level(x).min())


def test_what_a_batch_moves_by_far_less_than_scores_differ_is_no_remark(images):
    moved, still = Drifting().score(images), Drifting().score(images[:1])
    assert abs(float(moved[0] - still[0])) > 100 * torch.finfo(torch.float32).eps
    assert given(Drifting()).remarks == ()


@pytest.mark.parametrize("asked", [True, False])
def test_a_score_carries_a_graph_where_a_gradient_is_asked_for_alone(asked):
    x = torch.zeros(2, *SHAPE, requires_grad=asked)
    found = _held(torch.ones(2, requires_grad=True) * 2.0, x, "it")
    assert found.tolist() == [2.0, 2.0] and found.requires_grad is asked


def test_a_built_in_detector_passes_as_it_is():
    detector = Energy(None, shape=SHAPE, classes=3, params=Energy.Params())
    assert admit(detector, "energy") is detector
    assert OutputDetector.foreign
