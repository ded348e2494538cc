"""A copy for the search is the detector in all but roundings, or it is not taken."""

import copy

import pytest
import torch
from torch import Tensor, nn

from bench.detectors import searching
from bench.detectors.energy import Energy
from bench.detectors.networks.base import FromPixels, Network
from bench.detectors.precision import FULL_PRECISION, Precision, SearchPrecision
from bench.detectors.searching import Copy, Form, NoCopy, folded, forms, search_copy

BF16 = SearchPrecision(Precision.BF16)
AUTO = SearchPrecision(Precision.AUTO)


class Normed(Network):
    """Convolutions and batch norms whose statistics are far from 0 and 1; `shortcut` takes what the first one gives."""

    layers = ("first", "penultimate", "logits")

    def __init__(self, *, shortcut: bool = False, shown: bool = False) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.other = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        self.shortcut, self.shown = shortcut, shown
        with torch.no_grad():
            for norm in (self.norm, self.other):
                norm.running_mean.uniform_(-1, 1)
                norm.running_var.uniform_(0.5, 2)
                norm.weight.uniform_(0.5, 2)
                norm.bias.uniform_(-1, 1)

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        raw = self.one(x)
        first = torch.relu(self.norm(raw))
        second = torch.relu(self.other(self.two(first))) + (raw if self.shortcut else 0)
        penultimate = second.mean((2, 3))
        return {"first": raw if self.shown else first, "penultimate": penultimate, "logits": self.head(penultimate)}


def made(**kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = FromPixels(Normed(**kind), mean=(0.4,) * 3, std=(0.2,) * 3)
        detector = Energy(network, shape=(3, 8, 8), classes=4, params=Energy.Params())
    return detector.eval().requires_grad_(False)


IMAGES = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * torch.linspace(0, 1, 40).view(
    -1, 1, 1, 1
)


def test_batch_norms_are_folded_and_every_activation_stays():
    network = made().network
    folding = copy.deepcopy(network)
    assert folded(folding, IMAGES[:2]) == 2
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folding.modules())
    for name, values in network.activations(IMAGES).items():
        torch.testing.assert_close(folding.activations(IMAGES)[name], values, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", [{"shortcut": True}, {"shown": True}])
def test_what_somebody_else_sees_is_not_folded(kind):
    network = made(**kind).network
    folding = copy.deepcopy(network)
    assert folded(folding, IMAGES[:2]) == 1
    assert isinstance(folding.network.norm, nn.BatchNorm2d)
    for name, values in network.activations(IMAGES).items():
        torch.testing.assert_close(folding.activations(IMAGES)[name], values, atol=1e-5, rtol=1e-4, msg=name)


def test_a_norm_that_is_called_twice_is_not_folded():
    class Twice(Normed):
        def activations(self, x: Tensor) -> dict[str, Tensor]:
            return super().activations(x + 0 * self.norm(self.one(x))[:, :3])

    network = made().network
    network.network.__class__ = Twice
    assert folded(network, IMAGES[:2]) == 1


def test_a_norm_that_takes_its_input_by_name_is_not_folded_and_a_copy_is_made_all_the_same():
    class Named(Normed):
        def activations(self, x: Tensor) -> dict[str, Tensor]:
            first = torch.relu(self.norm(input=self.one(x)))
            second = torch.relu(self.other(self.two(first))).mean((2, 3))
            return {"first": first, "penultimate": second, "logits": self.head(second)}

    detector = made()
    detector.network.network.__class__ = Named
    assert folded(copy.deepcopy(detector.network), IMAGES[:2]) == 1
    assert isinstance(search_copy(detector, IMAGES, BF16), Copy)


def test_pixels_of_several_channels_lie_beside_each_other_in_the_copy_and_in_no_other():
    detector = made()
    found = search_copy(detector, IMAGES, BF16)
    assert found.detector.network.network.one.weight.stride(1) == 1
    assert detector.network.network.one.weight.stride(1) == 3 * 3


@pytest.mark.parametrize("search_precision", [BF16, AUTO])
def test_a_copy_agrees_and_leaves_the_detector_as_it_was(search_precision):
    detector = made()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    scores = detector.score(IMAGES)
    found = search_copy(detector, IMAGES, search_precision)
    assert isinstance(found, Copy)
    assert "batch norm folded, channels last" in found.said
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert torch.equal(detector.score(IMAGES), scores)
    with found.running():
        torch.testing.assert_close(found.detector.score(IMAGES), scores, atol=0.1 * float(scores.std()), rtol=0)


def test_bf16_is_bf16_and_gives_float32():
    found = search_copy(made(), IMAGES, BF16)
    exact = made()
    scores = found.detector.score(IMAGES)
    assert scores.dtype is torch.float32
    assert not torch.equal(scores, exact.score(IMAGES))
    error = (scores - exact.score(IMAGES)).abs().max() / exact.score(IMAGES).abs().max()
    assert 1e-5 < error < 0.1  # bf16 has eight bits


def test_a_copy_whose_gradients_point_elsewhere_is_refused(monkeypatch):
    original = searching._made

    def turned(detector, images, form):
        found = original(detector, images, form)
        found.objective = lambda x: -detector.score(x)
        found.score_and_objective = lambda x: (detector.score(x), found.objective(x))
        return found

    monkeypatch.setattr(searching, "_made", turned)
    found = search_copy(made(), IMAGES, BF16)
    assert isinstance(found, NoCopy) and "gradients have a cosine" in found.said


@pytest.mark.parametrize("spoil", [lambda s: s * 3, lambda s: -s, lambda s: s * torch.nan, lambda s: s + 100])
def test_a_copy_whose_scores_differ_is_refused(monkeypatch, spoil):
    original = searching._made

    def spoilt(detector, images, form):
        found = original(detector, images, form)
        found.score_and_objective = lambda x: (spoil(detector.score(x)), detector.score(x))
        return found

    monkeypatch.setattr(searching, "_made", spoilt)
    assert isinstance(search_copy(made(), IMAGES, BF16), NoCopy)


def test_the_next_form_is_tried_where_one_fails(monkeypatch):
    monkeypatch.setattr(searching, "has_bf16", lambda device: True)
    original, tried = searching._made, []

    def failing(detector, images, form):
        tried.append(form.precision)
        if form.precision is Precision.BF16:
            raise RuntimeError("no such instruction")
        return original(detector, images, form)

    monkeypatch.setattr(searching, "_made", failing)
    found = search_copy(made(), IMAGES, AUTO)
    assert isinstance(found, Copy) and found.form == Form(Precision.FLOAT32)
    assert tried == [Precision.BF16, Precision.FLOAT32]


def test_what_is_tried_follows_from_the_device_and_never_from_the_clock(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(searching, "has_bf16", lambda device: True)
    assert [form.precision for form in forms(AUTO, cpu)] == [Precision.BF16, Precision.FLOAT32]
    assert [form.precision for form in forms(AUTO, cuda)] == [Precision.BF16, Precision.TF32, Precision.FLOAT32]
    monkeypatch.setattr(searching, "has_bf16", lambda device: False)
    assert [form.precision for form in forms(AUTO, cpu)] == [Precision.FLOAT32]
    assert forms(SearchPrecision(Precision.BF16, compiled=True), cpu) == (Form(Precision.BF16, compiled=True),)


def test_a_processor_without_instructions_for_bf16_is_asked_for_none(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not searching.has_bf16(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert searching.has_bf16(torch.device("cpu"))


def test_without_a_network_or_a_steady_gradient_there_is_no_copy():
    detector = made()
    detector.info = type(detector.info)(random=True)
    assert isinstance(search_copy(detector, IMAGES, AUTO), NoCopy)
    detector = made()
    detector.network = None
    assert isinstance(search_copy(detector, IMAGES, AUTO), NoCopy)


def test_nothing_is_asked_for_by_default():
    assert FULL_PRECISION.none and SearchPrecision().none
    assert not AUTO.none and not SearchPrecision(compiled=True).none


@pytest.mark.slow
def test_a_compiled_copy_agrees():
    found = search_copy(made(), IMAGES, SearchPrecision(Precision.FLOAT32, compiled=True))
    assert isinstance(found, Copy), found.said
