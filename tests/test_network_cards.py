"""Scores stand on networks: which network a name means, what a card of one may say, and what is refused."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.cards.catalog import Catalog, Kind
from bench.cards.detector_names import split_network
from bench.cards.network import NetworkCard, NetworkSpec, library_version
from bench.cards.standing import standing_on
from bench.detectors.loading import build_detector, load_detector
from bench.detectors.networks import makers
from bench.detectors.networks.makers import make_named
from bench.detectors.weights import save_tensors
from bench.errors import CardError, NoSettingsError, UsageError, WeightsError
from bench.evaluation.keys import code_hash
from bench.validation.checks import check_file

NETS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, classes=2, width=3):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return {"logits": self.head(torch.relu_(self.stem(x)).mean((2, 3)))}

def build(classes: int):
    return Plain(classes)

made = Plain()
"""


@pytest.fixture
def cards(toy_cards):
    """A workspace with a score `energy` and networks of its own module."""
    (toy_cards.root / "nets_of_mine.py").write_text(NETS)
    (toy_cards.root / "detectors" / "networks").mkdir()
    toy_cards.card(
        "detectors/energy.yaml",
        """
        name: energy
        summary: of logits
        method: bench.detectors.energy:Energy
        on_network: true
        tracks:
          toy: {params: {temperature: 3.0}, recorded: {clean_auroc: 0.7}}
        """,
    )
    network(toy_cards, "mine", "nets_of_mine:Plain")
    network(toy_cards, "other", "nets_of_mine:build", "args: {classes: 2}")
    track = (toy_cards.root / "datasets/toy.yaml").read_text()
    (toy_cards.root / "datasets/toy.yaml").write_text(f"{track}network: mine\n")
    return toy_cards


def network(folder, name, method, more=""):
    lines = [f"name: {name}", "summary: a net", "track: toy", f"method: '{method}'", *filter(None, [more])]
    folder.card(f"detectors/networks/{name}.yaml", "\n".join(lines) + "\n")


def catalog(cards) -> Catalog:
    return Catalog(cards.root, builtin=cards.root)


def test_a_score_stands_on_the_track_s_own_network_unless_another_is_named(cards):
    own, same, other = (catalog(cards).detector_spec(name, "toy") for name in ("energy", "energy@mine", "energy@other"))
    assert own == same and own.name == "energy"
    assert own.network.method == "nets_of_mine:Plain"
    assert (other.name, other.network.method) == ("energy@other", "nets_of_mine:build")


def test_what_was_tuned_and_measured_on_the_own_network_holds_there_alone(cards):
    own, other = (catalog(cards).detector_spec(name, "toy") for name in ("energy", "energy@other"))
    assert (own.params, own.recorded.clean_auroc) == ({"temperature": 3.0}, 0.7)
    assert (other.params, other.recorded.clean_auroc) == ({}, None)


def test_a_trained_detector_lends_its_network(cards):
    cards.card(
        "detectors/whole.yaml",
        """
        name: whole
        summary: trained as a whole
        method: bench.detectors.energy:Energy
        tracks:
          toy: {network: {method: "nets_of_mine:build", args: {classes: 2}}, weights: [{file: whole.safetensors}]}
        """,
    )
    spec = catalog(cards).detector_spec("energy@whole", "toy")
    assert spec.network.method == "nets_of_mine:build"
    assert [part.network_only for part in spec.weights] == [True]
    detector = build_detector(spec, catalog(cards).track("toy"), catalog(cards))
    state = {name: torch.rand_like(value) for name, value in detector.state_dict().items()}
    save_tensors(catalog(cards).weights_dir_for_writing() / "whole.safetensors", {**state, "own.bias": torch.ones(2)})
    loaded = load_detector(spec, catalog(cards).track("toy"), catalog(cards))
    found = getattr(loaded, "inner", loaded).state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_a_file_may_hold_a_network_s_tensors_under_its_own_names(cards):
    network(cards, "mine", "nets_of_mine:Plain", "weights: [{file: mine.safetensors}]")
    state = {"stem.weight": (3, 1, 3, 3), "stem.bias": (3,), "head.weight": (2, 3), "head.bias": (2,)}
    tensors = {name: torch.rand(shape) for name, shape in state.items()}
    file = catalog(cards).weights_dir_for_writing() / "mine.safetensors"
    save_tensors(file, tensors)
    spec, track = catalog(cards).detector_spec("energy", "toy"), catalog(cards).track("toy")
    loaded = load_detector(spec, track, catalog(cards))
    inside = getattr(loaded, "inner", loaded).network.network.module
    assert torch.equal(inside.head.weight, tensors["head.weight"])
    save_tensors(file, {"stem.weight": tensors["stem.weight"], "nose.weight": torch.ones(2)})
    with pytest.raises(WeightsError, match=r"missing .*head.bias.*unexpected .*nose.weight"):
        load_detector(spec, track, catalog(cards))


@pytest.mark.parametrize("method", ["nets_of_mine:Plain", "nets_of_mine:made"])
def test_a_class_and_a_module_that_is_made_already_are_networks(cards, method):
    network(cards, "mine", method)
    detector = load_detector(catalog(cards).detector_spec("energy", "toy"), catalog(cards).track("toy"), catalog(cards))
    assert detector.score(torch.rand(4, 1, 8, 8)).shape == (4,)


def test_resizing_is_part_of_the_network_and_of_its_gradient(cards):
    network(cards, "mine", "nets_of_mine:made", "resize: 12")
    detector = load_detector(catalog(cards).detector_spec("energy", "toy"), catalog(cards).track("toy"), catalog(cards))
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(detector.score(x).sum(), x)
    assert gradient.abs().sum() > 0
    assert getattr(detector, "inner", detector).network.own_input(x).shape == (2, 1, 12, 12)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("energy@net", ("energy", "net")),
        ("energy.hot@gat.k0", ("energy.hot", "gat.k0")),
        ("pytorch-ood:KNN@net", ("pytorch-ood:KNN", "net")),
        ("file:a@b.pt2", ("file:a@b.pt2", None)),
        ("callable:a.b:c", ("callable:a.b:c", None)),
    ],
)
def test_the_sign_at_stands_before_a_network_and_nowhere_else(name, parts):
    assert split_network(name) == parts


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda c: c.detector_spec("energy@nien", "toy"), "unknown network 'nien': did you mean mine"),
        (lambda c: c.detector_spec("energy@energy", "toy"), "unknown network 'energy'"),
        (lambda c: c.detector_spec("flat@mine", "toy"), "trained as a whole and stands on no other network"),
        (lambda c: c.detector_spec("energy@flat", "toy"), "'flat' has no network for another score"),
        (lambda c: standing_on(c, ["flat"], "mine"), "does not stand on the network 'mine'"),
        (lambda c: standing_on(c, ["energy"], "nein"), "unknown network 'nein'"),
        (lambda c: standing_on(c, ["flat"], "mine", wildcards=True), "none of these detectors stands on a network"),
    ],
)
def test_a_wrong_network_is_one_sentence(cards, ask, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        ask(catalog(cards))
    assert "\n" not in str(caught.value)


def test_a_track_without_a_network_says_how_to_name_one(cards, toy_cards):
    text = (cards.root / "datasets/toy.yaml").read_text().replace("network: mine\n", "")
    (cards.root / "datasets/toy.yaml").write_text(text)
    with pytest.raises(NoSettingsError, match=r"names no network .* --network"):
        catalog(cards).detector_spec("energy", "toy")
    assert catalog(cards).detector_spec("energy@mine", "toy").name == "energy@mine"


def test_all_scores_are_those_on_networks_and_a_network_is_added_to_each(cards):
    found = catalog(cards)
    assert found.expand(Kind.DETECTOR, "all-scores") == ["energy"]
    assert standing_on(found, ["energy", "energy@other"], "mine") == ["energy@mine", "energy@other"]
    assert standing_on(found, ["energy", "flat"], "mine", wildcards=True) == ["energy@mine"]


@pytest.mark.parametrize(
    ("method", "more", "sentence"),
    [
        ("nets_of_mine:Plain", "layers: {hidden: [nose]}", "has no layer 'nose'"),
        ("nets_of_mine:build", "args: {classes: 3}", "has 3 logits and must have 2"),
        ("nets_of_mine:build", "args: {klasses: 2}", "does not take these args"),
        ("nets_of_mine:nothing", "", "has no 'nothing'"),
        ("torchvision:resnet81", "", "torchvision has no network 'resnet81'; did you mean resnet18"),
        ("torchvision:resnet18", "args: {pretrained: true}", "weights are named by the card's own `weights`"),
        ("torchvision:resnet18", "args: {num_classes: 2}", r"cannot take images of shape \(1, 8, 8\)"),
        ("file:gone.pt2", f"args: {{sha256: {'0' * 64}}}", "cannot be read"),
        ("file:gone.pt2", "", "must have one argument, sha256"),
        ("nets_of_mine:Plain", "track: nowhere", "unknown track 'nowhere'"),
        ("nets_of_mine:Plain", "mean: [0.1, 0.2]", "has 2 numbers"),
    ],
)
def test_a_network_card_that_cannot_be_used_is_one_sentence(cards, method, more, sentence, monkeypatch):
    monkeypatch.chdir(cards.root)
    network(cards, "bad", method, more)
    if more.startswith("track"):
        file = cards.root / "detectors/networks/bad.yaml"
        file.write_text(file.read_text().replace("track: toy\n", ""))
    checked = check_file(cards.root / "detectors/networks/bad.yaml", catalog(cards))
    assert any(__import__("re").search(sentence, problem) for problem in checked.problems), checked.problems


def test_of_what_a_library_raises_the_first_line_is_said_and_no_more_than_three_hundred_letters():
    def make():
        raise ValueError("a" * 301 + "\nand more")

    with pytest.raises(CardError, match=rf"args \({'a' * 300}\); correct the card"):
        makers._made("timm:net", make)


@pytest.mark.parametrize("kind", ["timm", "hf", "onnx"])
def test_a_library_that_is_missing_is_named_with_its_extra(cards, kind, monkeypatch):
    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(makers, "import_module", gone)
    method = {"timm": "timm:resnet18", "hf": "hf:a/b", "onnx": "file:a.onnx"}[kind]
    args = {"sha256": "0" * 64} if kind == "onnx" else {}
    with pytest.raises(UsageError, match=rf"pip install 'robustood\[{kind}\]'"):
        makers.make_named(method, args)


def test_a_graph_is_read_where_its_content_is_that_of_the_card_and_by_no_library_otherwise(tmp_path, monkeypatch):
    read, made = [], torch.nn.Flatten()
    libraries = {
        "onnx": SimpleNamespace(
            load_model_from_string=lambda content: read.append(content) or "graph",
            version_converter=SimpleNamespace(convert_version=lambda graph, opset: (graph, opset)),
        ),
        "onnx2torch": SimpleNamespace(convert=lambda converted: made if converted[0] == "graph" else None),
    }
    monkeypatch.setattr(makers, "import_module", libraries.get)
    (tmp_path / "a.onnx").write_bytes(b"a graph")
    method = f"file:{tmp_path / 'a.onnx'}"
    with pytest.raises(UsageError, match=r"has sha256 .*, expected was 0000"):
        makers.make_named(method, {"sha256": "0" * 64})
    assert read == []
    assert makers.make_named(method, {"sha256": hashlib.sha256(b"a graph").hexdigest()}) is made
    assert read == [b"a graph"]


def test_a_real_graph_computes_what_it_was_written_to(tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnx2torch")

    weight = np.arange(8, dtype=np.float32).reshape(4, 2)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            onnx.helper.make_node("MatMul", ["flat", "weight"], ["y"]),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 2, 2])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    content = model.SerializeToString()
    (tmp_path / "a.onnx").write_bytes(content)
    network = make_named(f"file:{tmp_path / 'a.onnx'}", {"sha256": hashlib.sha256(content).hexdigest()})
    x = torch.rand((3, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(x), x.flatten(1) @ torch.from_numpy(weight))


def test_the_accuracy_that_a_network_records_is_asked_of_it_on_its_own_track_alone():
    card = NetworkCard(name="n", summary="", track="t", method="a.b:C", recorded={"id_accuracy": 0.9})
    assert card.base("t").recorded.id_accuracy == 0.9
    assert card.base("another").recorded.id_accuracy is None


def test_a_dump_names_what_is_given_alone_so_that_older_networks_keep_their_hashes():
    plain = NetworkSpec(method="a.b:C")
    assert set(plain.model_dump()) == {"method", "args", "crop", "mean", "std"}
    assert NetworkSpec(method="a.b:C", resize=8).content_hash() != plain.content_hash()
    assert NetworkCard(name="n", summary="", track="t", method="a.b:C").base("t").network == plain


def test_a_weights_file_that_is_missing_says_which_command_makes_it(cards):
    network(cards, "mine", "nets_of_mine:Plain", "weights: [{file: gone.safetensors}]")
    with pytest.raises(WeightsError, match=r"`bench convert FILE --network mine`"):
        load_detector(catalog(cards).detector_spec("energy", "toy"), catalog(cards).track("toy"), catalog(cards))


def test_a_folder_of_network_cards_lies_below_that_of_detectors():
    assert Path(Kind.NETWORK.folder) == Path("detectors/networks")
    with pytest.raises(CardError):
        Catalog().read(Kind.NETWORK, Path(__file__))


def test_another_version_of_the_library_that_makes_a_network_is_another_cell(cards, monkeypatch):
    network(cards, "resnet", "torchvision:resnet18", "args: {num_classes: 2}")
    spec, track = catalog(cards).detector_spec("energy@resnet", "toy"), catalog(cards).track("toy")
    threat = catalog(cards).threat("shove")
    hashes = set()
    for version in ("1.0", "1.1"):
        monkeypatch.setattr("bench.cards.network.version", lambda name, version=version: version)
        hashes.add(code_hash(spec, threat, track, [cards.root]))
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("method", "library"),
    [
        ("torchvision:resnet18", "torchvision 9"),
        ("hf:vit", "transformers 9"),
        ("file:a.onnx", "onnx2torch 9"),
        ("file:a.pt2", ""),
        ("my.nets:build", ""),
    ],
)
def test_a_library_counts_where_it_makes_the_network(method, library, monkeypatch):
    monkeypatch.setattr("bench.cards.network.version", lambda name: "9")
    assert library_version(method) == library


def test_a_configuration_of_a_hub_is_looked_for_on_this_machine_alone(monkeypatch):
    asked = []

    class AutoConfig:
        @staticmethod
        def from_pretrained(what, **options):
            asked.append((what, options))
            raise OSError("it is not in the cache")

    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoConfig=AutoConfig))
    with pytest.raises(UsageError, match="no config of it is on this machine"):
        make_named("hf:someone/vit", {"revision": "v1"})
    assert asked == [("someone/vit", {"revision": "v1", "trust_remote_code": False, "local_files_only": True})]
