"""Training and fitting learn from training images, choose by calibration images, and never meet a test image."""

import copy
import dataclasses
import importlib
import inspect
import pkgutil

import pytest
import torch
from test_recipes_against_naive import BASE, NAMES, RECIPES, detector  # noqa: F401

import bench.detectors
import bench.detectors.adapters
from bench.cards.catalog import Catalog
from bench.datasets.base import TrainingData
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.boundary import Bounded
from bench.detectors.controls import CertifiedControl
from bench.detectors.gram import Gram
from bench.detectors.mahalanobis import Mahalanobis
from bench.detectors.msp import MSP, MSPParams
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.encoder import ResidualEncoder
from bench.detectors.ross import ROSS
from bench.detectors.sdim import SDIM, SDIMParams
from bench.training.base import seeded
from bench.training.job import build_recipe

SHAPE = (1, 8, 8)
OUTLIERS = ("OutlierExposure", "AOE", "GAT", "CommitteeGAT", "CCU", "GOOD", "MinimaxGAT")


def changed(data: TrainingData, name: str) -> TrainingData:
    """The same data with other images, of the same labels, in one of its sets."""
    images = getattr(data, name)
    noise = torch.randint(0, 60, images.images.shape, generator=seeded(9, name), dtype=torch.uint8)
    return dataclasses.replace(data, **{name: dataclasses.replace(images, images=images.images // 2 + noise)})


def after_steps(name: str, made: Detector, data: TrainingData):
    with torch.random.fork_rng():
        torch.manual_seed(5)  # a recipe's own networks are drawn from the global generator
        recipe = RECIPES[name](made, data, BASE[name], seed=7)
    for number in (0, 31, 90):
        recipe.step(number, seeded(7, "step", number))
    return recipe


def state(recipe) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in recipe.detector.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value.nan_to_num(), other[key].nan_to_num()) for key, value in one.items())


@pytest.mark.parametrize("name", NAMES)
def test_steps_depend_on_training_images_and_outliers_alone(name, detector, toy_data):  # noqa: F811
    usual = state(after_steps(name, detector(name), toy_data))
    assert same(usual, state(after_steps(name, detector(name), changed(toy_data, "calibration"))))
    assert not same(usual, state(after_steps(name, detector(name), changed(toy_data, "train"))))
    other = state(after_steps(name, detector(name), changed(toy_data, "outliers")))
    assert same(usual, other) != (name in OUTLIERS)


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_a_training_are_those_of_calibration_images(name, detector, toy_data):  # noqa: F811
    images = toy_data.calibration.images
    noise = torch.randint(0, 255, images.shape, generator=seeded(3), dtype=torch.uint8)
    other = dataclasses.replace(toy_data.calibration, images=noise, labels=torch.zeros(len(noise), dtype=torch.int64))
    swapped = dataclasses.replace(toy_data, calibration=other)
    told = []
    for data in (toy_data, changed(toy_data, "train"), swapped):
        recipe = RECIPES[name](detector(name).eval(), data, BASE[name], seed=7)
        told.append(recipe.evaluate())
    usual, of_other_training, of_other_calibration = told
    assert usual
    assert of_other_training == pytest.approx(usual)
    assert of_other_calibration != pytest.approx(usual)


@pytest.mark.parametrize("name", ["GAT", "CommitteeGAT", "MinimaxGAT"])
def test_the_auroc_of_a_training_counts_pairs_that_are_in_order(name, detector, toy_data, monkeypatch):  # noqa: F811
    made = RECIPES[name](detector(name), toy_data, BASE[name], seed=7)
    monkeypatch.setattr(made.detector, "score", lambda x: x[..., 0].square().mean(dim=(1, 2)))
    with torch.no_grad():
        inside, outside = (made.detector.score(part.pixels()) for part in (toy_data.calibration, toy_data.outliers))
    gaps = inside[:, None] - outside[None]
    expected = float((gaps > 0).double().mean() + 0.5 * (gaps == 0).double().mean())
    assert expected != pytest.approx(0.5, abs=0.01)
    assert made.evaluate() == {"AUROC": pytest.approx(expected, abs=1e-3)}


def fitted_kinds() -> set[str]:
    """The detectors of the project that have a `fit` of their own, by name."""
    found = set()
    for package in (bench.detectors, bench.detectors.adapters):
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            found |= {
                name
                for name, kind in vars(module).items()
                if inspect.isclass(kind) and issubclass(kind, Detector) and "fit" in vars(kind) and kind is not Detector
            }
    return found


def sdim_that_classifies(net) -> SDIM:
    """By brightness, which tells the two classes apart, and with a likelihood that is not the same everywhere."""
    torch.manual_seed(0)
    made = SDIM(FromPixels(ResidualEncoder(outputs=2, widths=(3,))), shape=SHAPE, classes=2, params=SDIMParams())
    with torch.no_grad():
        x = torch.stack([torch.full(SHAPE, 0.08), torch.full(SHAPE, 0.78)])
        made.class_conditional.means.copy_(made.network(x))
    return made


def mahalanobis(net, **params) -> Mahalanobis:
    return Mahalanobis(net, shape=SHAPE, classes=2, params=Mahalanobis.Params(**params))


# What is fitted, and the sets of `TrainingData` that it may learn from.
FITTED = {
    "Mahalanobis": (mahalanobis, {"train", "calibration"}),
    "Mahalanobis, logistic": (lambda net: mahalanobis(net, layers="logistic"), {"train", "calibration", "outliers"}),
    "Gram": (lambda net: Gram(net, shape=SHAPE, classes=2, params=Gram.Params()), {"train", "calibration"}),
    "SDIM": (sdim_that_classifies, {"train"}),
    "ROSS": (lambda net: ROSS(net, shape=SHAPE, classes=2, params=ROSS.Params(copies=3)), {"calibration"}),
    "Bounded": (lambda net: Bounded(mahalanobis(net), "it"), {"train", "calibration"}),
    "CertifiedControl": (
        lambda net: CertifiedControl(None, shape=SHAPE, classes=2, params=CertifiedControl.Params(centres=3)),
        {"train"},
    ),
}
ELSEWHERE = {"PytorchOOD", "Bounded"}  # they hand on what they are given: tests/detectors/


@pytest.fixture
def classifier(tiny_network, toy_data) -> FromPixels:
    """A network that predicts both classes."""
    made = MSP(tiny_network(2), shape=SHAPE, classes=2, params=MSPParams())
    recipe = RECIPES["Classifier"](made, toy_data, {"steps": 60, "batch_size": 16, "lr": 0.02}, seed=0)
    for number in range(60):
        recipe.step(number, seeded(0, "step", number))
    return made.network


@pytest.mark.parametrize("name", FITTED)
def test_statistics_are_those_of_the_sets_that_a_fit_may_see(name, toy_data, classifier):
    make, seen = FITTED[name]
    fitted = {}
    for part in ("", "train", "calibration", "outliers"):
        made = make(copy.deepcopy(classifier))
        fitted[part] = made.fit(changed(toy_data, part) if part else toy_data).state_dict()
    assert {part for part in fitted if not same(fitted[""], fitted[part])} == seen


def test_every_fit_of_the_project_is_followed():
    assert fitted_kinds() == {name.partition(",")[0] for name in FITTED} | ELSEWHERE


def test_a_recipe_built_from_a_card_asks_its_track_for_no_test_set(monkeypatch):
    catalog = Catalog(None)
    card = catalog.track("digits")
    asked: set[str] = set()
    load = Track.set
    monkeypatch.setattr(Track, "set", lambda self, name: asked.add(name) or load(self, name))
    recipe = build_recipe(catalog.detector_spec("oe", "digits"), Track(card), catalog, seed=0)
    assert {name.partition("-")[0] for name in asked} == {"train", "calibration", "outliers"}
    assert not set(recipe.data.train.ids.tolist()) & set(Track(card).set("test").ids.tolist())
