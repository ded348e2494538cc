"""Every score keeps the contract of detectors, shaped or not; black images, ties and zero features included."""

import pytest
import torch
from torch import nn

from bench.detectors.energy import Energy
from bench.detectors.msp import MSP
from bench.detectors.networks.base import Network
from bench.detectors.scores.entropy import Entropy
from bench.detectors.scores.fdbd import FDBD
from bench.detectors.scores.gen import GEN
from bench.detectors.scores.gradnorm import GradNorm
from bench.detectors.scores.klm import KLM
from bench.detectors.scores.knn import KNN
from bench.detectors.scores.maxlogit import MaxLogit
from bench.detectors.scores.nci import NCI
from bench.detectors.scores.nnguide import NNGuide
from bench.detectors.scores.openmax import OpenMax
from bench.detectors.scores.residual import Residual
from bench.detectors.scores.rmds import RMDS
from bench.detectors.scores.she import SHE
from bench.detectors.scores.temperature import TemperatureScaling
from bench.detectors.scores.vim import ViM
from bench.testing import DETECTOR_CHECKS, DetectorCase

SCORES = {
    "maxlogit": (MaxLogit, {}),
    "knn": (KNN, {"k": 5}),
    "knn-of-a-small-bank": (KNN, {"k": 3, "bank": 20}),
    "residual": (Residual, {}),
    "vim": (ViM, {"dimensions": 3}),
    "entropy": (Entropy, {}),
    "gen": (GEN, {}),
    "gen-of-the-top-two": (GEN, {"gamma": 1.0, "top": 2}),
    "gradnorm": (GradNorm, {"temperature": 2.0}),
    "klm": (KLM, {}),
    "nnguide": (NNGuide, {"k": 5}),
    "she": (SHE, {}),
    "rmds": (RMDS, {}),
    "fdbd": (FDBD, {}),
    "nci": (NCI, {"alpha": 0.1}),
    "openmax": (OpenMax, {"tail": 4, "alpha": 2}),
    "temperature": (TemperatureScaling, {}),
}
SHAPINGS = [
    {"kind": "react", "percentile": 80},
    {"kind": "vra", "low": 30, "high": 80},
    {"kind": "ash-s", "percentile": 50},
    {"kind": "ash-p", "percentile": 50},
    {"kind": "ash-b", "percentile": 50},
    {"kind": "scale", "percentile": 50},
    {"kind": "dice", "sparsity": 15},
]


def refused(method, shaping):
    """Whether the two make no score: see test_score_fitting.py."""
    kind = shaping["kind"] if shaping else ""
    return (kind == "dice" and not method.sees_logits) or (kind in ("ash-b", "scale") and method.directions_only)


SHAPED = [(m, shaping) for m in (Energy, MSP, KNN, ViM) for shaping in SHAPINGS if not refused(m, shaping)]


@pytest.fixture(scope="module")
def made():
    """Detectors that were fitted before."""
    return {}


@pytest.fixture
def fitted(made, make_trained, training_data):
    def fit(method, params):
        key = (method, str(params))
        if key not in made:
            made[key] = make_trained(method, **params).fit(training_data)
        return made[key]

    return fit


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SCORES)
def test_every_score_keeps_the_contract(check, name, fitted, training_data):
    check(DetectorCase(fitted(*SCORES[name]), training_data.calibration.pixels()[:8]))


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("method", "shaping"), SHAPED, ids=lambda value: getattr(value, "__name__", None))
def test_every_shaping_keeps_the_contract_with_every_kind_of_score(check, method, shaping, fitted, training_data):
    params = {"shaping": shaping, **({"k": 5} if method is KNN else {})}
    check(DetectorCase(fitted(method, params), training_data.calibration.pixels()[:8]))


class Dead(Network):
    """ReLU features of which half are 0, and all of them for a black image."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.hidden, self.linear = nn.Linear(64, 12, bias=False), nn.Linear(12, outputs)

    def activations(self, x):
        features = torch.relu(self.hidden(x.flatten(1)))
        return {"penultimate": features, "logits": self.linear(features)}


ODD = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8), torch.full((1, 8, 8), 0.5), torch.eye(8)[None]])


@pytest.mark.parametrize("shaping", [None, *SHAPINGS], ids=lambda value: value and value["kind"])
@pytest.mark.parametrize("name", [*SCORES, "energy"])
def test_gradients_are_finite_at_zero_features_and_ties(name, shaping, make_trained, training_data):
    method, params = {**SCORES, "energy": (Energy, {})}[name]
    if refused(method, shaping):
        pytest.skip("it is refused")
    detector = make_trained(method, network=Dead, shaping=shaping, **params).fit(training_data)
    images = torch.cat([ODD, training_data.train.pixels()[:8], torch.rand(8, 1, 8, 8)]).requires_grad_(True)
    score, objective = detector.score_and_objective(images)
    (gradient,) = torch.autograd.grad(objective.sum(), images)
    assert bool(score.isfinite().all()) and bool(gradient.isfinite().all())
