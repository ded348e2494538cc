"""The adapter to adv-lib, told by stand-ins for the library's functions, and by the library where it is here."""

import importlib
import importlib.util
import math
import sys
from types import ModuleType

import pytest
import torch

from bench.cards.threat import Goal, Knowledge, Norm, Side
from bench.cards.threat_names import adapted_threat
from bench.errors import CardError, UsageError
from bench.testing.classifiers import LinearClassifier
from bench.testing.closed_forms import LinearScore, QuadraticScore
from bench.testing.fool_threats import FoolSetting, fool
from bench.testing.threats import Setting, attack, images
from bench.threat_models.external.base import SteppedParams
from bench.threat_models.pgd import PGD

NAME = "bench.threat_models.external.adv_lib"
HERE = importlib.util.find_spec("adv_lib") is not None
asked = {}


def ddn(model, inputs, labels, targeted=False, steps=100):
    asked.update(steps=steps, labels=labels)
    model(inputs + 0.01)
    return inputs


def fmn(model, inputs, labels, norm, steps=10):
    asked.update(norm=norm, steps=steps)
    return inputs


def pgd_linf(model, inputs, labels, ε, steps=40):  # noqa: PLC2401 (the library's word)
    asked.update(radius=ε, steps=steps)
    return inputs


def apgd(model, inputs, labels, eps, norm, n_iter=100, loss_function="dlr"):
    asked.update(radius=eps, norm=norm, steps=n_iter, loss=loss_function)
    return inputs


def perc_al(model, images, labels, num_classes):
    return images


@pytest.fixture
def adapter(monkeypatch):
    """The adapter, above a library of five functions that is not installed."""
    package, library = ModuleType("adv_lib"), ModuleType("adv_lib.attacks")
    for function in (ddn, fmn, pgd_linf, apgd, perc_al):
        setattr(library, function.__name__, function)
    monkeypatch.setitem(sys.modules, "adv_lib", package)
    monkeypatch.setitem(sys.modules, "adv_lib.attacks", library)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    module = importlib.import_module(NAME)
    monkeypatch.setattr(module, "version", lambda name: "0.3")
    asked.clear()
    yield module
    sys.modules.pop(NAME, None)


def made(adapter, name, **params):
    return adapter.SteppedAdvLib(SteppedParams(attack=name, **{"steps": 3, **params}))


def test_attacks_that_need_more_than_a_model_or_are_not_there_are_left_out(adapter):
    assert set(adapter.attacks()) == {"ddn", "fmn", "pgd_linf", "apgd"}


def test_an_attack_is_described_by_its_norms_and_its_own_number_of_steps(adapter):
    told = {name: adapter.describe(function) for name, function in adapter.attacks().items()}
    assert {name: (found.norms, found.steps) for name, found in told.items()} == {
        "ddn": ((Norm.L2,), 100),
        "fmn": ((Norm.L2, Norm.LINF, Norm.L1, Norm.L0), 10),
        "pgd_linf": ((Norm.LINF,), 40),
        "apgd": ((Norm.LINF, Norm.L2, Norm.L1), 100),
    }
    assert {found.knowledge for found in told.values()} == {Knowledge.GRADIENTS}


@pytest.mark.parametrize(
    ("name", "norm", "expected"),
    [
        ("fmn", Norm.LINF, {"norm": math.inf, "steps": 3}),
        ("fmn", Norm.L2, {"norm": 2.0, "steps": 3}),
        ("fmn", Norm.L0, {"norm": 0.0, "steps": 3}),
        ("pgd_linf", Norm.LINF, {"radius": 0.5, "steps": 3}),
        ("apgd", Norm.L2, {"radius": 0.5, "norm": 2.0, "steps": 3, "loss": "ce"}),
    ],
)
def test_norm_radius_and_steps_reach_the_attack_under_its_own_words(adapter, name, norm, expected):
    attack(made(adapter, name), LinearScore(), Setting(norm, 0.5))
    assert asked == expected


def test_what_it_asks_about_counts_and_the_score_is_seen_as_a_class_to_lead_away_from(adapter):
    result = attack(made(adapter, "ddn"), LinearScore(), Setting(Norm.L2, 0.5))
    assert result.queries.tolist() == [3] * len(images()[0])  # the clean image, the question, and what came back
    assert asked["steps"] == 3 and bool((asked["labels"] == 1).all())


def test_wrong_names_and_versions_are_one_sentence(adapter):
    with pytest.raises(UsageError, match="did you mean ddn"):
        made(adapter, "dnn")
    with pytest.raises(CardError, match=r"adv-lib 0\.1 is asked for and 0\.3 is installed"):
        made(adapter, "ddn", version="0.1")


def test_the_library_is_imported_without_visdom_which_it_would_draw_with(monkeypatch, tmp_path):
    package = tmp_path / "adv_lib" / "attacks"
    package.mkdir(parents=True)
    (tmp_path / "adv_lib/__init__.py").write_text("")
    (package / "__init__.py").write_text("import visdom\ndef ddn(model, inputs, labels, steps=5): return inputs\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("adv_lib", "visdom")]:
        monkeypatch.delitem(sys.modules, name)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "visdom" else find(name, *a))
    module = importlib.import_module(NAME)
    assert list(module.attacks()) == ["ddn"] and "visdom" not in sys.modules
    for name in [name for name in sys.modules if name.partition(".")[0] == "adv_lib"]:
        del sys.modules[name]


needed = pytest.mark.skipif(not HERE, reason="adv-lib is not installed")


@needed
@pytest.mark.parametrize(("name", "norm"), [("ddn", Norm.L2), ("fmn@linf", Norm.LINF), ("apgd@l2", Norm.L2)])
@pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])
def test_the_library_itself_climbs_scores(name, norm, side):
    card = adapted_threat(f"adv-lib:{name}")
    threat = importlib.import_module(NAME).SteppedAdvLib(SteppedParams(**{**card.params, "steps": 40}))
    eps, sign, x = 0.7 if norm is Norm.L2 else 0.1, 1.0 if side is Side.EVADE else -1.0, images()[0]
    detector = QuadraticScore()
    found, best = (
        detector.score(attack(one, detector, Setting(card.norm, eps), side=side).images) for one in (threat, PGD())
    )
    gain, possible = sign * (found - detector.score(x)), sign * (best - detector.score(x))
    assert card.norm is norm and (gain <= possible * (1 + 1e-3) + 1e-4).all()
    # The first two look for the nearest image with the goal's score, which may lie outside the ball.
    assert (gain > 0.3 * possible).sum() >= (7 if name.startswith("apgd") else 2)


@needed
@pytest.mark.parametrize("name", ["ddn", "sdf", "apgd@l2"])
def test_the_library_itself_fools_classifiers(name):
    card = adapted_threat(f"adv-lib:{name}")
    threat = importlib.import_module(NAME).SteppedAdvLib(SteppedParams(**{**card.params, "steps": 20}))
    result = fool(threat, LinearClassifier(), FoolSetting(Norm.L2, 2.0, Goal.MISCLASSIFY))
    assert (result.norm > 0).sum() >= 4 and torch.isfinite(result.images).all()


@needed
def test_every_attack_of_the_library_that_is_offered_has_the_arguments_that_it_is_given():
    import inspect

    module = importlib.import_module(NAME)
    known = module.attacks()
    assert len(known) >= 12
    for name, function in known.items():
        form, arguments = module._FORMS[name], inspect.signature(function).parameters
        given = {form.steps, *form.more, *(word for word in (form.norm, form.radius) if word)}
        assert given <= set(arguments)
        needs = {n for n, p in arguments.items() if p.default is p.empty} - {"model", "inputs", "labels"}
        assert needs <= given


def test_a_library_that_is_loaded_gets_no_stand_in(monkeypatch):
    loaded, drawing = ModuleType("adv_lib.attacks"), ModuleType("visdom")
    monkeypatch.setitem(sys.modules, "adv_lib.attacks", loaded)
    monkeypatch.setitem(sys.modules, "visdom", drawing)
    assert importlib.import_module(NAME)._library() is loaded
    assert sys.modules["visdom"] is drawing
