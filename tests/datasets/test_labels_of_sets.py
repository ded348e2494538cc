"""Labels of ID sets: a wrong one is refused, a missing one is said, and nothing is computed from either."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards.track import TrackCard
from bench.datasets.base import ImageSet
from bench.datasets.labels import label_notes
from bench.datasets.track import Track
from bench.errors import DataError

COUNT, CLASSES = 12, 3
RIGHT = np.arange(COUNT) % CLASSES


def loaded(folder: Path, name: str, labels: Any) -> ImageSet:
    """One set of a track whose other sets have right labels."""
    images = np.zeros((COUNT, 4, 4, 1), np.uint8)
    np.savez(folder / "right.npz", images=images, labels=RIGHT)
    np.savez(folder / "given.npz", images=images, **({} if labels is None else {"labels": np.asarray(labels)}))
    right, given = ({"source": "npz", "args": {"file": f"{file}.npz"}} for file in ("right", "given"))
    sets: dict[str, Any] = {key: given if key == name else right for key in ("train", "calibration", "test")}
    card = {"name": "toy", "summary": "", "shape": (1, 4, 4), "classes": CLASSES, **sets}
    ood = {"other": given if name == "other" else right}
    outliers = [given if name == "outliers-1" else right]
    return Track(TrackCard.model_validate({**card, "ood": ood, "outliers": outliers}), folder).set(name)


@pytest.mark.parametrize("name", ["train", "calibration", "test"])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (RIGHT + 1, "labels 1 to 3, of which 4 of 12 lie outside 0 to 2, the labels of 3 classes"),
        (RIGHT * 5, "labels 0 to 10, of which 8 of 12"),
        (RIGHT - 2, "labels -2 to 0, of which 4 of 12"),
        (np.full(COUNT, 255), "labels 255 to 255, of which 12 of 12"),
    ],
)
def test_a_label_outside_the_classes_is_one_sentence_with_the_set_and_the_count(
    tmp_path: Path, name: str, labels: np.ndarray, said: str
) -> None:
    with pytest.raises(DataError) as error:
        loaded(tmp_path, name, labels)
    assert said in str(error.value)
    assert f"set '{name}' of track 'toy'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["other", "outliers-1"])
def test_sets_that_are_not_id_may_have_any_labels(tmp_path: Path, name: str) -> None:
    assert loaded(tmp_path, name, RIGHT * 50).labels.max() == 100


@pytest.mark.parametrize("labels", [None, np.full(COUNT, -1)])
def test_a_set_without_labels_is_fine_and_said(tmp_path: Path, labels: Any) -> None:
    assert "no image has a label" in loaded(tmp_path, "test", labels).notes[0]


def test_right_labels_are_not_mentioned(tmp_path: Path) -> None:
    assert loaded(tmp_path, "test", RIGHT).notes == ()


def test_some_labels_are_counted() -> None:
    assert label_notes(np.array([0, 1, 2, -1, -1]), 3, "s") == (
        "2 of 5 images have no label; they do not enter the ID accuracy.",
    )


def test_a_class_without_images_is_named() -> None:
    assert label_notes(np.array([0, 2, 2]), 4, "s") == ("no image has label 1, 3, of the track's 4 classes.",)
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 89 more" in label_notes(np.array([99]), 100, "s")[0]


def test_only_the_part_that_a_card_takes_must_have_right_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 4, 4, 1), np.uint8), labels=np.array([0, 1, 7, 0]))
    source = {"source": "npz", "args": {"file": "x.npz"}, "exclude_labels": [7]}
    sets = {"train": source, "calibration": source, "test": source, "ood": {"other": source}}
    card = TrackCard.model_validate({"name": "toy", "summary": "", "shape": (1, 4, 4), "classes": 2, **sets})
    found = Track(card, tmp_path).set("test")
    assert found.labels.tolist() == [0, 1, 0]
    assert (len(found), found.available) == (3, 4)


def test_what_needs_labels_says_which_set_has_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the recipe needs labels, and the set 'train' has no labels"):
        loaded(tmp_path, "train", None).required_labels("the recipe")
    some = loaded(tmp_path, "train", [*RIGHT[:-2], -1, -1])
    with pytest.raises(DataError, match="has 2 images without a label"):
        some.required_labels("the recipe")
    whole = loaded(tmp_path, "train", RIGHT)
    assert whole.required_labels("the recipe") is whole.labels
