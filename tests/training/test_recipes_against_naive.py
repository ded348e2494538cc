"""Every recipe, with every one of its settings, does what its naive form does; and every setting changes something."""

import copy
import functools
import importlib
import inspect
import pkgutil

import naive_recipes
import pytest
import torch

import bench.training
from bench.detectors.acet import ACET
from bench.detectors.aoe import AOE
from bench.detectors.autoencoder import Autoencoder
from bench.detectors.base import DetectorParams
from bench.detectors.ccu import CCU
from bench.detectors.committee import GATCommittee
from bench.detectors.confident import ConfidentClassifier
from bench.detectors.energy import EnergyParams
from bench.detectors.ensemble import DeepEnsemble
from bench.detectors.gat import GAT
from bench.detectors.gbz import GBZ
from bench.detectors.glow import Glow
from bench.detectors.good import GOOD
from bench.detectors.jem import JEM, JEMParams
from bench.detectors.mahalanobis import Mahalanobis
from bench.detectors.msp import MSP, MSPParams
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.encoder import ResidualEncoder
from bench.detectors.networks.ensemble import Ensemble
from bench.detectors.oe import OE, OEParams
from bench.detectors.pixelcnn import PixelCNN
from bench.detectors.sdim import SDIM, SDIMParams
from bench.training.base import Recipe, seeded

SHAPE = (1, 8, 8)
AUGMENT = {"degrees": 30.0, "shift": 0.5, "scale": 0.5, "mirror": True}
TURNS = {**AUGMENT, "turn_outliers": False}
COMMON = {"steps": 150, "batch_size": 5, "lr": 0.02, "weight_decay": 0.3}

# How each detector is made, the arguments every run begins with, and for every setting another value of it.
NAMES = (
    "Classifier", "Autoencoder", "EnsembleClassifier", "OutlierExposure", "AOE", "GAT", "CommitteeGAT", "SDIM", "JEM",
    "Glow", "CCU", "Adversarial", "ACET", "GOOD", "MinimaxGAT", "GBZ",
    "Confident", "PixelCNN",
)  # fmt: skip
BASE = {
    **{name: {"steps": 120, "batch_size": 6, "lr": 0.01} for name in NAMES},
    # Margins between which the energies of a network of small weights lie, so that both hinges are at work.
    "AOE": {"steps": 120, "batch_size": 6, "lr": 0.01, "margin_inside": -1.0, "margin_outside": -0.3},
    "GAT": {"max_k": 2, "iterations": 30, "last_iterations": 30, "batch_size": 6, "lr": 0.01},
    "CommitteeGAT": {"steps": 120, "batch_size": 4, "lr": 0.01, "ascent_steps": 3, "eps": 1.0, "step_size": 0.3},
    # A critic that begins says little: beside the likelihoods its gradient would drown without a large alpha.
    "SDIM": {"steps": 120, "batch_size": 4, "lr": 0.01, "units": 5, "margin": 1.0, "alpha": 50.0},
    "JEM": {"steps": 120, "batch_size": 6, "lr": 0.01, "samples": 4, "sgld_steps": 3, "buffer_size": 9},
    "CCU": {"steps": 120, "batch_size": 6, "lr": 0.01, "fit_images": 24, "mixture_lr": 1e-3},
    "ACET": {"steps": 120, "batch_size": 6, "lr": 0.01, "ascents": 3, "step_size": 0.1},
    "GOOD": {"steps": 120, "batch_size": 6, "lr": 0.01, "eps": 0.1},
    "MinimaxGAT": {"steps": 120, "batch_size": 6, "lr": 0.01, "updates": 2, "samples": 12, "step_size": 0.5},
    "Confident": {"steps": 120, "batch_size": 6, "lr": 0.01, "latent": 5, "channels": (4, 4), "gan_lr": 0.02},
}
OTHERS = {
    "Classifier": {**COMMON, **AUGMENT},
    "Autoencoder": {**COMMON, **AUGMENT},
    "EnsembleClassifier": {**COMMON, **AUGMENT},
    "OutlierExposure": {**COMMON, **TURNS, "weight": 2.0},
    "AOE": {"attack_steps": 3,
        **COMMON, **TURNS, "weight": 2.0, "eps": 0.2, "perturbation": "noise", "loss": "uniform",
        "margin_inside": -2.0, "margin_outside": 0.5,
    },
    "GAT": {
        **TURNS, "max_k": 3, "iterations": 20, "last_iterations": 90, "step_size": 0.9, "batch_size": 5, "lr": 0.02,
        "weight_decay": 0.3,
    },
    "CommitteeGAT": {
        **COMMON, **TURNS, "eps": 0.5, "growth": 0.9, "ascent_steps": 5, "step_size": 0.1, "outliers": 0.25
    },
    "SDIM": {
        **COMMON, **AUGMENT, "alpha": 0.2, "beta": 3.0, "gamma": 0.3, "margin": 4.0, "per_dimension": False, "units": 7
    },
    "JEM": {
        **COMMON, **AUGMENT, "samples": 7, "density_weight": 0.2, "energy_penalty": 0.5, "data_noise": 0.2,
        "sgld_steps": 5, "step_size": 0.02, "sgld_noise": 0.1, "gradient_clip": 1e-3, "buffer_size": 6, "reinit": 0.9,
        "largest_gap": 1e-9,
    },
    "Glow": {
        "steps": 150, "batch_size": 5, "lr": 0.02, "clip": 0.1, "classification": 2.0, "shift": 1, "mirror": True
    },
    "PixelCNN": {
        "steps": 150, "batch_size": 5, "lr": 0.02, "clip": 0.1, "classification": 2.0, "shift": 1, "mirror": True
    },
    "Adversarial": {**COMMON, **AUGMENT, "eps": 0.2, "ascents": 1, "step_size": 0.05, "ramp": 0.6},
    "ACET": {
        **COMMON, **AUGMENT, "weight": 0.2, "eps": 0.05, "ascents": 5, "step_size": 0.02, "permuted": 0.2,
        "least_blur": 0.3, "most_blur": 4.0,
    },
    "GOOD": {**COMMON, **TURNS, "weight": 2.0, "eps": 0.3, "quantile": 0.5, "weight_ramp": 0.6, "eps_ramp": 0.7},
    "MinimaxGAT": {**COMMON, **TURNS, "updates": 4, "samples": 9, "step_size": 0.1},
    "GBZ": {**COMMON, **AUGMENT, "beta": 0.3},
    "Confident": {
        **COMMON, **AUGMENT, "beta": 3.0, "latent": 7, "channels": (4, 6), "gan_lr": 0.05, "gan_momentum": 0.9
    },
    "CCU": {**COMMON, **TURNS, "fit_images": 40, "fit_iterations": 1, "mixture_lr": 0.05, "variance_ratio": 3.0},
}  # fmt: skip
NUMBERS = (0, 1, 31, 62, 100)
"""The steps that are taken: in the warm-up, at every K, while the ball grows and at its full radius, and late."""

FEWER = {"SDIM": (1, 62), "JEM": (1, 62), "Glow": (0, 62), "PixelCNN": (0, 62)}
"""Of those that take long."""

TOLERANCE = 3e-3
"""Of vectors of weights and gradients, in their lengths: float32 sums in another order come to a tenth of it."""

PARTS = {"SDIM": ("critic",), "Confident": ("generator", "critic")}
"""What a recipe trains beside the detector."""

ENDS_TRAINING = ("JEM", "largest_gap")  # its effect is an error, and has a test of its own
CASES = [(name, field) for name in NAMES for field in (None, *OTHERS[name]) if (name, field) != ENDS_TRAINING]


def recipes_of_the_project() -> dict[str, type[Recipe]]:
    """Every recipe that can be made, by name, wherever in `bench.training` it lies."""
    modules = [
        importlib.import_module(f"bench.training.{info.name}") for info in pkgutil.iter_modules(bench.training.__path__)
    ]
    kinds = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    return {kind.__name__: kind for kind in kinds if issubclass(kind, Recipe) and not inspect.isabstract(kind)}


RECIPES = recipes_of_the_project()


@pytest.fixture
def detector(tiny_network):
    """The detector that a recipe trains, of the same weights every time."""

    def build(name: str):
        form = {"shape": SHAPE, "classes": 2}
        makers = {
            "Classifier": lambda: MSP(tiny_network(2), **form, params=MSPParams()),
            "Adversarial": lambda: MSP(tiny_network(2), **form, params=MSPParams()),
            "ACET": lambda: ACET(tiny_network(2), **form, params=ACET.Params()),
            "GOOD": lambda: GOOD(tiny_network(2), **form, params=GOOD.Params()),
            "MinimaxGAT": lambda: GAT(tiny_network(1), **form, params=DetectorParams()),
            "GBZ": lambda: GBZ(None, **form, params=GBZ.Params(channels=(4, 4), hidden=6, latent=3, samples=2)),
            "Confident": lambda: ConfidentClassifier(tiny_network(2), **form, params=MSPParams()),
            "Autoencoder": lambda: Autoencoder(None, **form, params=Autoencoder.Params(channels=(4, 4), code=4)),
            "EnsembleClassifier": lambda: DeepEnsemble(
                FromPixels(Ensemble(2, channels=(4, 4), hidden=8, outputs=2, size=8)),
                **form,
                params=DeepEnsemble.Params(),
            ),
            "OutlierExposure": lambda: OE(tiny_network(2), **form, params=OEParams()),
            "AOE": lambda: AOE(tiny_network(2), **form, params=EnergyParams()),
            "GAT": lambda: GAT(tiny_network(1), **form, params=DetectorParams()),
            "CommitteeGAT": lambda: GATCommittee(
                tiny_network(2), **form, params=GATCommittee.Params(channels=(4, 4), hidden=8)
            ),
            "SDIM": lambda: SDIM(FromPixels(encoder()), **form, params=SDIMParams()),
            "JEM": lambda: JEM(tiny_network(2), **form, params=JEMParams()),
            "Glow": lambda: Glow(None, **form, params=Glow.Params(blocks=(1, 1), hidden=(4, 4))),
            "PixelCNN": lambda: PixelCNN(None, **form, params=PixelCNN.Params(width=3, blocks=(1, 1))),
            "CCU": lambda: CCU(tiny_network(2), **form, params=CCU.Params(components=2, outlier_components=3)),
        }
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return makers[name]().train()

    return build


def encoder() -> ResidualEncoder:
    """An encoder all of whose weights say something: its blocks would begin as their shortcuts."""
    network = ResidualEncoder(outputs=4, widths=(3, 5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


@pytest.fixture
def trained(detector, toy_data):
    """A recipe and its naive form on copies of one detector."""

    def build(name: str, **args: object):
        settings = {**BASE[name], **args}
        with torch.random.fork_rng():
            torch.manual_seed(5)  # a recipe's own networks are drawn from the global generator, and again by `train`
            recipe = RECIPES[name](detector(name), toy_data, settings, seed=7)
        more = {part: copy.deepcopy(getattr(recipe, part)) for part in PARTS.get(name, ())}
        naive = getattr(naive_recipes, name)(detector(name), toy_data, recipe.args, 7, **more)
        return recipe, naive

    return build


def vector(tensors) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def off(given: torch.Tensor, expected: torch.Tensor) -> float:
    """How far a vector is from another, in lengths of the other."""
    return float((given - expected).norm() / expected.norm().clamp_min(1e-12))


@functools.cache
def usual(name: str, build) -> dict[str, torch.Tensor]:
    """What a recipe has trained after the steps, with the settings that every run begins with."""
    recipe, _ = build(name)
    for number in FEWER.get(name, NUMBERS):
        recipe.step(number, seeded(7, "step", number))
    return recipe.trained().state_dict()


def test_every_recipe_of_the_project_has_a_naive_form():
    assert set(NAMES) | {"Fit"} == set(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_recipe_is_tried(name):
    fields = RECIPES[name].Args.model_fields
    assert set(OTHERS[name]) == set(fields)
    defaults = {field: BASE[name].get(field, info.default) for field, info in fields.items()}
    assert [field for field, other in OTHERS[name].items() if defaults[field] == other] == []


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_recipe_takes_the_steps_of_its_naive_form_and_a_setting_changes_them(name, field, trained):
    recipe, naive = trained(name, **({} if field is None else {field: OTHERS[name][field]}))
    assert recipe.total_steps == naive.total
    for number in FEWER.get(name, NUMBERS):
        before = vector(recipe.trained().parameters())
        figures, expected = (run.step(number, seeded(7, "step", number)) for run in (recipe, naive))
        assert figures == pytest.approx(expected, rel=1e-3, abs=1e-5), number
        # Gradients too: a step of Adam has one length, however large they are.
        gradients, wanted = (
            vector(parameter.grad for parameter in parameters if parameter.grad is not None)
            for parameters in (recipe.trained().parameters(), naive.parameters())
        )
        assert gradients.shape == wanted.shape
        assert off(gradients, wanted) < TOLERANCE, number
        assert [g["lr"] for g in recipe.optimizer.param_groups] == pytest.approx(
            [g["lr"] for g in naive.optimizer.param_groups]
        )
        after, naively = vector(recipe.trained().parameters()), vector(naive.parameters())
        if naive.lr(number):
            assert off(after - before, naively - before) < TOLERANCE, number
        naive.take(recipe.trained().parameters())  # roundings of gradients near zero must not grow
    if field is not None:
        assert any(
            not torch.equal(value, usual(name, trained)[key]) for key, value in recipe.trained().state_dict().items()
        )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("Glow", "PixelCNN")])
def test_the_learning_rate_rises_from_zero_and_falls_to_zero(name, trained):
    recipe, _ = trained(name)
    rates = []
    for number in (0, 1, 20, 70, recipe.total_steps - 1):
        recipe.step(number, seeded(7, "step", number))
        rates.append(recipe.optimizer.param_groups[0]["lr"])
    zero, rising, high, falling, last = rates
    assert zero == 0
    assert rising < high
    assert high > falling > last
    assert high > 0.9 * recipe.args.lr
    assert last < 0.01 * recipe.args.lr


def test_a_limit_of_fit_bounds_the_images_that_statistics_are_taken_from(toy_data, tiny_network):
    means = []
    for limit in (None, 10):
        made = Mahalanobis(tiny_network(2), shape=SHAPE, classes=2, params=Mahalanobis.Params())
        RECIPES["Fit"](made, toy_data, {"limit": limit}, seed=0).finish()
        means.append(made.state_dict())
    assert set(RECIPES["Fit"].Args.model_fields) == {"limit"}
    assert any(not torch.equal(value, means[1][key]) for key, value in means[0].items())
