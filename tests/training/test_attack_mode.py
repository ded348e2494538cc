"""Recipes attack the network that an attacker will meet: in evaluation mode, and without leaving a trace."""

import pytest
import torch
from torch import Tensor, nn

from bench.detectors.acet import ACET as ACETDetector
from bench.detectors.aoe import AOE as AOEDetector
from bench.detectors.base import DetectorParams
from bench.detectors.committee import GATCommittee
from bench.detectors.energy import EnergyParams
from bench.detectors.gat import GAT as GATDetector
from bench.detectors.jem import JEM as JEMDetector
from bench.detectors.jem import JEMParams
from bench.detectors.msp import MSP, MSPParams
from bench.detectors.networks.base import FromPixels, Network
from bench.training.acet import ACET
from bench.training.adversarial import Adversarial
from bench.training.aoe import AOE
from bench.training.base import Recipe, as_attackers_meet_it, seeded
from bench.training.committee import CommitteeGAT
from bench.training.gat import GAT
from bench.training.jem import JEM

SHAPE = (1, 8, 8)
ARGS = {
    "gat": {"max_k": 2, "iterations": 2, "last_iterations": 2, "batch_size": 8},
    "aoe": {"batch_size": 8, "steps": 6},
    "adversarial": {"batch_size": 8, "steps": 6},
    "acet": {"batch_size": 8, "steps": 6, "ascents": 2},
    "jem": {"batch_size": 8, "steps": 6, "samples": 4, "sgld_steps": 2, "buffer_size": 8},
}


class ModalNetwork(Network):
    """Batch norm and dropout: in training mode another function than in evaluation mode, and one that keeps count."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(64, outputs)
        self.modes: list[bool] = []

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        self.modes.append(self.training)
        inside = self.dropout(self.norm(x).flatten(1))
        return {"penultimate": inside, "logits": self.output(inside)}


def modal_recipe(name: str, data, outputs: int = 2) -> Recipe:
    torch.manual_seed(0)
    network = FromPixels(ModalNetwork(1 if name == "gat" else outputs))
    if name == "gat":
        return GAT(GATDetector(network, shape=SHAPE, classes=2, params=DetectorParams()), data, ARGS[name], seed=0)
    if name == "aoe":
        return AOE(AOEDetector(network, shape=SHAPE, classes=2, params=EnergyParams()), data, ARGS[name], seed=0)
    if name == "adversarial":
        return Adversarial(MSP(network, shape=SHAPE, classes=2, params=MSPParams()), data, ARGS[name], seed=0)
    if name == "acet":
        return ACET(ACETDetector(network, shape=SHAPE, classes=2, params=MSPParams()), data, ARGS[name], seed=0)
    return JEM(JEMDetector(network, shape=SHAPE, classes=2, params=JEMParams()), data, ARGS[name], seed=0)


def attack(recipe: Recipe, x: Tensor) -> Tensor:
    """What the recipe's own attack makes of images; JEM takes its own from a buffer."""
    if isinstance(recipe, GAT):
        return recipe.ascend(x, 3)
    if isinstance(recipe, ACET):
        return recipe.surest(x, seeded(5))
    if isinstance(recipe, Adversarial):
        return recipe.moved(x, torch.arange(len(x)) % 2, 1.0, seeded(5))
    return recipe.moved(x, seeded(5)) if isinstance(recipe, AOE) else recipe.sample(seeded(5))


@pytest.mark.parametrize("name", ["gat", "aoe", "adversarial", "acet", "jem"])
def test_an_attack_sees_evaluation_mode_and_moves_no_running_statistics(name, toy_data):
    recipe = modal_recipe(name, toy_data)
    recipe.detector.train()
    inner = recipe.detector.network.network
    before = {key: value.clone() for key, value in recipe.detector.state_dict().items()}
    attack(recipe, toy_data.outliers.pixels()[:8])
    assert inner.modes
    assert not any(inner.modes)
    assert all(torch.equal(value, before[key]) for key, value in recipe.detector.state_dict().items())
    assert all(module.training for module in recipe.detector.modules())
    assert all(parameter.requires_grad for parameter in recipe.detector.parameters())


@pytest.mark.parametrize("name", ["gat", "aoe", "adversarial", "acet", "jem"])
def test_an_attack_in_training_is_the_attack_on_the_network_in_evaluation_mode(name, toy_data):
    training, evaluation = modal_recipe(name, toy_data), modal_recipe(name, toy_data)
    training.detector.train()
    evaluation.detector.eval()
    x = toy_data.outliers.pixels()[:8]
    assert torch.equal(attack(training, x), attack(evaluation, x))


@pytest.mark.parametrize("name", ["gat", "aoe", "adversarial", "acet", "jem"])
def test_the_step_itself_is_taken_in_training_mode(name, toy_data):
    recipe = modal_recipe(name, toy_data)
    recipe.detector.train()
    inner = recipe.detector.network.network
    for number in range(6):  # at the last ones GAT ascends
        recipe.step(number, seeded(0, "step", number))
    assert inner.modes[-1]
    assert not all(inner.modes)
    assert int(inner.norm.num_batches_tracked) == sum(inner.modes)


def test_a_committee_ascends_in_evaluation_mode(toy_data, tiny_network, monkeypatch):
    params = GATCommittee.Params(channels=(4, 4), hidden=8)
    detector = GATCommittee(tiny_network(2), shape=SHAPE, classes=2, params=params)
    recipe = CommitteeGAT(detector, toy_data, {"batch_size": 4}, seed=0)
    detector.train()
    modes: list[bool] = []
    logits = recipe.logits
    monkeypatch.setattr(recipe, "logits", lambda *a: modes.append(recipe.members[0].training) or logits(*a))
    recipe.ascend(torch.rand(2, 4, *SHAPE), 1.0)
    assert modes == [False] * recipe.args.ascent_steps
    assert all(module.training for module in detector.modules())


def test_parts_that_were_frozen_or_in_evaluation_mode_stay_so():
    network = ModalNetwork(2).train()
    network.norm.eval().requires_grad_(False)
    with as_attackers_meet_it(network):
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.norm.training
    assert not any(parameter.requires_grad for parameter in network.norm.parameters())
    assert network.training
    assert network.output.weight.requires_grad


def test_an_attack_that_fails_leaves_training_mode_behind():
    network = ModalNetwork(2).train()
    with pytest.raises(ZeroDivisionError), as_attackers_meet_it(network):
        raise ZeroDivisionError
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
