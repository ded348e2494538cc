"""What `bench new track` writes of small folders, one rule at a time."""

import numpy as np
import pytest
import yaml
from PIL import Image

from bench.cards.catalog import Catalog, Kind
from bench.cards.track import TrackCard
from bench.errors import UsageError
from bench.scaffolds import track as scaffold
from bench.scaffolds.plain import new_detector, new_threat
from bench.scaffolds.track import new_track
from bench.scaffolds.writing import card_path, new_workspace


@pytest.fixture
def catalog(tmp_path):
    (tmp_path / "builtin").mkdir()
    (tmp_path / "work").mkdir()
    return Catalog(tmp_path / "work", builtin=tmp_path / "builtin")


def folder(path, count, size=(6, 4)):
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((size[1], size[0], 3), number, np.uint8)).save(path / f"{number}.png")
    return path


def written(catalog, inside, outside, **over):
    given = {"size": None, "classes": 3, **over}
    path = new_track(catalog, "mine", inside, outside, **given)
    content = yaml.safe_load(path.read_text())
    TrackCard.model_validate(content)
    return content


def test_ten_images_are_enough_and_nine_are_not(catalog, tmp_path):
    other = folder(tmp_path / "other", 1)
    with pytest.raises(UsageError, match="has 9 images; a track needs ten or more, of all classes"):
        new_track(catalog, "mine", folder(tmp_path / "nine", 9), {"far": other}, size=None, classes=3)
    card = written(catalog, folder(tmp_path / "ten", 10), {"far": other})
    assert [(card[name].get("start"), card[name].get("stop")) for name in ("train", "calibration", "test")] == [
        (None, 6),
        (6, 8),
        (8, None),
    ]
    assert (card["shape"], card["classes"], card["name"]) == ([3, 4, 4], 3, "mine")
    inside = {"path": str(tmp_path / "ten"), "shape": [3, 4, 4], "max_images": 50_000}
    assert card["train"] == {"source": "folder", "args": inside, "stop": 6}
    outside = {**inside, "path": str(other), "labels": "none"}
    assert card["ood"] == {"far": {"source": "folder", "args": outside}}
    assert card["summary"] == "Images of ten against those of other."


@pytest.mark.parametrize(
    ("size", "over", "shape"),
    [
        ((300, 250), {}, [3, 224, 224]),
        ((224, 300), {}, [3, 224, 224]),
        ((223, 300), {}, [3, 223, 223]),
        ((6, 4), {"size": 8}, [3, 8, 8]),
        ((6, 4), {"grey": True}, [1, 4, 4]),
    ],
)
def test_the_side_is_the_one_asked_for_or_the_shorter_one_up_to_224(catalog, tmp_path, size, over, shape):
    card = written(catalog, folder(tmp_path / "in", 10, size), {"far": folder(tmp_path / "out", 1)}, **over)
    assert card["shape"] == card["ood"]["far"]["args"]["shape"] == shape


def test_images_that_cannot_be_read_say_no_size(catalog, tmp_path):
    inside = folder(tmp_path / "in", 10)
    for file in inside.iterdir():
        file.write_bytes(b"no image")
    assert written(catalog, inside, {"far": folder(tmp_path / "out", 1)})["shape"] == [3, 224, 224]


def test_two_class_folders_are_classes_and_one_is_none(catalog, tmp_path):
    for name in ("a", "b"):
        folder(tmp_path / "two" / name, 6)
    folder(tmp_path / "one" / "a", 12)
    far = {"far": folder(tmp_path / "out", 1)}
    assert written(catalog, tmp_path / "two", far, classes=None)["classes"] == 2
    with pytest.raises(UsageError, match="has 2 class folders, and --classes says 3; leave --classes out"):
        new_track(catalog, "more", tmp_path / "two", far, size=None, classes=3)
    with pytest.raises(UsageError, match="has no class folders; say how many classes the network knows by --classes"):
        new_track(catalog, "more", tmp_path / "one", far, size=None, classes=None)
    assert new_track(catalog, "fits", tmp_path / "two", far, size=None, classes=2).is_file()


def test_of_more_images_than_are_taken_the_parts_are_of_those_that_are(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(scaffold, "LARGEST", 15)
    card = written(catalog, folder(tmp_path / "in", 20), {"far": folder(tmp_path / "out", 1)})
    assert (card["train"]["stop"], card["calibration"]["stop"], card["test"]["start"]) == (9, 12, 12)
    assert (scaffold.FIRST, scaffold.SECOND) == (0.6, 0.8)


def test_a_track_without_ood_images_or_folders_is_refused(catalog, tmp_path):
    inside = folder(tmp_path / "in", 10)
    (tmp_path / "empty").mkdir()
    for outside, words in (
        ({}, "a track needs OOD images"),
        ({"far": tmp_path / "gone"}, "is missing; name a folder of images"),
        ({"far": tmp_path / "empty"}, "has no images; put .png, .jpg or other images there"),
    ):
        with pytest.raises(UsageError, match=words):
            new_track(catalog, "mine", inside, outside, size=None, classes=3)
    assert not (catalog.workspace / "datasets").exists()


@pytest.mark.parametrize(
    ("name", "fine"), [("a" * 64, True), ("a" * 65, False), ("-a", False), ("A", False), ("0", True)]
)
def test_names_are_bounded(catalog, name, fine):
    if fine:
        assert card_path(catalog, Kind.TRACK, name) == catalog.workspace / "datasets" / f"{name}.yaml"
    else:
        with pytest.raises(UsageError, match="is not allowed; give 1 to 64 small letters, digits and '-'"):
            card_path(catalog, Kind.TRACK, name)


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [("my-score", "my_score", "MyScore"), ("2nd-try", "of_2nd_try", "The2ndTry"), ("one", "one", "One")],
)
def test_a_module_and_its_class_have_names_that_python_takes(catalog, name, module, kind):
    for make, folder_name, base in (
        (new_detector, "detectors", "FeatureScore"),
        (new_threat, "threat_models", "Threat"),
    ):
        card, code = make(catalog, name)
        assert card == catalog.workspace / folder_name / f"{name}.yaml"
        assert code == catalog.workspace / f"{module}.py"
        assert yaml.safe_load(card.read_text())["method"] == f"{module}:{kind}"
        assert f"class {kind}({base}):" in code.read_text()
        code.unlink()
        catalog = Catalog(catalog.workspace, builtin=catalog.builtin)


def test_a_workspace_is_made_only_where_there_is_none(catalog, tmp_path, monkeypatch):
    assert new_workspace(catalog) == (catalog, [])
    monkeypatch.chdir(tmp_path)
    made, files = new_workspace(Catalog(None, builtin=catalog.builtin))
    assert (made.workspace, made.builtin) == (tmp_path.resolve(), catalog.builtin)
    assert files == [tmp_path / "robustood.toml"]
    assert files[0].read_text() == "[workspace]\n"
