"""The embedded track: what is in it, and that it is the same everywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench.cards.track import SetKind, TrackCard
from bench.datasets.sources import load_source
from bench.datasets.sources.digits import originals, split_positions
from bench.datasets.sources.glyphs import FONTS, LETTERS
from bench.datasets.track import Track

CARD = TrackCard.model_validate(yaml.safe_load((Path(__file__).parents[2] / "datasets" / "digits.yaml").read_text()))
SETS = ("train", "calibration", "test", *CARD.ood, "outliers-1", "outliers-2", "outliers-3")


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> Track:
    """The track with an empty data folder: nothing may come from it."""
    return Track(CARD, tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_the_digest_that_the_card_declares(track: Track, name: str) -> None:
    assert track.specs()[name].digests() == (track.set(name).digest,)


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_the_shape_of_the_track(track: Track, name: str) -> None:
    found = track.set(name)
    assert found.images.shape[1:] == CARD.shape
    assert found.images.dtype == torch.uint8


def test_the_parts_of_the_digits_are_disjoint_and_complete() -> None:
    parts = split_positions(originals()[1])
    assert {name: len(part) for name, part in parts.items()} == {"train": 1097, "calibration": 300, "test": 400}
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(1797))


def test_every_class_has_its_share_of_every_part() -> None:
    labels = originals()[1]
    whole = np.bincount(labels) / len(labels)
    for part in split_positions(labels).values():
        # Systematic sampling of sampled lists: a class is at most two images off its share.
        assert np.abs(np.bincount(labels[part], minlength=10) - whole * len(part)).max() < 2


def test_the_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    images, labels = originals()
    assert np.array_equal(images, load_digits().images)
    assert np.array_equal(labels, load_digits().target)


def test_enlarged_digits_have_the_norm_that_the_radii_were_chosen_for(track: Track) -> None:
    norms = track.set("test").pixels().flatten(1).norm(dim=1)
    assert 13.5 < norms.mean() < 14.8


def test_no_image_is_in_two_sets(track: Track) -> None:
    seen: dict[bytes, str] = {}
    for name in ("test", "calibration", *CARD.ood, "outliers-1", "outliers-2", "outliers-3"):
        for image in track.set(name).images.numpy():
            assert seen.setdefault(image.tobytes(), name) == name


def test_training_outliers_are_near_no_ood_test_image(track: Track) -> None:
    outliers = track.outliers()
    assert outliers is not None
    for name in CARD.ood:
        nearest = torch.cdist(track.set(name).pixels().flatten(1), outliers.pixels().flatten(1)).min()
        assert nearest > 1.0, name  # a tenth of the median distance between two digits


def test_letters_leave_out_what_looks_like_a_digit(track: Track) -> None:
    assert not set("OoDQIliSsZzBqgb") & set(LETTERS)
    assert len(set(LETTERS)) == len(LETTERS) == 37
    assert set(track.set("letters").labels.tolist()) == set(range(len(LETTERS)))


def test_letters_use_only_fonts_that_matplotlib_ships() -> None:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    assert all((folder / f"{font}.ttf").is_file() for font in FONTS)


def test_letters_have_the_ink_and_the_size_of_digits(track: Track) -> None:
    digits, letters = track.set("test").pixels(), track.set("letters").pixels()
    assert abs(digits.mean() - letters.mean()) < 0.02
    assert abs(digits.flatten(1).norm(dim=1).mean() - letters.flatten(1).norm(dim=1).mean()) < 0.7
    assert abs((digits > 0).float().mean() - (letters > 0).float().mean()) < 0.03


def test_only_letters_and_photos_enter_the_mean() -> None:
    assert CARD.natural() == ("letters", "photos")
    assert {name for name, spec in CARD.ood.items() if spec.kind is SetKind.SYNTHETIC} == {
        "spiral",
        "checkerboard",
        "uniform",
        "gaussian",
    }


@pytest.mark.parametrize(
    ("source", "args"),
    [
        ("glyphs", {"count": 5}),
        ("strokes", {"count": 5}),
        ("shuffled", {"count": 5}),
        ("photos", {"count": 5, "image": "china.jpg", "shape": [3, 16, 24]}),
        ("spiral", {"count": 5, "shape": [3, 16, 24]}),
        ("checkerboard", {"count": 5, "shape": [3, 16, 24]}),
        ("uniform", {"count": 5, "shape": [3, 16, 24]}),
        ("gaussian", {"count": 5, "shape": [3, 16, 24]}),
    ],
)
def test_a_drawn_set_depends_on_its_seed_alone(source: str, args: dict[str, object]) -> None:
    np.random.seed(0)  # the global generator must have no part in it
    first = load_source(source, {**args, "seed": 1}, Path())
    np.random.seed(1)
    again = load_source(source, {**args, "seed": 1}, Path())
    other = load_source(source, {**args, "seed": 2}, Path())
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert len({image.tobytes() for image in first.images}) == 5
    assert (first.images.shape[1:] == (16, 24, 3)) == ("shape" in args)


def test_spirals_and_checkerboards_have_contrast_in_every_image(track: Track) -> None:
    for name in ("spiral", "checkerboard"):
        images = track.set(name).images.flatten(1).to(torch.int64)
        assert int((images.amax(1) - images.amin(1)).min()) > 0.35 * 255, name


def test_checkerboards_have_two_colours(track: Track) -> None:
    assert {len(image.unique()) for image in track.set("checkerboard").images} == {2}
