"""No image of a built-in track lies in two sets whose images must not meet, and nobody is trained on test images."""

import dataclasses
import itertools
import os
import re

import numpy as np
import pytest
import torch

from bench.cards.catalog import Catalog, Kind
from bench.cards.track import FormSpec, SetKind, SetSpec, TrackCard
from bench.datasets.forms import inner_forms
from bench.datasets.track import Track
from bench.errors import DataError

CATALOG = Catalog(None)
TRACKS = [CATALOG.track(name) for name in CATALOG.names(Kind.TRACK)]
EMBEDDED = [card for card in TRACKS if card.name == "digits"]
PUBLISHED = [card for card in TRACKS if card not in EMBEDDED]
ID_SETS = ("train", "calibration", "test")

EVERY = 10**9

REPEATED = 0.002
"""The share of a test set that may be a training image too: published sets have some that were published twice."""


def contents(track: Track, name: str) -> set[bytes]:
    return {image.tobytes() for image in np.ascontiguousarray(track.set(name).images.numpy())}


def places(card: TrackCard, name: str) -> tuple[object, ...]:
    """Where a set of a card is taken from."""
    spec = getattr(card, name)
    return spec.source, tuple(sorted(map(str, spec.args.items()))), spec.start, spec.stop


def check_apart(track: Track, repeated: float) -> None:
    """Every pair of ID sets, and every training set against every test set, OOD ones among them."""
    outliers = [name for name in track.specs() if name.startswith("outliers")]
    pairs = [*itertools.combinations(ID_SETS, 2), *itertools.product([*ID_SETS, *outliers], track.card.ood)]
    pairs += list(itertools.product(ID_SETS, outliers))
    found = {name: contents(track, name) for name in track.specs()}
    for first, second in pairs:
        common = found[first] & found[second]
        assert len(common) <= repeated * min(len(found[first]), len(found[second])), (first, second)


@pytest.mark.parametrize("card", TRACKS, ids=lambda card: card.name)
def test_a_card_takes_its_id_sets_from_three_places(card):
    assert len({places(card, name) for name in ID_SETS}) == 3
    for first, second in itertools.combinations(ID_SETS, 2):
        a, b = getattr(card, first), getattr(card, second)
        if (a.source, a.args) == (b.source, b.args):  # then they are ranges of it that do not meet
            before, after = sorted((a, b), key=lambda spec: spec.start or 0)
            assert before.stop is not None
            assert before.stop <= (after.start or 0)


def images_of(form: FormSpec) -> object:
    """What a form holds: a copy of a half of CIFAR has the images of that half in their order, from the first one."""
    half = re.fullmatch(r"cifar(100?)_(train|test)\.npz", str(form.args.get("file")))
    if half:
        return f"CIFAR{half[1]}", half[2] == "train"
    if form.source == "torchvision":
        return form.args["dataset"], form.args["train"]
    return form.source, *sorted((name, str(value)) for name, value in form.args.items())


def parts(spec: SetSpec) -> list[tuple[object, range]]:
    """Of each form of a set, what it holds and the numbers of the images that are taken."""
    found = []
    for form in spec.forms:
        part, args = spec.taken_of(form), form.args
        first, count = args.get("start", 0), args.get("count", EVERY)
        if form.source == "corrupted":
            found.append((images_of(inner_forms(form)[0]), range(first, first + count)))
        elif form.source == "background":
            figures, pictures = map(images_of, inner_forms(form))
            found.append((figures, range(first, first + count)))
            found.append((pictures, range(args.get("behind_start", 0), args.get("behind_stop", EVERY))))
        else:
            found.append((images_of(form), range(part.start, part.stop or EVERY)))
    return found


def common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


@pytest.mark.parametrize("card", TRACKS, ids=lambda card: card.name)
def test_no_mix_of_forms_shows_training_an_image_that_figures_are_about(card):
    specs = Track(card).specs()
    fitting = [name for name in specs if name in ("train", "calibration") or name.startswith("outliers")]
    for first, second in itertools.product(fitting, ["test", *card.ood]):
        if specs[first].exclude_labels or specs[second].exclude_labels:
            continue  # classes of one file on both sides: told apart by their labels
        for (one, these), (other, those) in itertools.product(parts(specs[first]), parts(specs[second])):
            assert one != other or not common(these, those), (first, second)


def test_no_shifted_set_shows_a_photograph_of_the_id_test_set():
    shifted = [(card, spec) for card in TRACKS for spec in card.ood.values() if spec.kind is SetKind.SHIFTED]
    assert shifted
    for card, spec in shifted:
        for (one, these), (other, those) in itertools.product(parts(card.test), parts(spec)):
            assert one == other  # else nothing would be said of them
            assert not common(these, those)


@pytest.mark.parametrize("card", TRACKS, ids=lambda card: card.name)
def test_no_mix_of_forms_shows_training_what_thresholds_are_taken_from(card):
    for (one, these), (other, those) in itertools.product(parts(card.train), parts(card.calibration)):
        assert one != other or not common(these, those)


@pytest.mark.parametrize("card", TRACKS, ids=lambda card: card.name)
def test_a_card_accepts_no_content_for_two_of_its_sets(card):
    track = Track(card)
    digests = {name: set(spec.digests()) for name, spec in track.specs().items() if spec.digests()}
    for first, second in itertools.combinations(digests, 2):
        if digests[first] & digests[second]:
            spec, other = (track.specs()[name] for name in (first, second))
            assert (spec.start, spec.stop, spec.exclude_labels) != (other.start, other.stop, other.exclude_labels)


@pytest.mark.parametrize("card", EMBEDDED, ids=lambda card: card.name)
def test_no_image_of_the_embedded_track_is_in_two_sets(card, tmp_path):
    check_apart(Track(card, tmp_path), repeated=0.0)


@pytest.mark.data
@pytest.mark.parametrize("card", PUBLISHED, ids=lambda card: card.name)
def test_no_image_of_a_published_track_is_in_two_sets(card):
    if not os.environ.get("ROBUSTOOD_DATA"):
        pytest.skip("set ROBUSTOOD_DATA to a folder of data files")
    try:
        check_apart(Track(card), repeated=REPEATED)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("card", EMBEDDED, ids=lambda card: card.name)
def test_what_training_may_see_are_the_sets_of_its_names(card, tmp_path):
    track = Track(card, tmp_path)
    data = track.training_data()
    parts = [track.set(name) for name in track.specs() if name.startswith("outliers")]
    assert torch.equal(data.train.ids, track.set("train").ids)
    assert torch.equal(data.calibration.ids, track.set("calibration").ids)
    assert torch.equal(data.outliers.ids, torch.cat([part.ids for part in parts]))
    kept = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    for name in ("test", *card.ood):
        forbidden = set(track.set(name).ids.tolist())
        assert not any(forbidden & set(images.ids.tolist()) for images in kept.values() if hasattr(images, "ids"))
