"""Cards turned into sets: parts, grey, padding, ids, digests and their errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cards.track import SetSpec, TrackCard
from bench.datasets.base import RawImages, content_digest, sample_ids
from bench.datasets.decoding import WrongContentError, prepared
from bench.datasets.forms import default_data_dir
from bench.datasets.track import Track
from bench.errors import DataError, UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(20, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(20, dtype=np.int64) % 5


def card(shape: tuple[int, int, int] = (3, 4, 4), **changes: Any) -> TrackCard:
    part = {"source": "npz", "args": {"file": "toy.npz"}}
    sets: dict[str, Any] = {"train": part, "calibration": part, "test": part, "ood": {"other": part}, **changes}
    return TrackCard.model_validate({"name": "toy", "summary": "", "shape": shape, "classes": 5, **sets})


def spec(**changes: Any) -> dict[str, Any]:
    return {"source": "npz", "args": {"file": "toy.npz"}, **changes}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    np.savez(tmp_path / "toy.npz", images=IMAGES, labels=LABELS)
    return tmp_path


def test_a_set_holds_its_file_with_channels_first(data_dir: Path) -> None:
    found = Track(card(), data_dir).set("test")
    assert np.array_equal(found.images.numpy(), IMAGES.transpose(0, 3, 1, 2))
    assert np.array_equal(found.labels.numpy(), LABELS)
    assert found.digest == content_digest(IMAGES, LABELS)


def test_a_part_keeps_the_ids_of_its_positions_in_the_whole(data_dir: Path) -> None:
    found = Track(card(train=spec(start=5, stop=15, exclude_labels=[0, 3])), data_dir).set("train")
    positions = [5 + k for k in range(10) if (5 + k) % 5 not in (0, 3)]
    assert torch.equal(found.ids, sample_ids("train", 20)[positions])
    assert np.array_equal(found.labels.numpy(), LABELS[positions])


def test_a_crop_keeps_the_centre_and_comes_before_the_padding() -> None:
    framed = prepared(IMAGES, SetSpec(source="npz", crop=2, pad=1))
    assert framed.shape == (20, 3, 4, 4)
    assert np.array_equal(framed[:, :, 1:-1, 1:-1], IMAGES[:, 1:-1, 1:-1].transpose(0, 3, 1, 2))
    assert framed[:, :, 0].sum() == framed[:, :, :, 0].sum() == 0


@pytest.mark.parametrize(("crop", "rows", "columns"), [(3, (2, 5), (1, 4)), (5, (1, 6), (0, 5)), (9, (0, 7), (0, 5))])
def test_a_crop_is_a_square_around_the_centre_of_any_image_and_never_larger_than_it(crop, rows, columns) -> None:
    images = np.arange(2 * 7 * 5, dtype=np.uint8).reshape(2, 7, 5, 1)
    expected = images[:, rows[0] : rows[1], columns[0] : columns[1], 0]
    assert np.array_equal(prepared(images, SetSpec(source="npz", crop=crop))[:, 0], expected)


def test_padding_adds_zeros_and_a_crop_undoes_it(data_dir: Path) -> None:
    padded = prepared(IMAGES, SetSpec(source="npz", pad=2))
    assert padded.shape == (20, 3, 8, 8)
    assert np.array_equal(padded[:, :, 2:-2, 2:-2], IMAGES.transpose(0, 3, 1, 2))
    assert padded.sum() == IMAGES.astype(np.int64).sum()


def test_grey_is_itu_r_601_luma(data_dir: Path) -> None:
    grey = prepared(IMAGES, SetSpec(source="npz", grey=True))
    assert grey.shape == (20, 1, 4, 4)
    luma = IMAGES @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[:, 0] - luma).max() <= 1.0  # rounding, in fixed-point arithmetic


def test_grey_leaves_what_is_grey(data_dir: Path) -> None:
    images = IMAGES[..., :1]
    assert np.array_equal(prepared(images, SetSpec(source="npz", grey=True)), images.transpose(0, 3, 1, 2))


def test_a_smaller_limit_takes_a_part_of_a_larger_one(data_dir: Path) -> None:
    whole = Track(card(), data_dir).set("test")
    small, large = whole.limited(5), whole.limited(12)
    assert (len(small), len(large)) == (5, 12)
    assert set(small.ids.tolist()) < set(large.ids.tolist()) < set(whole.ids.tolist())
    assert small.digest == whole.digest


def test_a_set_is_loaded_once(data_dir: Path) -> None:
    track = Track(card(), data_dir)
    first = track.set("test")
    (data_dir / "toy.npz").unlink()
    assert track.set("test") is first


def test_a_declared_digest_needs_no_file(tmp_path: Path) -> None:
    assert Track(card(test=spec(digest="0" * 64)), tmp_path).digest("test") == "0" * 64


def test_a_set_without_a_declared_digest_is_loaded_for_it(data_dir: Path) -> None:
    assert Track(card(), data_dir).digest("test") == content_digest(IMAGES, LABELS)


def test_one_of_several_accepted_digests_is_enough(data_dir: Path) -> None:
    right = content_digest(IMAGES, LABELS)
    track = Track(card(test=spec(digest=["0" * 64, right])), data_dir)
    assert track.digest("test") == right


def test_other_content_is_one_sentence_with_both_digests(data_dir: Path) -> None:
    with pytest.raises(WrongContentError) as error:
        Track(card(test=spec(digest="0" * 64)), data_dir).set("test")
    assert content_digest(IMAGES, LABELS) in str(error.value)
    assert "0" * 64 in str(error.value)
    assert "bench data check" in str(error.value)


def test_a_missing_file_is_one_sentence_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        Track(card(), tmp_path).set("test")
    for part in ("toy.npz", str(tmp_path), "bench data check", "--data-dir", "ROBUSTOOD_DATA"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_another_shape_than_the_tracks_is_an_error(data_dir: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(3, 4, 4\), the track's is \(1, 4, 4\)"):
        Track(card(shape=(1, 4, 4)), data_dir).set("test")


def test_a_part_that_takes_nothing_is_an_error(data_dir: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        Track(card(test=spec(start=20)), data_dir).set("test")


def test_an_unknown_set_proposes_the_nearest(data_dir: Path) -> None:
    with pytest.raises(UsageError, match="did you mean other"):
        Track(card(), data_dir).set("othr")


def test_outliers_are_joined_and_keep_their_ids_apart(data_dir: Path) -> None:
    track = Track(card(outliers=[spec(stop=4), spec(start=10)]), data_dir)
    outliers = track.outliers()
    assert outliers is not None
    assert len(outliers) == 14
    assert len(set(outliers.ids.tolist())) == 14
    assert outliers.digest == track.digest("outliers")


def test_a_track_without_outliers_trains_without(data_dir: Path) -> None:
    data = Track(card(), data_dir).training_data()
    assert data.outliers is None
    assert data.classes == 5


def test_the_data_folder_is_what_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBUSTOOD_DATA", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("ROBUSTOOD_DATA")
    assert default_data_dir().parts[-2:] == ("robustood", "data")


def test_a_users_own_source_is_found_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "own_source_of_images.py").write_text(
        "import numpy as np\nfrom bench.datasets.base import RawImages\n"
        "def load(args, data_dir):\n"
        "    return RawImages(np.full((args['n'], 4, 4, 3), 7, np.uint8), np.zeros(args['n'], np.int64))\n"
    )
    own = {"source": "own_source_of_images:load", "args": {"n": 3}}
    assert len(Track(card(test=own), tmp_path, workspace=tmp_path).set("test")) == 3


def bad_source(args: dict[str, Any], data_dir: Path) -> RawImages:
    return RawImages(np.zeros((2, 4, 4, 3)), np.zeros(2, dtype=np.int64))


def test_a_source_that_returns_floats_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.sources.uniform.load", bad_source)
    with pytest.raises(DataError, match="images must be uint8"):
        Track(card(test={"source": "uniform"}), tmp_path).set("test")
