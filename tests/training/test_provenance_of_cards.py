"""No card's training or fit meets a test image: neither by the sets that it opens, nor by what these hold."""

import os

import pytest
import torch
from torch import nn

from bench.cards.catalog import Catalog
from bench.datasets.base import ImageSet, TrainingData
from bench.datasets.track import Track
from bench.errors import UsageError
from bench.training import job

CATALOG = Catalog()
LEARNED_FROM = {"train", "calibration", *(f"outliers-{number}" for number in range(1, 9))}
DRAWN_HERE = ("digits",)
SHARED = {"cifar10": {("cifar100", "train"): 1}}  # an image that both collections took from the web
needs_data = pytest.mark.skipif("ROBUSTOOD_DATA" not in os.environ, reason="ROBUSTOOD_DATA names no data folder")


def trained() -> list[tuple[str, str]]:
    """(detector or network, track) of all cards of the package that say how their weights are trained."""
    found = []
    for name in CATALOG.names("detector"):
        card = CATALOG.detector(name)[0]
        for full in (name, *(f"{name}.{variant}" for variant in card.variants)):
            for track in CATALOG.names("track"):
                try:
                    spec = CATALOG.detector_spec(full, track)
                except UsageError:
                    continue
                if spec.training is not None:
                    found.append((full, track))
    return sorted(set(found))


TRAINED = trained()


@pytest.fixture
def opened(monkeypatch):
    """The sets of tracks that were opened; each has two images, so that no data is needed."""
    names = []

    def small(track: Track, name: str) -> ImageSet:
        names.append(name)
        images = torch.zeros(2, *track.card.shape, dtype=torch.uint8)
        return ImageSet(name, images, torch.zeros(2, dtype=torch.int64), torch.arange(2), digest="0" * 64)

    monkeypatch.setattr(Track, "set", small)
    return names


@pytest.mark.parametrize(("name", "track"), TRAINED)
def test_a_recipe_is_given_what_may_be_learned_from_and_opens_nothing_else(name, track, opened, monkeypatch):
    given = []
    spec = CATALOG.detector_spec(name, track)
    real = job.import_method(spec.training.recipe, None, job.RECIPE)

    class Seen(real):
        def __init__(self, detector, data, args, **rest):
            given.append(data)

    monkeypatch.setattr(job, "import_method", lambda *_: Seen)
    monkeypatch.setattr(job, "load_for_training", lambda *_: nn.Linear(1, 1))
    job.build_recipe(spec, Track(CATALOG.track(track)), CATALOG, seed=0)
    (data,) = given
    assert isinstance(data, TrainingData)
    assert (data.train.name, data.calibration.name) == ("train", "calibration")
    assert {"train", "calibration"} <= set(opened) <= LEARNED_FROM


def test_every_track_with_trained_weights_is_among_these():
    assert {"digits", "mnist", "fashion-mnist", "cifar10"} <= {track for _, track in TRAINED}
    assert len(TRAINED) > 30


def in_common(track: Track) -> dict[tuple[str, str], int]:
    """How many images of a set of tests are, pixel by pixel, among those that are learned from."""
    tests = ("test", *track.card.ood)
    known = {
        name: {image.tobytes() for image in track.set(name).images.numpy()}
        for name in track.specs()
        if name in LEARNED_FROM
    }
    return {
        (name, other): count
        for name in tests
        for other, images in known.items()
        if (count := sum(image.tobytes() in images for image in track.set(name).images.numpy()))
    }


@pytest.mark.parametrize("name", DRAWN_HERE)
def test_no_test_image_is_one_that_was_learned_from(name):
    assert in_common(Track(CATALOG.track(name))) == {}


@pytest.mark.data
@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("name", sorted({track for _, track in TRAINED} - set(DRAWN_HERE)))
def test_no_test_image_of_real_data_is_one_that_was_learned_from(name):
    if name == "textures":
        pytest.importorskip("skimage")
    assert in_common(Track(CATALOG.track(name))) == SHARED.get(name, {})
