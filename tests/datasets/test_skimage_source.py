"""Patches of scikit-image's pictures: their places, labels and parts, on small pictures in a package of that name."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from bench.cards.track import TrackCard
from bench.datasets.check import State, check_track
from bench.datasets.sources import load_source
from bench.datasets.sources._files import MissingDataError
from bench.datasets.sources.skimage import picture_file
from bench.datasets.track import Track
from bench.errors import DataError

CARD = TrackCard.model_validate(
    yaml.safe_load((Path(__file__).parents[2] / "datasets" / "textures.yaml").read_text(encoding="utf-8"))
)
PICTURES = {name: np.random.default_rng(k).integers(256, size=(20, 26), dtype=np.uint8) for k, name in enumerate("ab")}
STACK = np.random.default_rng(5).random((4, 5, 5))


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `skimage` with small pictures, found before any that is installed."""
    folder = tmp_path / "skimage" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "skimage" / "__init__.py").write_text("raise RuntimeError('it is not to be imported')\n")
    for name, picture in PICTURES.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    np.save(folder / "stack.npy", STACK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "skimage", raising=False)
    return folder


def patches(*names: str, **changed: Any) -> np.ndarray:
    return load_source("skimage", args(*names, **changed), Path()).images


def args(*names: str, **changed: Any) -> dict[str, Any]:
    return {"pictures": list(names) or ["a.png"], "shape": [1, 8, 8]} | changed


def test_patches_side_by_side_are_all_that_fit_row_after_row(pictures):
    found = patches()
    assert found.shape == (6, 8, 8, 1)
    expected = [PICTURES["a"][top : top + 8, left : left + 8] for top in (0, 8) for left in (0, 8, 16)]
    assert np.array_equal(found[..., 0], np.stack(expected))


def test_parts_of_a_picture_share_no_pixel(pictures):
    Image.fromarray(np.repeat(np.arange(26, dtype=np.uint8)[None], 20, 0)).save(pictures / "a.png")
    columns = [set(patches(left=left, right=right).flatten().tolist()) for left, right in ((0, 9), (9, 17), (17, None))]
    assert columns == [set(range(8)), set(range(9, 17)), set(range(17, 25))]


def test_drawn_patches_lie_in_the_part_and_are_the_same_for_a_seed(pictures):
    Image.fromarray(np.repeat(np.arange(26, dtype=np.uint8)[None], 20, 0)).save(pictures / "a.png")
    found = patches(left=5, right=17, count=200, seed=1)
    assert found.shape == (200, 8, 8, 1)
    assert set(found.flatten().tolist()) == set(range(5, 17))
    assert np.array_equal(found, patches(left=5, right=17, count=200, seed=1))
    assert not np.array_equal(found, patches(left=5, right=17, count=200, seed=2))


def test_drawn_places_differ_from_picture_to_picture(pictures):
    ramp = np.repeat(np.arange(26, dtype=np.uint8)[None], 20, 0)
    for name in "ab":
        Image.fromarray(ramp).save(pictures / f"{name}.png")
    found = patches("a.png", "b.png", count=20, seed=1)
    assert not np.array_equal(found[:20], found[20:])


def test_labels_are_the_places_of_the_pictures_where_they_are_asked_for(pictures):
    found = load_source("skimage", args("b.png", "a.png", labelled=True), Path())
    assert found.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(found.images[:6], patches("b.png"))
    assert set(load_source("skimage", args("b.png", "a.png"), Path()).labels.tolist()) == {-1}


def test_colour_is_made_grey_and_grey_colour_as_the_shape_says(pictures):
    assert patches(shape=[3, 8, 8]).shape == (6, 8, 8, 3)
    colour = np.zeros((8, 8, 3), dtype=np.uint8)
    colour[..., 0] = 100
    Image.fromarray(colour).save(pictures / "red.png")
    assert set(patches("red.png").flatten().tolist()) == {30}  # 0.299 * 100


def test_each_picture_of_a_stack_is_one_patch(pictures):
    found = patches("stack.npy", shape=[1, 5, 5])
    assert np.array_equal(found[..., 0], np.rint(255 * STACK).astype(np.uint8))
    assert patches("stack.npy").shape == (4, 8, 8, 1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"left": 20}, "the part of a.png that is taken is 6x20 pixels, and a patch 8x8"),
        ({"shape": [1, 21, 8]}, "is 26x20 pixels, and a patch 8x21"),
        ({"count": 3}, "count and seed go together"),
        ({"pictures": ["../a.png"]}, "argument 'pictures.0' (given: '../a.png')"),
        ({"pictures": []}, "argument 'pictures'"),
        ({"pictures": ["stack.npy"], "shape": [3, 8, 8]}, "stack.npy holds grey pictures"),
        ({"pictures": ["bad.png"]}, "bad.png cannot be read as an image"),
        ({"pictures": ["bad.npy"]}, "bad.npy cannot be read as an array"),
        ({"pictures": ["flat.npy"]}, "flat.npy is no stack (N, h, w)"),
    ],
)
def test_what_cannot_be_cut_is_one_sentence(pictures, changed, words):
    for name in ("bad.png", "bad.npy"):
        (pictures / name).write_bytes(b"nothing of the kind")
    np.save(pictures / "flat.npy", np.full((2, 2, 2), 2.0))
    with pytest.raises(DataError) as error:
        patches(**changed)
    assert words in str(error.value)


def test_a_pickle_is_not_opened(pictures):
    np.save(pictures / "stack.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as an array"):
        patches("stack.npy")


def test_without_the_library_the_track_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing was kept of when it was installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = {each.name: each for each in check_track(CARD, Path("nowhere"))}
    assert {each.state for name, each in found.items() if name not in ("uniform", "gaussian")} == {State.MISSING}
    assert found["test"].problem == (
        "scikit-image's picture brick.png is not here: `pip install scikit-image`, which ships it."
    )


def test_fitting_calibration_and_test_take_columns_that_do_not_meet():
    parts = [CARD.train.args, CARD.calibration.args, CARD.test.args]
    assert len({tuple(part["pictures"]) for part in parts}) == 1
    assert [(part.get("left", 0), part.get("right")) for part in parts] == [(0, 256), (256, 320), (320, None)]


def test_no_picture_is_in_two_kinds_of_sets():
    others = [spec.args.get("pictures", ()) for spec in (*CARD.ood.values(), *CARD.outliers)]
    sets = [{"brick", "grass", "ihc"}, *({Path(name).stem for name in names} for names in others)]
    assert sum(map(len, sets)) == len(set().union(*sets))


@pytest.mark.data
def test_the_pictures_that_are_installed_are_those_of_the_card():
    try:
        picture_file("brick.png")
    except MissingDataError:
        pytest.skip("scikit-image is not installed")
    found = list(check_track(CARD, Path("nowhere")))
    assert {each.name: each.problem for each in found if each.state is not State.PRESENT} == {}
    assert [len(Track(CARD).set(name)) for name in ("train", "calibration", "test", "faces")] == [3000, 96, 288, 100]
