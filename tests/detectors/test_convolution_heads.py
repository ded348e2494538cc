"""Heads written as 1x1 convolutions, before or after the average over the image, are linear layers all the same."""

import pytest
import torch
from torch import nn

from bench.detectors.energy import Energy
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.head import head_name, linear_head
from bench.detectors.networks.plain import PlainNetwork, found_parts
from bench.detectors.scores.fdbd import FDBD
from bench.detectors.scores.gradnorm import GradNorm
from bench.detectors.scores.nci import NCI
from bench.detectors.scores.vim import ViM
from bench.errors import UsageError

SHAPE, CLASSES = (1, 8, 8), 3


class Plain(nn.Module):
    """Maps, their averages, and a linear layer; `order` says how head and average are written."""

    def __init__(self, order: str, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.order = order
        self.maps = nn.Sequential(nn.Conv2d(1, 6, 3), nn.SiLU(), nn.Conv2d(6, 8, 3), nn.SiLU())
        self.linear = nn.Linear(8, CLASSES, bias=bias)
        if order != "linear":
            conv = nn.Conv2d(8, CLASSES, 1, bias=bias)
            conv.load_state_dict({k: v.view(conv.state_dict()[k].shape) for k, v in self.linear.state_dict().items()})
            self.head = conv
            del self.linear

    def forward(self, x):
        maps = 4 * self.maps(x)
        if self.order == "linear":
            return self.linear(maps.mean((2, 3)))
        if self.order == "average first":
            return self.head(maps.mean((2, 3), keepdim=True)).flatten(1)
        return nn.functional.adaptive_avg_pool2d(self.head(maps), 1).flatten(1)


def network(order, bias=True):
    return FromPixels(PlainNetwork(Plain(order, bias), torch.rand(3, *SHAPE), classes=CLASSES)).eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["average first", "average last"])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (ViM, {}),
        (FDBD, {}),
        (NCI, {}),
        (GradNorm, {}),
        (Energy, {"shaping": {"kind": "dice", "sparsity": 30}}),
        (Energy, {"shaping": {"kind": "react"}}),
    ],
)
def test_every_score_of_the_last_layer_is_the_same_on_it(method, params, order, bias, training_data, images):
    found = []
    for kind in ("linear", order):
        settings = method.Params(**params)
        detector = method(network(kind, bias), shape=SHAPE, classes=CLASSES, params=settings).eval()
        found.append(detector.fit(training_data).score(images))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ["average first", "average last"])
def test_its_layers_are_found_and_told(order):
    made = network(order)
    seen = made.activations(torch.rand(2, *SHAPE))
    assert (seen["penultimate"].shape, seen["logits"].shape) == ((2, 8), (2, CLASSES))
    assert head_name(made, SHAPE) == "network.module.head"
    averaged = ", averaged over the image" if order == "average last" else ""
    parts = found_parts(made.network)
    assert (parts["penultimate"], parts["logits"]) == (f"the input of head{averaged}", f"head{averaged}")


@pytest.mark.parametrize("bias", [True, False])
def test_as_a_linear_layer_it_holds_the_same_numbers(bias):
    made = network("average last", bias)
    linear = linear_head(made, SHAPE)
    assert isinstance(linear, nn.Linear) and (linear.bias is not None) == bias
    seen = made.activations(torch.rand(4, *SHAPE))
    torch.testing.assert_close(linear(seen["penultimate"]), seen["logits"])


def test_gradients_go_through_the_averages():
    made = network("average last")
    x = torch.rand(2, *SHAPE, requires_grad=True)
    for name in ("penultimate", "logits"):
        (gradient,) = torch.autograd.grad(made.activations(x)[name].square().sum(), x)
        assert float(gradient.abs().sum()) > 0


def sequence(*head):
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.SiLU(), *head, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("inplace", [False, True])
def test_a_convolution_that_is_bent_before_the_average_is_no_linear_layer(inplace):
    module = sequence(nn.Conv2d(8, CLASSES, 1), nn.ReLU(inplace=inplace))
    with pytest.raises(UsageError, match="the last linear layer of the network cannot be found; name its layers"):
        PlainNetwork(module, torch.rand(3, *SHAPE))
    named = PlainNetwork(module, torch.rand(3, *SHAPE), logits="output", penultimate="1")
    with pytest.raises(UsageError, match="no linear layer of its penultimate features"):
        head_name(FromPixels(named), SHAPE)


@pytest.mark.parametrize(
    "head",
    [nn.Conv2d(8, 4, 1, groups=2), nn.Conv2d(8, 4, 1, stride=2), nn.Conv2d(8, 4, 1, padding=1), nn.Conv2d(8, 4, 3)],
    ids=["groups", "stride", "padding", "3x3"],
)
def test_other_convolutions_are_refused_in_a_sentence(head):
    with pytest.raises(UsageError, match="the last linear layer of the network cannot be found; name its layers"):
        PlainNetwork(sequence(head), torch.rand(3, *SHAPE))
