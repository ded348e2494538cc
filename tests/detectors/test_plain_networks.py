"""Any nn.Module as a network: what is found in it, what is refused, and that its activations are its own."""

import copy

import pytest
import torch
from torch import nn

from bench.detectors.adapters.exported import Program
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.plain import PlainNetwork, found_parts
from bench.errors import UsageError

SIDE = 16


class Conv(nn.Module):
    """Two stages and a linear head."""

    def __init__(self, classes=5, inplace=False):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.ReLU(inplace=inplace)
        self.second = nn.Conv2d(6, 7, 3, padding=1)
        self.third = nn.Conv2d(7, 7, 3, padding=1)
        self.head = nn.Linear(7, classes)

    def features(self, x):
        return self.act(self.third(self.act(self.second(self.act(self.first(x)))))).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Answers(Conv):
    """Wraps the logits in something."""

    def __init__(self, answer, **settings):
        super().__init__(**settings)
        self.answer = answer

    def forward(self, x):
        return self.answer(super().forward(x))


class Output:
    def __init__(self, logits):
        self.logits = logits


class Tokens(nn.Module):
    """A small transformer: maps to tokens, the first of which is classified."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3)))
        self.norm = nn.LayerNorm(8)
        self.classify = nn.Linear(8, 5)

    def forward(self, x):
        tokens = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.classify(self.norm(tokens)[:, 0])


@pytest.fixture
def x():
    return torch.rand(3, 3, SIDE, SIDE)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_last_linear_layer_s_input_is_penultimate_and_its_output_logits(x, inplace):
    module = Conv(inplace=inplace)
    seen = PlainNetwork(module, x).activations(x)
    torch.testing.assert_close(seen["penultimate"], module.features(x), rtol=0, atol=0)
    torch.testing.assert_close(seen["logits"], module(x), rtol=0, atol=0)
    torch.testing.assert_close(seen["first"], module.first(x), rtol=0, atol=0)  # before what is done to it in place
    assert list(seen) == ["first", "second", "third", "penultimate", "logits"]


def test_activations_and_logits_follow_the_image(x):
    network = PlainNetwork(Conv(inplace=True), x)
    for name, found in network.activations(x.requires_grad_()).items():
        (gradient,) = torch.autograd.grad(found.square().sum(), x, retain_graph=True)
        assert gradient.abs().sum() > 0, name
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda y: y,
        lambda y: (y, None),
        lambda y: {"logits": y, "loss": None},
        Output,
        lambda y: y.log_softmax(1),
    ],
    ids=["tensor", "tuple", "dict", "object", "log-softmax"],
)
def test_whatever_the_module_returns_its_logits_are_read(x, answer):
    module = Answers(answer)
    network = PlainNetwork(module, x, classes=5)
    torch.testing.assert_close(network(x), module.head(module.features(x)), rtol=0, atol=0)


def test_the_module_s_own_output_may_be_the_logits(x):
    module = Answers(lambda y: (2 * y, y[:, :1]))
    network = PlainNetwork(module, x, classes=5, logits="output", penultimate="third")
    torch.testing.assert_close(network(x), module(x)[0], rtol=0, atol=0)
    assert network.activations(x)["penultimate"].shape == (3, 7 * SIDE * SIDE)


def test_tokens_are_read_as_maps_of_as_many_channels(x):
    network = PlainNetwork(Tokens(), x)
    assert found_parts(network)["layers"] == "patches, blocks.0, blocks.1, blocks.2"
    seen = network.activations(x)
    assert seen["blocks.1"].shape == (3, 8, 16, 1)
    assert seen["penultimate"].shape == (3, 8)


def test_a_convolution_of_one_place_is_a_linear_head(x):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1), nn.Flatten())
    seen = PlainNetwork(module, x).activations(x)
    assert seen["penultimate"].shape == (3, 4)
    torch.testing.assert_close(seen["logits"], module(x), rtol=0, atol=0)


def test_layers_may_be_named(x):
    network = PlainNetwork(Conv(), x, penultimate="third", logits="head", layers=("act",))
    assert network.layers == ("act", "penultimate", "logits")
    assert network.activations(x)["penultimate"].shape == (3, 7 * SIDE * SIDE)


def test_training_mode_half_precision_and_other_memory_are_no_hindrance(x):
    module = Conv().train()
    plain = PlainNetwork(copy.deepcopy(module), x)(x)
    for made in (module, copy.deepcopy(module).to(memory_format=torch.channels_last)):
        torch.testing.assert_close(PlainNetwork(made.train(), x)(x), plain, rtol=0, atol=1e-6)
    halved = PlainNetwork(copy.deepcopy(module).half(), x)(x)
    assert halved.dtype == torch.float32
    assert (halved - plain).abs().max() < 1e-2


def test_batch_norm_and_dropout_are_in_evaluation_mode(x):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9), nn.Flatten(), nn.LazyLinear(5))
    module(x)
    network = PlainNetwork(module.train(), x)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)


def test_a_copy_sees_its_own_activations(x):
    network = PlainNetwork(Conv(), x)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.module.head.weight.zero_()
        other.module.head.bias.fill_(3.0)
    assert (other.activations(x)["logits"] == 3.0).all()
    assert not (network.activations(x)["logits"] == 3.0).any()
    assert not any(part._forward_hooks for part in network.modules())


def test_it_stands_behind_steps_from_pixels_and_writes_into_no_image(x):
    class Writes(Conv):
        def forward(self, x):
            return super().forward(x.mul_(2.0))

    network = FromPixels(PlainNetwork(Writes(), x))
    before = x.clone()
    network(x), network.activations(x)
    assert torch.equal(x, before)


class Random(Conv):
    def forward(self, x):
        return self.head(nn.functional.dropout(self.features(x), training=True))


class Company(Conv):
    def forward(self, x):
        return self.head(self.features(x) - self.features(x).mean(0))


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(SIDE, 4)

    def forward(self, x):
        return self.inside(x).mean((1, 2))


@pytest.mark.parametrize(
    ("module", "settings", "sentence"),
    [
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.AvgPool2d(14), nn.Flatten()), {}, "last linear layer of .* cannot be"),
        (Rows(), {}, r"gives shape \(3, 3, 16, 4\) for 3 images, not \(N, K\) logits"),
        (Conv(), {"classes": 4}, "has 5 logits and the track 4 classes"),
        (Conv(), {"penultimate": "thrid"}, "has no layer 'thrid'; its layers begin with: first, act"),
        (Conv(), {"layers": ("nowhere",)}, "has no layer 'nowhere'"),
        (Random(), {}, "other logits for the same images"),
        (Company(), {}, "other logits in other company"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 9, 5)), {}, r"cannot take images of shape \(3, 16, 16\)"),
        (Answers(lambda y: "logits"), {"logits": "output", "penultimate": "third"}, "returns something of type str"),
        (Answers(lambda y: y[:1]), {"logits": "output", "penultimate": "third"}, r"logits of shape \(1, 5\)"),
    ],
    ids=["no-linear", "rows", "classes", "typo", "layer", "random", "company", "size", "text", "short"],
)
def test_what_cannot_be_used_is_one_sentence(x, module, settings, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        PlainNetwork(module, x, name="my-net", **settings)
    assert "\n" not in str(caught.value)
    assert "my-net" in str(caught.value)


def test_of_an_error_of_the_module_its_first_line_is_said_and_no_more_than_two_hundred_letters(x):
    class Talking(nn.Module):
        def forward(self, x):
            raise ValueError("a" * 201 + "\nwhat came before")

    with pytest.raises(UsageError, match=rf"\({'a' * 200}\); give the size"):
        PlainNetwork(Talking(), x, name="my-net")


def test_a_network_may_have_logits_alone_and_says_which_layer_a_score_lacks(x):
    network = PlainNetwork(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), x, logits="output")
    assert network(x).shape == (3, 5)
    assert network.layers == ("0", "logits")
    with pytest.raises(UsageError, match=r"has no layer 'penultimate', of which this score is; name it"):
        network.activations(x)["penultimate"]


def test_an_exported_program_is_a_network_of_logits(x):
    module = Conv().eval()
    exported = torch.export.export(module, (x,), dynamic_shapes={"x": {0: torch.export.Dim("n", min=1)}}).module()
    network = PlainNetwork(Program(exported), x, logits="output")
    torch.testing.assert_close(network(x), module(x))


def test_of_layers_that_run_again_the_last_call_tells_which_is_last(x):
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.outer, self.inner = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.outer(self.inner(self.outer(x.mean((2, 3)))))

    module = Again()
    network = PlainNetwork(module, x)
    assert network.logits_at == "outer"
    torch.testing.assert_close(network(x), module(x))


class Returning(nn.Module):
    """Changes what its last layer gives before it returns it."""

    def __init__(self, change):
        super().__init__()
        self.head, self.change = nn.Linear(16, 4), change

    def forward(self, x):
        return self.change(self.head(x.flatten(1)))


@pytest.mark.parametrize("change", [lambda z: z.T, lambda z: z.flip(1), lambda z: z[:, :3], lambda z: -z])
def test_a_network_that_returns_other_logits_than_its_last_layer_is_refused(change):
    torch.manual_seed(0)
    with pytest.raises(UsageError, match=r"other logits than its last linear layer 'head' gives"):
        PlainNetwork(Returning(change), torch.rand(3, 1, 4, 4))


@pytest.mark.parametrize("change", [lambda z: z, lambda z: z.log_softmax(1), lambda z: z / 10, lambda z: (z, z.sum())])
def test_one_that_ranks_the_classes_as_its_last_layer_is_taken_by_that_layer(change):
    torch.manual_seed(0)
    network = PlainNetwork(Returning(change), torch.rand(3, 1, 4, 4))
    assert (network.logits_at, network.has_features) == ("head", True)


def test_a_map_as_output_is_said_to_be_one():
    with pytest.raises(UsageError, match=r"returns shape \(3, 6, 4, 4\) for 3 images; return \(N, K\) logits"):
        PlainNetwork(nn.Conv2d(1, 6, 3, padding=1), torch.rand(3, 1, 4, 4))
