"""The networks of published checkpoints: names, sizes, layers and what sets them apart."""

import pytest
import torch

from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.convnet28 import ConvNet28
from bench.detectors.networks.densenet import DenseNet
from bench.detectors.networks.resnet import BasicBlock, ResNet

NETWORKS = {
    "resnet20": (ResNet, (3, 32, 32), 269_722, "layer3.2.conv2.weight", (64, 64, 3, 3)),
    "densenet": (DenseNet, (3, 32, 32), 769_162, "block3.layer.15.conv2.weight", (12, 48, 3, 3)),
    "convnet28": (ConvNet28, (1, 28, 28), 21_840, "fc1.weight", (50, 320)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_number_of_parameters_is_the_published_one(name):
    make, _, count, key, shape = NETWORKS[name]
    network = make()
    assert sum(p.numel() for p in network.parameters()) == count
    assert tuple(network.state_dict()[key].shape) == shape


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_are_named_by_layers_and_end_in_penultimate_and_logits(name):
    make, shape, *_ = NETWORKS[name]
    network = make(classes=7).eval()
    with torch.no_grad():
        activations = network.activations(torch.rand(2, *shape))
        assert tuple(activations) == network.layers
        assert network.layers[-2:] == ("penultimate", "logits")
        assert activations["penultimate"].ndim == 2
        assert activations["logits"].shape == (2, 7)


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = BasicBlock(2, 4, stride=2).eval()
    with torch.no_grad():
        block.bn2.weight.zero_()  # the residual is zero: what is left is the shortcut
        x = torch.rand(1, 2, 4, 4)
        out = block(x)
    assert torch.equal(out[:, 1:3], x[..., ::2, ::2])
    assert not out[:, [0, 3]].any()


def test_a_dense_layer_keeps_its_input_before_what_it_adds():
    network = DenseNet(depth=10).eval()
    x = torch.rand(1, 24, 8, 8)
    with torch.no_grad():
        out = network.block1.layer[0](x)
    assert torch.equal(out[:, :24], x)
    assert out.shape == (1, 36, 8, 8)


def test_cropping_is_the_exact_inverse_of_padding_with_zeros():
    network = ConvNet28().eval()
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
        assert torch.equal(FromPixels(network, crop=28)(padded), network(x))


def test_normalisation_subtracts_the_mean_and_divides_by_the_deviation():
    steps = FromPixels(ConvNet28(), mean=(0.5,), std=(0.25,))
    assert torch.equal(steps.own_input(torch.full((1, 1, 2, 2), 0.75)), torch.ones(1, 1, 2, 2))
