"""What a score finds in training images is found once, and anew as soon as anything that it depends on is another."""

import pytest
import torch
from tiny_world import Certified

from bench.cards.catalog import Catalog
from bench.datasets.track import Track
from bench.evaluation import fits
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.fits import fit_or_recall
from bench.evaluation.plan import plan
from bench.evaluation.store import Store


class Mean(Certified):
    """How near an image is to the mean training image."""

    made = 0
    remembered = 0

    def __init__(self, network, **options) -> None:
        super().__init__(network, **options)
        self.register_buffer("mean", torch.full((1, 6, 6), torch.nan))

    def fit(self, data, *, progress=None):
        self.made += 1
        self.mean.copy_(data.train.pixels().mean(0))
        return self

    def recalled(self):
        self.remembered += 1

    def score(self, x, *, noise=None):
        return -(x - self.mean).flatten(1).square().sum(1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "user_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "fits"


@pytest.fixture
def fitted(catalog):
    """Fits a new detector; gives it, and whether its statistics were there."""

    def make(cards=catalog, name="certified", **spec):
        detector = Mean(None, shape=(1, 6, 6), classes=2, params=Mean.Params()).eval()
        settings = cards.detector_spec(name, "tiny").model_copy(update=spec)
        return detector, fit_or_recall(detector, settings, Track(cards.track("tiny")), cards)

    return make


def test_the_second_detector_gets_the_statistics_of_the_first_bit_by_bit(cache, fitted):
    (first, found), (second, again) = fitted(), fitted()
    assert (found, again) == (False, True)
    assert torch.equal(first.mean, second.mean) and torch.isfinite(second.mean).all()
    assert (second.made, second.remembered) == (0, 1)
    assert len(list(cache.iterdir())) == 1


def test_other_settings_are_another_fit(cache, fitted):
    fitted()
    _, found = fitted(params={"share": 0.5})
    assert not found
    assert len(list(cache.iterdir())) == 2


def test_other_training_images_are_another_fit(cache, fitted, catalog, write_world):
    before, _ = fitted()
    card = catalog.track("tiny")
    write_world(train=card.train.model_copy(update={"args": {**card.train.args, "seed": 99}}).model_dump(mode="json"))
    after, found = fitted(type(catalog)(catalog.workspace))
    assert not found
    assert not torch.equal(before.mean, after.mean)


@pytest.mark.parametrize("damage", [b"", b"no tensors", None])
def test_a_damaged_file_is_made_anew(cache, fitted, damage):
    first, _ = fitted()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if damage is None else damage)
    again, found = fitted()
    assert not found
    assert torch.equal(first.mean, again.mean)
    assert file.read_bytes() == whole


def test_statistics_beyond_half_a_gibibyte_are_found_anew_every_time(cache, fitted, monkeypatch):
    assert fits.LARGEST == 2**29
    for largest, kept in ((36 * 4 - 1, False), (36 * 4, True)):  # 36 numbers of four bytes
        monkeypatch.setattr(fits, "LARGEST", largest)
        fitted()
        assert fitted()[1] == kept


def test_without_a_cache_the_fit_is_made(fitted, monkeypatch):
    monkeypatch.setattr(fits, "user_cache", lambda: None)
    detector, found = fitted()
    assert (found, detector.made) == (False, 1)


def test_a_run_hears_how_far_a_fit_is_and_nothing_where_it_is_kept(cache, tmp_path):
    cards = Catalog()
    track = Track(cards.track("digits"))
    total = len(track.set("train"))
    heard: list[tuple[str, int, int, str]] = []

    def listen(cell, *told):
        heard.append((cell.detector.name, *told))

    for run in ("first", "again"):
        cells = plan(cards, ["knn", "msp"], ["clean"], None, ["digits"], limit=4)
        outcomes = list(run_plan(cells, Store(tmp_path / run), cards, fitting=listen))
        assert all(isinstance(outcome, CellDone) for outcome in outcomes)
        if run == "first":
            assert heard == [("knn", min(n + 250, total), total, "features") for n in range(0, total, 250)]
            heard.clear()
    assert heard == []
