"""Images at hand become a track: every form of them, and one sentence for what is none."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import bench
from bench.errors import BenchError, UsageError

GREY = torch.arange(12 * 36, dtype=torch.uint8).reshape(12, 1, 6, 6)
COLOUR = torch.arange(12 * 108).remainder(256).to(torch.uint8).reshape(12, 3, 6, 6)


class Pictures(Dataset):
    """PIL images with labels, as torchvision's datasets give them."""

    def __len__(self):
        return len(COLOUR)

    def __getitem__(self, index):
        return Image.fromarray(COLOUR[index].permute(1, 2, 0).numpy()), index % 4


@pytest.mark.parametrize(
    "given",
    [
        COLOUR,
        COLOUR.numpy(),
        COLOUR.permute(0, 2, 3, 1).numpy(),
        COLOUR / 255.0,
        (COLOUR / 255.0).double().numpy(),
        (COLOUR, torch.arange(12)),
        TensorDataset(COLOUR / 255.0),
        Pictures(),
    ],
    ids=["tensor", "array", "channels-last", "floats", "doubles", "labelled", "dataset", "pictures"],
)
def test_every_form_of_the_same_images_is_the_same_set(given):
    track = bench.make_track(given, {"far": COLOUR.flip(0)})
    assert torch.equal(track.set("test").images, COLOUR)
    assert torch.equal(track.set("far").images, COLOUR.flip(0))
    assert track.card.shape == (3, 6, 6)


def test_labels_count_the_classes_and_come_from_items_or_beside_the_images():
    assert bench.make_track(Pictures(), {"far": COLOUR}).card.classes == 4
    track = bench.make_track((GREY, list(range(12))), {"far": GREY.squeeze(1).numpy()})
    assert (track.card.classes, track.set("test").labels.tolist()) == (12, list(range(12)))
    assert bench.make_track(GREY, {"far": GREY}).card.classes == 1
    assert bench.make_track(GREY, {"far": GREY}, classes=7).card.classes == 7


def test_sets_are_told_apart_by_their_content_alone():
    one, two = (bench.make_track(GREY, {"far": GREY}), bench.make_track(GREY.clone(), {"far": GREY + 1}))
    assert one.digest("test") == two.digest("test")
    assert one.digest("far") != two.digest("far")


def test_what_was_changed_or_is_missing_is_said():
    between = bench.make_track(torch.full((2, 1, 6, 6), 0.5), {"far": GREY})
    assert "rounded to 8 bits" in between.set("test").notes[0]
    assert "thresholds are set on the test images" in between.set("calibration").notes[0]
    held = bench.make_track(GREY, {"far": GREY}, calibration=GREY)
    assert held.set("test").notes == held.set("calibration").notes == ()
    with pytest.raises(BenchError, match="train=images"):
        held.training_data()


@pytest.mark.parametrize(
    ("test", "ood", "said"),
    [
        (GREY / 127.0, {"far": GREY}, "lie between 0 and 2.008; give pixels in"),
        (GREY * float("nan"), {"far": GREY}, "lie between nan"),
        (GREY.long(), {"far": GREY}, "are of type int64; give uint8"),
        (GREY[:, 0, 0], {"far": GREY}, "images only"),
        (GREY.expand(-1, 2, -1, -1), {"far": GREY}, "C = 1 or 3"),
        (GREY[:0], {"far": GREY}, "N > 0"),
        ("photos", {"far": GREY}, "bench new track"),
        (GREY, {}, "a dict of OOD images"),
        (GREY, {"far": COLOUR}, r"'far' have shape \(3, 6, 6\) and those of 'test' \(1, 6, 6\)"),
        (GREY, {"test": GREY}, "cannot be called 'test'"),
        (GREY, {"../far": GREY}, "is no name of a set"),
        ((GREY, [1, 2]), {"far": GREY}, "one for each of 12 images"),
        ((GREY, [0.5] * 12), {"far": GREY}, "no whole numbers"),
        ([GREY[0], COLOUR[0]], {"far": GREY}, "bring them to one"),
        ([], {"far": GREY}, "are none"),
    ],
)
def test_what_is_no_track_is_refused_in_one_sentence(test, ood, said):
    with pytest.raises(UsageError, match=said) as caught:
        bench.make_track(test, ood)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def own():
    """A network of one's own on images of one's own: bright against dark, with a little of every class."""
    torch.manual_seed(0)
    images = torch.rand(60, 1, 6, 6)
    labels = torch.arange(60) % 4
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4))
    return network, bench.make_track((images, labels), {"dark": images * 0.2}, train=(images, labels), name="own")


@pytest.mark.parametrize("score", ["energy", "knn", "msp.probability"])
def test_a_score_stands_on_a_network_at_hand(own, score, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    network, track = own
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    table = bench.evaluate(score, "fgm-l2", track, network=network, eps=0.5).table()
    assert set(table["detector"]) == {f"{score}@sequential"}
    assert table["auroc"].iloc[-1] < table["clean_auroc"].iloc[-1]
    assert network.training and network[1].weight.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    detector = bench.load_detector(score, track, network=network)
    cells = bench.evaluate(score, "fgm-l2", track, network=network, eps=0.5).cells
    scored = cells[0].samples.query("set == 'dark'")["score"].to_numpy()
    assert np.allclose(detector.score(track.set("dark").pixels()).numpy(), scored, atol=1e-5)


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ("gat", "is no score that stands on any network"),
        ("energy@oe", "is no score that stands on any network"),
        (nn.Flatten(), "a detector at hand has its own"),
    ],
)
def test_a_network_goes_with_a_score_alone(own, detector, said):
    with pytest.raises(UsageError, match=said):
        bench.evaluate(detector, "fgm-l2", own[1], network=own[0], eps=0.5)


def test_a_network_with_other_logits_than_classes_is_refused(own):
    with pytest.raises(UsageError, match="3 logits and the track 4 classes"):
        bench.evaluate("energy", "fgm-l2", own[1], network=nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), eps=0.5)
