"""The linear layer between penultimate features and logits, found by trying, in networks of every kind."""

import pytest
import torch
from torch import nn

from bench.detectors.networks.base import FromPixels, Network
from bench.detectors.networks.convnet28 import ConvNet28
from bench.detectors.networks.densenet import DenseNet
from bench.detectors.networks.head import head_name, linear_head
from bench.detectors.networks.resnet import ResNet
from bench.detectors.networks.small import SmallConvNet
from bench.detectors.scores.maxlogit import MaxLogit
from bench.detectors.scores.vim import ViM
from bench.errors import UsageError


@pytest.mark.parametrize(
    ("network", "shape", "name"),
    [
        (SmallConvNet(), (1, 32, 32), "network.output"),
        (ConvNet28(), (1, 28, 28), "network.fc2"),
        (ResNet(), (3, 32, 32), "network.linear"),
        (DenseNet(depth=10), (3, 32, 32), "network.fc"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Network) else None,
)
def test_it_is_found_in_the_shipped_networks(network, shape, name):
    assert head_name(FromPixels(network).eval(), shape) == name


class Classifier(Network):
    """A head among layers of the same shape, with dropout before the features."""

    def __init__(self, *, bias: bool = True, negated: bool = False) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.decoy, self.head = nn.Linear(16, 3, bias=bias), nn.Linear(16, 3, bias=bias)
        self.negated = negated

    def activations(self, x):
        features = self.drop(x.flatten(1))
        logits = self.head(features)
        return {"penultimate": features, "logits": -logits if self.negated else logits}


def test_a_layer_of_the_same_shape_is_not_taken_for_it():
    network = FromPixels(Classifier())
    assert linear_head(network, (1, 4, 4)) is network.network.head


def test_a_network_in_training_mode_with_dropout_is_left_as_it_was():
    network = FromPixels(Classifier()).train()
    state = torch.get_rng_state()
    assert head_name(network, (1, 4, 4)) == "network.head"
    assert network.training and network.network.drop.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_type_is_asked_in_its_own(dtype):
    assert head_name(FromPixels(Classifier()).to(dtype), (1, 4, 4)) == "network.head"


def test_logits_that_are_another_function_of_the_features_are_refused():
    with pytest.raises(UsageError, match="no linear layer of its penultimate features"):
        head_name(FromPixels(Classifier(negated=True)), (1, 4, 4))


def test_a_head_without_bias_has_a_bias_of_zero(training_data):
    class Small(Classifier):
        def activations(self, x):
            return super().activations(x[..., ::2, ::2])

    network = FromPixels(Small(bias=False)).eval()
    plain, shaped = (
        method(network, shape=(1, 8, 8), classes=3, params=method.Params(**params)).fit(training_data)
        for method, params in ((ViM, {}), (MaxLogit, {"shaping": {"kind": "react"}}))
    )
    assert plain.bias.tolist() == [0.0] * 3
    assert bool(plain.fitted["origin"].eq(0).all())
    assert shaped.score(torch.rand(2, 1, 8, 8)).shape == (2,)
