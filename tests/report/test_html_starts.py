"""Clean images beside attacked ones: those of the cell's samples, or none at all."""

import numpy as np
import pytest

from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.errors import UsageError
from bench.evaluation.keys import set_digests, track_hash
from bench.report.html.starts import StartImages

COUNT = 6


class OneCard:
    """A catalog of one track."""

    def __init__(self, card):
        self.card, self.asked = card, 0

    def track(self, name):
        self.asked += 1
        if name != self.card.name:
            raise UsageError(f"unknown track '{name}'.")
        return self.card


@pytest.fixture
def card(tmp_path):
    """A track of images that are told apart by their level."""
    levels = np.arange(COUNT, dtype=np.uint8)[:, None, None, None] * 20
    for name, first in (("own", 0), ("far", 100)):
        pixels = np.broadcast_to(levels + first, (COUNT, 2, 2, 1))
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=np.arange(COUNT) % 2)
    own, far = ({"source": "npz", "args": {"file": f"{name}.npz"}} for name in ("own", "far"))
    return TrackCard.model_validate(
        {"name": "flat", "summary": "s", "shape": [1, 2, 2], "classes": 2, "train": own, "calibration": own,
         "test": own, "ood": {"far": far}}
    )  # fmt: skip


@pytest.fixture
def meta(make_meta, card, tmp_path):
    return make_meta(track="flat", track_hash=track_hash(card), set_digests=set_digests(card, tmp_path))


def ids_of(card, folder, name):
    return [int(sample) for sample in Track(card, folder).set(name).ids]


def test_images_are_those_at_the_positions_asked_for_in_that_order(card, meta, tmp_path):
    starts, ids = StartImages(OneCard(card), tmp_path, None), ids_of(card, tmp_path, "far")
    found = starts.of(meta, "far", [4, 0, 5], [ids[4], ids[0], ids[5]])
    assert [image.shape for image in found] == [(1, 2, 2)] * 3
    assert [round(float(image.mean()) * 255) for image in found] == [180, 100, 200]
    assert starts.notices == []


def test_an_image_that_is_not_the_sample_that_it_should_be_is_not_shown(card, meta, tmp_path):
    starts, ids = StartImages(OneCard(card), tmp_path, None), ids_of(card, tmp_path, "test")
    found = starts.of(meta, "test", [1, 1, COUNT, -1], [ids[1], ids[2], ids[0], ids[-1]])
    assert [image is None for image in found] == [False, True, True, True]


def test_a_track_and_a_set_are_looked_up_once_and_what_is_wrong_with_them_is_said_once(card, meta, tmp_path):
    starts = StartImages(OneCard(card), tmp_path, None)
    for _ in range(2):
        assert starts.of(meta, "near", [0], [1]) == [None]
    assert starts._cards.asked == 1
    assert len(starts.notices) == 1 and starts.notices[0].startswith("flat: ")


@pytest.mark.parametrize(
    ("changed", "notice"),
    [
        ({"track_hash": "other"}, "flat: the track's card has changed since the cells were computed."),
        ({"track": "gone"}, "gone: unknown track 'gone'."),
        ({"set_digests": {"far": "0" * 64}}, "flat: the images of far are not those of the cells any more."),
    ],
)
def test_images_of_another_card_or_content_are_not_shown_and_said_to_be_others(card, meta, tmp_path, changed, notice):
    starts = StartImages(OneCard(card), tmp_path, None)
    assert starts.of(meta.model_copy(update=changed), "far", [0, 1], [0, 1]) == [None, None]
    assert starts.notices == [notice]
