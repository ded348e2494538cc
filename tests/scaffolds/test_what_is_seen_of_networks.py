"""What `bench new network` sees of a module: its size, its mean and std, what it says of both, and the card's text."""

import types

import pytest
import torch
import yaml
from torch import nn

from bench.cards.catalog import Catalog, Kind
from bench.cards.track import SetSpec, TrackCard
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.small import SmallConvNet
from bench.errors import UsageError
from bench.scaffolds import network as scaffold

HALF = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
NO_MEAN = "no mean and std are set: images go in as they are, in [0, 1]; set them where yours were trained so."
USUAL = "mean and std are those usual for this library; correct them where yours was trained with others."


def track(side=8, channels=3):
    anything = SetSpec(source="uniform")
    return TrackCard(
        name="t", summary="", shape=(channels, side, side), classes=4, train=anything, calibration=anything,
        test=anything, ood={"other": anything.model_dump()},
    )  # fmt: skip


class Net(nn.Module):
    """Takes images of these sides alone; any where none is given."""

    def __init__(self, *sides, channels=3, outputs=4, **said):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(channels, 6, 3), nn.Linear(6, outputs)
        self.sides, self.asked = sides, []
        for name, value in said.items():
            setattr(self, name, value)

    def forward(self, x):
        self.asked.append(x.shape[-1])
        if self.sides and x.shape[-1] not in self.sides:
            raise ValueError("another size is needed")
        return self.head(self.conv(x).mean((2, 3)))


def looked(module, method="mine:build", card=None, mean=None, std=None, size=None):
    return scaffold._looked_at(module.eval(), method, {"a": 1}, card or track(), mean, std, size, "mine")


# --------------------------------------------------------------------------- sizes


def sizes_asked(module):
    return list(dict.fromkeys(module.asked))


def test_a_network_that_takes_the_tracks_images_gets_them():
    look = looked(module := Net())
    assert (look.resize, sizes_asked(module), look.told, look.args) == (None, [8], (NO_MEAN,), {"a": 1})


def test_sizes_are_tried_in_their_order_until_one_is_taken():
    look = looked(module := Net(192))
    assert sizes_asked(module) == [8, 224, 256, 299, 32, 64, 96, 128, 160, 192]
    told = "images of 8 pixels are brought to 192, differentiably; budgets are of the track's own."
    assert (look.resize, look.told) == (192, (NO_MEAN, told))


def test_the_size_that_a_network_says_it_was_made_for_goes_first_and_once():
    for said in (
        {"image_size": 12},
        {"config": types.SimpleNamespace(image_size=12)},
        {"pretrained_cfg": {"fixed_input_size": True, "input_size": (3, 10, 12)}},
    ):
        look = looked(module := Net(12, **said))
        assert (look.resize, sizes_asked(module)) == (12, [12])
        module = Net(28, **said)
        assert looked(module).resize == 28
        assert module.asked.count(12) == 1 and module.asked[0] == 12


def test_a_size_that_is_no_number_or_only_usual_is_none():
    for said in ({"image_size": "12"}, {"image_size": (12, 12)}, {"pretrained_cfg": {"input_size": (3, 12, 12)}}):
        look = looked(module := Net(**said))
        assert (look.resize, sizes_asked(module)) == (None, [8])


def test_a_size_that_is_the_tracks_own_needs_no_step():
    look = looked(module := Net(8, image_size=8))
    assert (look.resize, sizes_asked(module), look.told) == (None, [8], (NO_MEAN,))
    look = looked(Net(8), size=8)
    assert (look.resize, look.told) == (8, (NO_MEAN,))


def test_a_size_that_is_given_is_the_only_one():
    assert looked(module := Net(), size=16).resize == 16
    assert sizes_asked(module) == [16]
    with pytest.raises(UsageError, match=r"cannot take images of shape \(3, 16, 16\)"):
        looked(module := Net(32), size=16)
    assert sizes_asked(module) == [16]


def test_where_no_size_is_taken_the_tracks_own_is_told():
    with pytest.raises(UsageError, match=r"network 'mine' cannot take images of shape \(3, 8, 8\)"):
        looked(Net(1))


def test_another_fault_than_the_size_ends_the_search():
    with pytest.raises(UsageError, match="5 logits"):
        looked(module := Net(outputs=5))
    assert sizes_asked(module) == [8]


# --------------------------------------------------------------------------- mean and std


@pytest.mark.parametrize(
    ("module", "method", "found", "told"),
    [
        (Net(), "mine:build", (None, None), NO_MEAN),
        (Net(), "torchvision:resnet18", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), USUAL),
        (Net(), "hf:vit", ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), USUAL),
        (Net(pretrained_cfg={"mean": [0.5] * 3, "std": [0.25] * 3}), "timm:x", HALF, USUAL),
        (Net(pretrained_cfg={"mean": [0.5] * 3, "std": [0.25] * 3}), "torchvision:x", HALF, USUAL),
        (Net(pretrained_cfg={"mean": [0.5] * 3}), "timm:x", (None, None), NO_MEAN),
        (Net(pretrained_cfg={"std": [0.5] * 3}), "timm:x", (None, None), NO_MEAN),
        (Net(pretrained_cfg=7), "timm:x", (None, None), NO_MEAN),
    ],
)
def test_mean_and_std_are_those_that_a_library_has_or_says(module, method, found, told):
    look = looked(module, method)
    assert ((look.mean, look.std), look.told) == (found, (told,))


def test_those_of_a_library_for_other_channels_are_not_taken():
    look = looked(Net(channels=1), "torchvision:x", track(channels=1))
    told = "the library's mean is of 3 channels and the track has 1: none is set."
    assert ((look.mean, look.std), look.told) == ((None, None), (told,))


def test_given_ones_are_taken_and_nothing_is_told():
    look = looked(Net(), "torchvision:x", mean=HALF[0], std=HALF[1])
    assert ((look.mean, look.std), look.told) == (HALF, ())
    look = looked(Net(), "torchvision:x", mean=HALF[0])
    assert ((look.mean, look.std), look.told) == ((HALF[0], None), ())
    for option in ("mean", "std"):
        with pytest.raises(UsageError, match=f"--{option} has 2 numbers, and images of track 't' have 3 channels"):
            looked(Net(), **{option: (0.5, 0.5)})


def test_the_network_is_asked_through_its_steps_from_pixels():
    look = looked(module := Net(), mean=HALF[0], std=HALF[1], size=8)
    x = torch.rand(2, 3, 8, 8)
    assert torch.allclose(look.network(x), module((x - 0.5) / 0.25), atol=1e-5)


def test_a_network_of_bench_is_taken_as_it_is():
    own = SmallConvNet((4, 4), 8, 4, size=8)
    look = looked(own, card=track(channels=1))
    assert look.network.network is own and isinstance(look.network, FromPixels)
    assert look.parts == {"layers": ", ".join(own.layers)}


# --------------------------------------------------------------------------- the card's text


def test_a_card_holds_what_was_seen():
    look = looked(Net(), "torchvision:x", size=16)
    card = yaml.safe_load(text := scaffold._text("mine", "torchvision:x", track(), look, "mine.safetensors", "ab"))
    assert card == {
        "name": "mine", "summary": "The network torchvision:x for t.", "track": "t", "method": "torchvision:x",
        "args": {"a": 1}, "resize": 16, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "weights": [{"file": "mine.safetensors", "sha256": "ab"}],
    }  # fmt: skip
    assert "# say how it was trained\n" in text and text.endswith("    sha256: ab\n")
    assert "# Found in it: penultimate: the input of head; logits: head; layers: conv.\n" in text
    assert "# layers: {penultimate: NAME, logits: NAME or output, hidden: [NAME, ...]}  # to name others\n" in text


def test_a_card_leaves_out_what_is_not_there():
    look = scaffold.Look({}, None, None, None, {}, looked(Net()).network, ())
    text = scaffold._text("mine", "mine:build", track(), look, None, None)
    assert yaml.safe_load(text).keys() == {"name", "summary", "track", "method"}
    assert "# mean: one number a channel\n# std: one number a channel\n" in text


@pytest.mark.parametrize("args", [{"config": {"hidden": [1, 2]}, "name": "x: y"}, {"text": "a" * 300 + " b"}])
def test_arguments_stand_on_one_line_whatever_they_hold(args):
    look = scaffold.Look(args, None, None, None, {}, looked(Net()).network, ())
    text = scaffold._text("mine", "mine:build", track(), look, None, None)
    assert yaml.safe_load(text)["args"] == args and len(text.splitlines()) == 9


# --------------------------------------------------------------------------- what makes it


MODULE = """
import torch
from torch import nn

class Made(nn.Module):
    def __init__(self, {name}=2, width=3):
        super().__init__()
        self.outputs, self.width = {name}, width

made = Made(7)

def both(num_classes=2, outputs=2):
    return Made(num_classes + 10 * outputs)

def fails():
    raise RuntimeError

def talks():
    raise RuntimeError("\\n" + "x" * 400)

def tells():
    raise RuntimeError("first\\nsecond")
"""


@pytest.mark.parametrize("name", ["num_classes", "classes", "n_classes", "outputs"])
def test_the_number_of_classes_is_given_by_its_usual_names_unless_it_is_given(tmp_path, name):
    (tmp_path / f"makes_{name}.py").write_text(MODULE.format(name=name))
    catalog = Catalog(tmp_path)
    module, args = scaffold._made(catalog, f"makes_{name}:Made", {"width": 5}, 4)
    assert (args, module.outputs, module.width) == ({name: 4, "width": 5}, 4, 5)
    module, args = scaffold._made(catalog, f"makes_{name}:Made", {name: 9}, 4)
    assert (args, module.outputs) == ({name: 9}, 9)
    module, args = scaffold._made(catalog, f"makes_{name}:made", {"x": 1}, 4)
    assert (args, module.outputs) == ({"x": 1}, 7)


def test_the_first_of_several_usual_names_alone_is_given_the_classes(tmp_path):
    (tmp_path / "makes_both.py").write_text(MODULE.format(name="classes"))
    module, args = scaffold._made(Catalog(tmp_path), "makes_both:both", {}, 4)
    assert (args, module.outputs) == ({"num_classes": 4}, 24)


def test_a_failing_maker_is_told_by_its_first_line_or_its_kind(tmp_path):
    (tmp_path / "makes_nothing.py").write_text(MODULE.format(name="classes"))
    for maker, reason in (("tells", "first"), ("fails", "RuntimeError"), ("talks", "x" * 300)):
        with pytest.raises(UsageError) as caught:
            scaffold._made(Catalog(tmp_path), f"makes_nothing:{maker}", {}, 4)
        told = f"'makes_nothing:{maker}' makes no network ({reason}); give its arguments by --arg NAME=VALUE."
        assert str(caught.value) == told


@pytest.mark.parametrize(
    ("method", "args", "given"),
    [("torchvision:x", {}, {"num_classes": 4}), ("timm:x", {"num_classes": 9}, {"num_classes": 9}), ("hf:x", {}, {})],
)
def test_named_networks_are_made_with_as_many_classes(monkeypatch, method, args, given):
    heard = []
    monkeypatch.setattr(scaffold, "make_named", lambda *call: heard.append(call) or "module")
    assert scaffold._made(Catalog(), method, args, 4) == ("module", given)
    assert heard == [(method, given)]


def test_a_file_is_made_by_its_digest(monkeypatch, tmp_path):
    (tmp_path / "m.pt2").write_bytes(b"one")
    monkeypatch.setattr(scaffold, "make_named", lambda *call: "module")
    _, args = scaffold._made(Catalog(), f"file:{tmp_path / 'm.pt2'}", {"more": 1}, 4)
    assert list(args) == ["sha256", "more"] and args["sha256"].startswith("7692c3ad3540bb80")


def test_weights_below_a_key_are_the_only_ones_and_its_neighbours_are_told(tmp_path):
    torch.save({"model": {"a": torch.zeros(2)}, "ema": {"a": torch.ones(2)}}, tmp_path / "both.pt")
    (found,) = scaffold._states(tmp_path / "both.pt", "ema")
    assert found.key == "ema" and len(scaffold._states(tmp_path / "both.pt", None)) >= 2
    with pytest.raises(UsageError, match=r"below the key 'x'; its keys with some: (model, ema|ema, model)\."):
        scaffold._states(tmp_path / "both.pt", "x")
    torch.save({f"part{k}": {"a": torch.zeros(2)} for k in range(12)}, tmp_path / "many.pt")
    with pytest.raises(UsageError) as caught:
        scaffold._states(tmp_path / "many.pt", "x")
    assert str(caught.value).count("part") == 10
    torch.save({"a": torch.zeros(2)}, tmp_path / "plain.pt")
    with pytest.raises(UsageError, match=r"its keys with some: none\."):
        scaffold._states(tmp_path / "plain.pt", "x")


# --------------------------------------------------------------------------- the track's own, and its accuracy


def test_a_track_of_the_workspace_that_has_no_network_takes_it_and_others_do_not(toy_cards):
    path = toy_cards.root / "datasets" / "toy.yaml"
    path.write_text(path.read_text() + "# network: NAME  # on which scores stand\n")
    catalog = Catalog(toy_cards.root)
    before = path.read_text().splitlines()[:-1]
    assert scaffold.adopt(catalog, "toy", "mine")[0] == path
    assert path.read_text().splitlines() == [*before, "network: mine  # on which scores stand where none is named"]
    assert path.read_text().endswith("named\n")
    assert Catalog(toy_cards.root).track("toy").network == "mine"
    found = Catalog(toy_cards.root)
    assert scaffold.adopt(found, "toy", "other")[0] is None
    built_in, said = scaffold.adopt(found, "digits", "other", replace=True)
    assert built_in is None
    assert said.endswith("name the new one by `knn@other`.")
    assert Catalog(toy_cards.root).where(Kind.TRACK, "digits").parent != path.parent


class Brightest(nn.Module):
    def forward(self, x):
        if self.training:
            raise AssertionError("asked in training mode")
        return {"logits": x.mean((2, 3)), "other": x}


def test_accuracy_is_the_share_of_labelled_images():
    images = torch.zeros(4, 3, 2, 2)
    images[torch.arange(4), torch.tensor([0, 1, 2, 2])] = 1.0
    network = Brightest().eval()
    assert scaffold.quick_accuracy(network, images, torch.tensor([0, 1, 0, -1])) == pytest.approx(2 / 3)
    assert scaffold.quick_accuracy(network, images, torch.tensor([0, 1, 2, 2])) == 1.0
    assert scaffold.quick_accuracy(network, images, torch.full((4,), -1)) is None
