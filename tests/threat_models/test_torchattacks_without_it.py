"""What the adapter makes of the classes of torchattacks, told by stand-ins: no test needs the library."""

import importlib
import sys
from types import ModuleType

import pytest

from bench.cards.threat import Knowledge, Norm
from bench.errors import CardError, UsageError
from bench.testing.closed_forms import LinearScore
from bench.testing.threats import Setting, attack, images
from bench.threat_models.external.base import ExternalParams, SteppedParams

NAME = "bench.threat_models.external.torchattacks"


class Both:
    """An attack in two norms.

    Distance Measure : L2, Linf
    """

    def __init__(self, model, norm="Linf", eps=0.3, steps=7, seed=0, n_classes=10):
        self.model, self.asked = model, {"norm": norm, "eps": eps, "steps": steps, "seed": seed, "classes": n_classes}

    def __call__(self, x, labels):
        Both.last = self.asked
        self.model(x + 0.01)
        return x


class Square:
    """Distance Measure : Linf, L0"""

    def __init__(self, model, eps=0.3):
        self.model, self.eps = model, eps

    def __call__(self, x, labels):
        return x


class Elsewhere(Square):
    """Distance Measure : L0"""


class Silent(Square):
    """Says nothing of norms."""


class Needy(Both):
    """Distance Measure : L2"""

    def __init__(self, model, surrogate):
        super().__init__(model)


@pytest.fixture
def adapter(monkeypatch):
    library = ModuleType("torchattacks")
    for kind in (Both, Square, Elsewhere, Silent, Needy):
        setattr(library, kind.__name__, kind)
    library.__all__ = [kind.__name__ for kind in (Both, Square, Elsewhere, Silent, Needy)]
    monkeypatch.setitem(sys.modules, "torchattacks", library)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    module = importlib.import_module(NAME)
    monkeypatch.setattr(module, "version", lambda name: "3.5")
    yield module
    sys.modules.pop(NAME, None)


def test_attacks_that_need_more_than_a_model_or_know_no_ball_are_left_out(adapter):
    assert set(adapter.attacks()) == {"Both", "Square", "Silent"}


def test_an_attack_is_described_by_its_documentation_its_default_norm_first(adapter):
    both, square, silent = (adapter.describe(kind) for kind in (Both, Square, Silent))
    assert (both.norms, both.knowledge, both.steps) == ((Norm.LINF, Norm.L2), Knowledge.GRADIENTS, 7)
    assert (square.norms, square.knowledge, square.steps) == ((Norm.LINF,), Knowledge.SCORES, None)
    assert silent.norms == ()


def test_ball_steps_and_classes_reach_the_attack_and_what_it_asks_about_counts(adapter):
    threat = adapter.SteppedTorchattacks(SteppedParams(attack="Both", steps=3))
    result = attack(threat, LinearScore(), Setting(Norm.L2, 0.5))
    told = {name: value for name, value in Both.last.items() if name != "seed"}
    assert told == {"norm": "L2", "eps": 0.5, "steps": 3, "classes": 2}
    assert result.queries.tolist() == [3] * len(images()[0])  # the clean image, the question, and what came back


def test_wrong_names_and_versions_are_one_sentence(adapter):
    with pytest.raises(UsageError, match="did you mean Both"):
        adapter.Torchattacks(ExternalParams(attack="Boht"))
    with pytest.raises(CardError, match=r"torchattacks 0\.1 is asked for and 3\.5 is installed"):
        adapter.Torchattacks(ExternalParams(attack="Both", version="0.1"))
