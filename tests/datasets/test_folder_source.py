"""Folders of image files: order, labels, cuts, and what is passed over."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from bench.cards.track import TrackCard
from bench.datasets.base import RawImages
from bench.datasets.sources import load_source
from bench.datasets.sources._walk import shuffled, top
from bench.datasets.track import Track
from bench.errors import DataError

SHAPE = (3, 8, 8)


def save(folder: Path, name: str, grey: int = 7) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(path)


def load(folder: Path, **args: Any) -> RawImages:
    return load_source(f"folder:{folder}", {"shape": SHAPE, **args}, folder)


def greys(found: RawImages) -> list[int]:
    return found.images[:, 0, 0, 0].tolist()


def numbered(folder: Path, count: int, classes: int = 1) -> None:
    """One image a number, grey of that number; spread over class folders where there are several."""
    for k in range(count):
        save(folder, f"c{k % classes}/{k}.png" if classes > 1 else f"{k}.png", k)


# --------------------------------------------------------------------------- order and cuts


def test_the_order_depends_on_names_alone(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(20)]
    for folder, order in (("a", names), ("b", names[::-1])):
        for name in order:
            save(tmp_path / folder, name, int(name[:-4]))
    assert greys(load(tmp_path / "a")) == greys(load(tmp_path / "b"))
    assert greys(load(tmp_path / "a")) != sorted(greys(load(tmp_path / "a")))


def test_the_order_is_that_of_this_version_for_good(tmp_path: Path) -> None:
    assert shuffled(["a.png", "b.png", "c/a.png", "ä.png"]) == ["c/a.png", "ä.png", "a.png", "b.png"]


def test_the_order_is_the_same_under_every_locale(tmp_path: Path) -> None:
    for k, name in enumerate(("ä.png", "Z.png", "é.png", "z.png", "a.png")):
        save(tmp_path, name, k)
    program = (
        "from pathlib import Path; from bench.datasets.sources import load_source; import sys;"
        "print(load_source(f'folder:{sys.argv[1]}', {'shape': (3, 8, 8)}, Path()).images[:, 0, 0, 0].tolist())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **locale},
        ).stdout
        for locale in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"})
    }
    assert len(seen) == 1


def test_a_smaller_cut_lies_in_a_larger_one_and_another_file_moves_no_other(tmp_path: Path) -> None:
    numbered(tmp_path, 30)
    whole = greys(load(tmp_path))
    assert greys(load(tmp_path, max_images=10)) == whole[:10]
    save(tmp_path, "new.png", 99)
    assert [grey for grey in greys(load(tmp_path)) if grey != 99] == whole


def test_a_cut_takes_of_every_class_folder_and_is_said(tmp_path: Path) -> None:
    numbered(tmp_path, 200, classes=10)
    found = load(tmp_path, max_images=100)
    assert len(np.unique(found.labels)) == 10
    assert found.available == 200
    assert "100 of 200 images are taken (max_images), by a fixed shuffle." in found.notes


def test_no_cut_is_said_where_nothing_is_cut(tmp_path: Path) -> None:
    numbered(tmp_path, 5)
    assert load(tmp_path, max_images=5).notes == ()


def card(folder: str = "mine", classes: int = 2, **sets: Any) -> TrackCard:
    source: dict[str, Any] = {"source": f"folder:{folder}", "args": {"shape": SHAPE}}
    parts = {"train": {**source, "stop": 10}, "calibration": {**source, "start": 10, "stop": 16}}
    content = {
        "name": "toy",
        "summary": "",
        "shape": SHAPE,
        "classes": classes,
        **parts,
        "test": {**source, "start": 16},
    }
    return TrackCard.model_validate({**content, "ood": {"other": source}, **sets})


def test_parts_of_one_folder_share_no_image_leave_none_out_and_keep_their_labels(tmp_path: Path) -> None:
    numbered(tmp_path / "mine", 30, classes=2)
    track = Track(card(), tmp_path)
    parts = [track.set(name) for name in ("train", "calibration", "test")]
    greys = [set(part.images[:, 0, 0, 0].tolist()) for part in parts]
    assert [len(part) for part in greys] == [10, 6, 14]
    assert set.union(*greys) == set(range(30))
    for part in parts:  # number k lies in folder c(k mod 2)
        assert (part.images[:, 0, 0, 0] % 2 == part.labels).all()


def test_a_part_beyond_what_there_is_is_said(tmp_path: Path) -> None:
    numbered(tmp_path / "mine", 20)
    source = {"source": "folder:mine", "args": {"shape": SHAPE}}
    found = Track(card(test={**source, "start": 15, "stop": 50}), tmp_path).set("test")
    assert len(found) == 5
    assert "the card takes images up to number 50 and the source has 20." in found.notes


# --------------------------------------------------------------------------- labels


def test_labels_are_those_of_torchvisions_image_folder(tmp_path: Path) -> None:
    for k, name in enumerate(("zebra/a.png", "Ape/b.png", "ape/deep/down/c.png", "10/d.png", "9/e.png", "éland/f.png")):
        save(tmp_path, name, k)
    peer = ImageFolder(str(tmp_path))
    found = load(tmp_path)
    assert list(found.class_names) == peer.classes
    expected = {np.asarray(image)[0, 0, 0]: label for image, label in peer}
    assert dict(zip(greys(found), found.labels.tolist(), strict=True)) == expected


def test_the_meaning_of_labels_is_said(tmp_path: Path) -> None:
    save(tmp_path, "dog/a.png")
    save(tmp_path, "cat/b.png")
    assert load(tmp_path).notes == ("labels are the class folders in sorted order: 0 cat, 1 dog.",)


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("only/a.png", "only/b.png"), ("a.png", "x/b.png", "y/c.png")])
def test_images_that_do_not_all_lie_in_several_folders_have_no_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        save(tmp_path, name)
    found = load(tmp_path)
    assert found.labels.tolist() == [-1] * len(names)
    assert found.class_names == ()


def test_folders_beside_images_are_said_to_be_no_classes(tmp_path: Path) -> None:
    for name in ("a.png", "x/b.png", "y/c.png"):
        save(tmp_path, name)
    assert "there are no labels" in load(tmp_path).notes[0]


def test_a_card_can_take_folders_for_classes_or_not(tmp_path: Path) -> None:
    save(tmp_path, "only/a.png")
    assert load(tmp_path, labels="folders").labels.tolist() == [0]
    save(tmp_path, "more/b.png")
    assert load(tmp_path, labels="none").labels.tolist() == [-1, -1]


def test_a_card_can_order_and_choose_the_classes(tmp_path: Path) -> None:
    for k, name in enumerate(("cat/a.png", "dog/b.png", "notes/c.png", "d.png")):
        save(tmp_path, name, k)
    found = load(tmp_path, classes=["dog", "cat"])
    assert dict(zip(greys(found), found.labels.tolist(), strict=True)) == {1: 0, 0: 1}
    assert "2 files passed over, outside the class folders: d.png, notes/c.png." in found.skipped


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"classes": ["cat", "cow"]}, "has no class folder cow: it has cat, dog"),
        ({"classes": ["cat", "cat"]}, "every class must be named once"),
        ({"classes": ["cat"], "labels": "none"}, "leave one of the two out"),
        ({"classes": ["../cat"]}, "argument 'classes"),
        ({"labels": "files"}, "argument 'labels'"),
    ],
)
def test_wrong_classes_are_one_sentence(tmp_path: Path, args: dict[str, Any], sentence: str) -> None:
    save(tmp_path, "cat/a.png")
    save(tmp_path, "dog/b.png")
    with pytest.raises(DataError, match=sentence):
        load(tmp_path, **args)


def test_labels_of_folders_without_folders_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    with pytest.raises(DataError, match="has no class folders"):
        load(tmp_path, labels="folders")


def test_an_empty_class_folder_keeps_its_place_and_is_said(tmp_path: Path) -> None:
    save(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    save(tmp_path, "c/2.png")
    found = load(tmp_path)
    assert sorted(found.labels.tolist()) == [0, 2]
    assert "no image is read of 1 class folders: b." in found.notes


def test_hidden_folders_and_linked_ones_are_no_classes(tmp_path: Path) -> None:
    for name in ("in/a/1.png", "in/b/2.png", "in/.ipynb_checkpoints/3.png", "out/4.png"):
        save(tmp_path, name)
    (tmp_path / "in" / "0").symlink_to(tmp_path / "out")
    found = load(tmp_path / "in")
    assert found.class_names == ("a", "b")
    assert sorted(found.labels.tolist()) == [0, 1]


def test_as_many_class_folders_as_classes_are_wanted_of_id_sets_alone(tmp_path: Path) -> None:
    numbered(tmp_path / "mine", 30, classes=3)
    track = Track(card(classes=10), tmp_path)
    with pytest.raises(DataError, match=r"there are 3 class folders \(c0, c1, c2\) and the track has 10 classes"):
        track.set("test")
    assert track.set("other").labels.max() == 2


def test_class_folders_of_other_names_in_another_id_set_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "mine/cat/a.png")
    save(tmp_path, "mine/dog/b.png")
    save(tmp_path, "tests/dog/a.png")
    save(tmp_path, "tests/cow/b.png")
    made = card(
        train={"source": "folder:mine", "args": {"shape": SHAPE}},
        calibration={"source": "folder:mine", "args": {"shape": SHAPE}},
        test={"source": "folder:tests", "args": {"shape": SHAPE}},
    )
    with pytest.raises(DataError, match="labels would mean different classes"):
        Track(made, tmp_path).set("test")
    with pytest.raises(DataError, match="labels would mean different classes"):
        Track(made, tmp_path).set("train")


# --------------------------------------------------------------------------- what is passed over


def test_everything_that_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    save(tmp_path, "in/a.png")
    save(tmp_path, "out/b.png")
    save(tmp_path, "in/.hidden.png")
    save(tmp_path, "in/.hidden/c.png")
    (tmp_path / "in" / "notes.txt").write_text("hello")
    (tmp_path / "in" / "b.heic").write_bytes(b"?")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out" / "b.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "broken.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    found = load(tmp_path / "in")
    assert len(found.images) == 1
    assert found.skipped == (
        "2 files passed over, hidden: .hidden.png, .hidden/.",
        "3 files passed over, links: broken.png, link.png, loop/.",
        "1 file passed over, no regular files: pipe.png.",
        "2 files passed over, not images by their suffix: b.heic, notes.txt.",
    )


def test_many_files_are_one_sentence_with_the_first_names(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    for k in range(9):
        (tmp_path / f"{k}.txt").touch()
    assert load(tmp_path).skipped == (
        "9 files passed over, not images by their suffix: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more.",
    )


def test_a_strangers_file_name_prints_harmlessly(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    (tmp_path / "\x1b[31mred\u202e.txt").touch()
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))).touch()
    said = " ".join(load(tmp_path).skipped)
    assert "\\x1b[31mred\\u202e.txt" in said
    said.encode()


def test_a_folder_of_nothing_but_links_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b")
    with pytest.raises(DataError, match=r"holds no readable image: 1 file passed over, links: a\.png"):
        load(tmp_path)


def test_a_folder_that_cannot_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a.png")
    save(tmp_path, "locked/b.png")
    scandir = os.scandir

    def locked(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)  # root, who runs many tests, may read every folder
    assert "1 file passed over, in a folder that cannot be read: locked/." in load(tmp_path).skipped


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no readable image: 1 file passed over, cannot be decoded"):
        load(tmp_path)


def test_a_relative_folder_stays_below_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out").symlink_to(tmp_path)
    for path in ("../", "out"):
        with pytest.raises(DataError, match="leaves the data folder"):
            load_source(f"folder:{path}", {"shape": SHAPE}, tmp_path / "data")


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"image folder 'mine' is missing below {tmp_path}"):
        load_source("folder:mine", {"shape": SHAPE}, tmp_path)


def test_class_folders_are_in_the_order_of_the_bytes_of_their_names(tmp_path):
    names = [os.fsdecode(name) for name in (b"a", b"\xee\x80\x80", b"\xff")]
    for name in reversed(names):
        (tmp_path / name).mkdir()
    assert top(tmp_path).folders == tuple(names) != tuple(sorted(names))
