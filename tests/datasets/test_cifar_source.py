"""CIFAR as torchvision reads it: from its folder or its archive, and never by calling what a pickle names."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from bench.cards.track import FormSpec
from bench.datasets.forms import is_present
from bench.datasets.published import BATCHES
from bench.datasets.sources import load_source
from bench.datasets.sources._cifar import read_batch
from bench.datasets.sources._files import MissingDataError
from bench.errors import DataError
from tests.datasets.small_cifar import SmallCifar, archive, batch, shrink_cifar

SMALL = {name: SmallCifar.of(name, 3) for name in BATCHES}
HALVES = [("CIFAR10", "train"), ("CIFAR10", "test"), ("CIFAR100", "train"), ("CIFAR100", "test")]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in SMALL.values():
        shrink_cifar(monkeypatch, each)


def loaded(dataset: str, half: str, folder: Path):
    return load_source("torchvision", {"dataset": dataset, "train": half == "train"}, folder)


def unpack(dataset: str, folder: Path) -> Path:
    """torchvision's folder of a small data set."""
    here = folder / BATCHES[dataset].folder
    here.mkdir()
    for name, content in SMALL[dataset].files.items():
        (here / name).write_bytes(content)
    return here


def pack(dataset: str, folder: Path) -> None:
    (folder / BATCHES[dataset].archive.name).write_bytes(SMALL[dataset].archive)


@pytest.mark.parametrize("put", [unpack, pack], ids=["folder", "archive"])
@pytest.mark.parametrize(("dataset", "half"), HALVES)
def test_images_and_fine_labels_are_read_in_their_order(tmp_path, put, dataset, half):
    put(dataset, tmp_path)
    found = loaded(dataset, half, tmp_path)
    assert np.array_equal(found.images, SMALL[dataset].images[half]) and found.images.flags["C_CONTIGUOUS"]
    assert found.labels.tolist() == SMALL[dataset].labels[half] and found.labels.dtype == np.int64


def test_what_is_read_is_what_torchvision_reads(tmp_path, monkeypatch):
    import torchvision.datasets

    unpack("CIFAR10", tmp_path)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda self: None)
    for half in ("train", "test"):
        theirs = torchvision.datasets.CIFAR10(tmp_path, train=half == "train")
        ours = loaded("CIFAR10", half, tmp_path)
        assert np.array_equal(ours.images, theirs.data) and ours.labels.tolist() == theirs.targets


def test_files_and_their_md5_are_those_of_torchvision(monkeypatch):
    monkeypatch.undo()
    import torchvision.datasets

    for name, batches in BATCHES.items():
        theirs = getattr(torchvision.datasets, name)
        assert dict(theirs.train_list) == batches.files["train"] and dict(theirs.test_list) == batches.files["test"]
        assert (theirs.base_folder, theirs.filename) == (batches.folder, batches.archive.name)
        assert theirs.url in batches.archive.urls
        assert sum(len(files) * batches.count[half] for half, files in batches.files.items()) == 60_000


@pytest.mark.parametrize("dataset", BATCHES)
def test_nothing_there_is_missing_and_both_places_are_named(tmp_path, dataset):
    with pytest.raises(MissingDataError) as error:
        loaded(dataset, "train", tmp_path)
    assert BATCHES[dataset].folder in str(error.value) and BATCHES[dataset].archive.name in str(error.value)


def test_a_folder_that_lacks_a_file_leaves_the_archive_to_be_read(tmp_path):
    (unpack("CIFAR10", tmp_path) / "data_batch_3").unlink()
    with pytest.raises(MissingDataError):
        loaded("CIFAR10", "train", tmp_path)
    assert len(loaded("CIFAR10", "test", tmp_path).images) == 3
    pack("CIFAR10", tmp_path)
    assert len(loaded("CIFAR10", "train", tmp_path).images) == 15


@pytest.mark.parametrize("place", ["folder", "archive"])
def test_a_file_of_another_md5_is_refused_before_it_is_read(tmp_path, monkeypatch, place):
    ran = tmp_path / "ran"
    evil = b"cos\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR."
    if place == "folder":
        (unpack("CIFAR10", tmp_path) / "test_batch").write_bytes(evil)
    else:
        content = archive({"cifar-10-batches-py/test_batch": evil})
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch of torchvision's CIFAR10 .* has another md5") as error:
        loaded("CIFAR10", "test", tmp_path)
    place = "cifar-10-batches-py" if place == "folder" else "cifar-10-python.tar.gz"
    assert f"remove {place} and" in str(error.value) and "\n" not in str(error.value) and not ran.exists()


def test_a_file_larger_than_its_images_allow_is_not_read(tmp_path):
    (unpack("CIFAR10", tmp_path) / "test_batch").write_bytes(bytes(20_000))
    with pytest.raises(DataError, match="has more than 9,600 bytes"):
        loaded("CIFAR10", "test", tmp_path)


def test_another_number_of_images_is_refused(tmp_path, monkeypatch):
    shrink_cifar(monkeypatch, SMALL["CIFAR10"], count={"train": 4, "test": 4})
    unpack("CIFAR10", tmp_path)
    with pytest.raises(DataError, match="holds 3 images instead of 4"):
        loaded("CIFAR10", "test", tmp_path)


# --------------------------------------------------------------------------- pickles of strangers

IMAGES = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_batch_that_python_3_wrote_is_read_too(protocol):
    data = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)).reshape(2, -1)
    content = pickle.dumps({"labels": [4, 7], "data": data}, protocol=protocol)
    images, labels = read_batch(content, "labels", "a file")
    assert np.array_equal(images, IMAGES) and labels.tolist() == [4, 7]


class Calls:
    def __reduce__(self):
        return (print, ("called",))


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_that_a_pickle_names_is_called(tmp_path, capsys):
    for evil in (Calls(), Touches(tmp_path / "touched")):
        content = pickle.dumps({"labels": [evil], "data": IMAGES.reshape(2, -1)}, protocol=2)
        with pytest.raises(DataError, match="is no file of CIFAR's images"):
            read_batch(content, "labels", "a file")
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({"labels": [1]}),
        pickle.dumps({"labels": [1, 2], "data": "text"}),
        pickle.dumps({"labels": [1, 2], "data": IMAGES.reshape(2, -1)[:, :-1].copy()}),
        pickle.dumps({"labels": [1, 2], "data": IMAGES.reshape(2, -1).astype(np.float32)}, protocol=2),
        pickle.dumps({"labels": [1, 2], "data": np.asfortranarray(IMAGES.reshape(2, -1))}, protocol=2),
        pickle.dumps({"labels": [1, 2], "data": np.array([[], None], dtype=object)}, protocol=2),
        pickle.dumps({"labels": ["a", "b"], "data": IMAGES.reshape(2, -1)}, protocol=2),
        pickle.dumps({"labels": np.int64(1), "data": IMAGES.reshape(2, -1)}, protocol=2),
        batch(IMAGES, [1, 2], "coarse_labels"),
        batch(IMAGES, [1, 2, 3], "labels"),
        batch(IMAGES, [1, 2], "labels")[:-1000],
    ],
)
def test_what_is_no_batch_is_a_sentence(content):
    with pytest.raises(
        DataError, match=r"^a file is no file of CIFAR's images \(\w+\): remove it and fetch it again\.$"
    ):
        read_batch(content, "labels", "a file")


def test_a_folder_counts_as_present_where_every_file_of_the_half_is_there(tmp_path):
    dataset, half = HALVES[0]
    form = FormSpec(source="torchvision", args={"dataset": dataset, "train": half == "train"})
    assert not is_present(form, tmp_path)
    here = unpack(dataset, tmp_path)
    assert is_present(form, tmp_path)
    names = list(BATCHES[dataset].files[half])
    (here / names[-1]).unlink()
    assert len(names) > 1 and not is_present(form, tmp_path)
    pack(dataset, tmp_path)
    assert is_present(form, tmp_path)
