"""Sets that are fetched from a server: unpacked, made into what cards name, and one that fails stops no other."""

import functools
import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cards.track import OtherForm, SetSpec
from bench.cli.app import app
from bench.datasets import download as downloads
from bench.datasets import published
from bench.datasets.base import content_digest
from bench.datasets.download import Fetching, distinct, fetch
from bench.datasets.published import PublishedFile
from bench.datasets.sources import load_source
from bench.datasets.unpacking import read_members, unpack_gzip
from bench.errors import DataError
from tests.datasets.serving import Served, serving, without_proxies
from tests.datasets.small_cifar import SmallCifar, archive, shrink_cifar

RNG = np.random.default_rng(1)
IMAGES, LABELS = RNG.integers(256, size=(5, 28, 28), dtype=np.uint8), np.arange(5)


def http() -> Fetching:
    return Fetching(_schemes=("http",))


MNIST = SetSpec(source="torchvision", args={"dataset": "MNIST", "train": True})


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """One that has a small MNIST, KMNIST and CIFAR-10."""
    without_proxies(monkeypatch)
    with serving() as served:
        halves: dict[str, list[PublishedFile]] = {}
        for half in ("train", "t10k"):
            for kind, content in (("images-idx3", idx(IMAGES)), ("labels-idx1", idx(LABELS))):
                name = f"{half}-{kind}-ubyte.gz"
                served.files[name] = gzip.compress(content)
                halves.setdefault(half, []).append(served.published(name, served.files[name], unpacked=len(content)))
        monkeypatch.setattr(downloads, "IDX", {"MNIST": halves, "KMNIST": halves})
        served.files["small.tar.gz"] = SMALL_CIFAR.archive
        shrink_cifar(monkeypatch, SMALL_CIFAR, served.published("small.tar.gz", SMALL_CIFAR.archive))
        yield served


SMALL_CIFAR = SmallCifar.of("CIFAR10", 4)
CIFAR = SetSpec(source="torchvision", args={"dataset": "CIFAR10", "train": True})
CIFAR_TEST = SetSpec(source="torchvision", args={"dataset": "CIFAR10", "train": False})


# --------------------------------------------------------------------------- sets


def test_torchvisions_files_are_fetched_unpacked_and_can_be_read(server: Served, tmp_path: Path) -> None:
    assert fetch(MNIST, tmp_path, http()) == [f"MNIST was fetched into {tmp_path}."]
    found = load_source("torchvision", MNIST.args, tmp_path)
    assert np.array_equal(found.images[..., 0], IMAGES) and found.labels.tolist() == LABELS.tolist()
    assert not list(tmp_path.rglob("*.gz")) and not list(tmp_path.rglob("*.part"))
    server.asked.clear()
    assert fetch(MNIST, tmp_path, http()) == ["MNIST is there already."]
    assert server.asked == []


def test_of_several_files_one_that_fails_stops_no_other(server: Served, tmp_path: Path) -> None:
    server.files["train-labels-idx1-ubyte.gz"] = server.files["t10k-images-idx3-ubyte.gz"]
    packed = server.files.pop("t10k-labels-idx1-ubyte.gz")
    with pytest.raises(DataError) as error:
        fetch(MNIST, tmp_path, http())
    said = str(error.value).splitlines()
    assert ["train-labels" in said[0], "t10k-labels" in said[1]] == [True, True] and len(said) == 2
    server.files["t10k-labels-idx1-ubyte.gz"] = packed
    server.files["train-labels-idx1-ubyte.gz"] = packed
    server.asked.clear()
    fetch(MNIST, tmp_path, http())
    assert sorted(path for path, _ in server.asked) == ["/t10k-labels-idx1-ubyte.gz", "/train-labels-idx1-ubyte.gz"]


def test_a_file_of_the_users_own_is_not_replaced(server: Served, tmp_path: Path) -> None:
    mine = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match="is there and is another file than was published"):
        fetch(MNIST, tmp_path, http())
    assert mine.read_bytes() == b"mine"


def test_a_copy_takes_one_half_alone(server: Served, tmp_path: Path) -> None:
    spec = SetSpec(source="npz", args={"file": "kmnist_test.npz"})
    assert fetch(spec, tmp_path, http()) == [f"kmnist_test.npz was fetched into {tmp_path}."]
    found = load_source("npz", spec.args, tmp_path)
    assert np.array_equal(found.images[..., 0], IMAGES) and found.labels.tolist() == LABELS.tolist()
    assert all("t10k" in path for path, _ in server.asked)


def test_cifars_archive_is_fetched_once_and_read_as_it_is(server: Served, tmp_path: Path) -> None:
    fetching = http()
    assert fetch(CIFAR, tmp_path, fetching) == [f"CIFAR10 was fetched into {tmp_path}."]
    assert fetch(CIFAR_TEST, tmp_path, fetching) == []  # it came with the other half, which was said
    assert [path for path, _ in server.asked] == ["/small.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["small.tar.gz"]
    found = load_source("torchvision", CIFAR_TEST.args, tmp_path)
    assert np.array_equal(found.images, SMALL_CIFAR.images["test"])
    assert fetch(CIFAR_TEST, tmp_path, http()) == ["CIFAR10 is there already."]


@pytest.mark.parametrize(
    ("come", "said"),
    [
        ("cut", "ended after 1,000 bytes: run the command again, it goes on from there"),
        ("another", "nothing of it is kept"),
        ("page", "sent a web page"),
    ],
)
def test_what_comes_in_place_of_cifars_archive_gets_no_name(
    server: Served, tmp_path: Path, come: str, said: str
) -> None:
    if come == "cut":
        server.cut = 1_000
    elif come == "another":
        server.files["small.tar.gz"] = SMALL_CIFAR.archive[:-1] + b"?"
    else:
        server.files["small.tar.gz"] = b"<!DOCTYPE html><title>Log in</title>".ljust(len(SMALL_CIFAR.archive))
    with pytest.raises(DataError, match=said):
        fetch(CIFAR, tmp_path, http())
    assert not (tmp_path / "small.tar.gz").exists()
    server.cut, server.files["small.tar.gz"] = None, SMALL_CIFAR.archive
    fetch(CIFAR, tmp_path, http())
    assert server.asked[-1][1] == ("bytes=1000-" if come == "cut" else None)
    assert len(load_source("torchvision", CIFAR.args, tmp_path).images) == 20


def test_a_set_that_is_there_in_another_form_is_not_fetched(server: Served, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.zeros((2, 32, 32, 3), np.uint8))
    spec = CIFAR.model_copy(update={"also": (SetSpec(source="npz", args={"file": "mine.npz"}).forms[0],)})
    assert fetch(spec, tmp_path, http()) == ["mine.npz is there already."] and server.asked == []
    (tmp_path / "mine.npz").unlink()
    assert fetch(spec, tmp_path, http()) == [f"CIFAR10 was fetched into {tmp_path}."]


def test_of_several_forms_the_one_with_a_public_home_is_fetched(server: Served, tmp_path: Path) -> None:
    first = SetSpec(
        source="npz", args={"file": "mine.npz"}, also=tuple(OtherForm(**form.model_dump()) for form in CIFAR.forms)
    )
    assert fetch(first, tmp_path, http()) == [f"CIFAR10 was fetched into {tmp_path}."]


def test_another_copy_than_a_track_was_measured_with_is_said(server: Served, tmp_path: Path) -> None:
    spec = SetSpec(source="npz", args={"file": "kmnist_test.npz"}, digest="0" * 64)
    (said,) = fetch(spec, tmp_path, http())
    found = load_source("npz", spec.args, tmp_path)
    assert content_digest(found.images, found.labels) in said and "a track card of your own" in said


def test_what_was_compared_by_md5_alone_is_said(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    md5 = hashlib.md5(SMALL_CIFAR.archive).hexdigest()
    shrink_cifar(monkeypatch, SMALL_CIFAR, server.published("small.tar.gz", SMALL_CIFAR.archive, digest=("md5", md5)))
    said = fetch(CIFAR, tmp_path, http())
    assert said[1] == "small.tar.gz was compared by md5 alone, which tells damage and not a forgery."


def test_a_file_that_cannot_be_fetched_is_a_sentence_that_says_where_to_put_it(tmp_path: Path) -> None:
    (said,) = fetch(SetSpec(source="npz", args={"file": "rare.npz"}), tmp_path)
    assert "rare.npz cannot be fetched: put it into" in said


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 8, 8, 3), np.uint8))
    assert fetch(SetSpec(source="npz", args={"file": "set.npz"}), tmp_path) == ["set.npz is there already."]


def test_parts_of_one_file_are_fetched_once() -> None:
    specs = [SetSpec(source="npz", args={"file": "a.npz"}, start=k) for k in range(3)]
    assert list(distinct(iter(specs))) == specs[:1]


def test_the_command_fetches_the_rest_and_ends_with_2(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server.files["train-labels-idx1-ubyte.gz"]
    monkeypatch.setattr(downloads, "Fetching", functools.partial(Fetching, _schemes=("http",)))
    card = """
name: toy
summary: small
shape: [1, 28, 28]
classes: 10
train: {source: torchvision, args: {dataset: MNIST, train: true}}
calibration: {source: torchvision, args: {dataset: MNIST, train: true}}
test: {source: torchvision, args: {dataset: MNIST, train: false}}
ood: {kmnist: {source: npz, args: {file: kmnist_test.npz}}}
"""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "toy.yaml").write_text(card)
    command = ["data", "download", "--track", "toy", "--data-dir", str(tmp_path), "--workspace", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "error: " in done.output and "train-labels" in done.output and "404" in done.output
    assert "kmnist_test.npz was fetched" in done.output


def test_the_command_fetches_both_archives_that_cifar10_names(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SmallCifar.of("CIFAR100", 4)
    server.files["other.tar.gz"] = other.archive
    shrink_cifar(monkeypatch, other, server.published("other.tar.gz", other.archive))
    monkeypatch.setattr(downloads, "Fetching", functools.partial(Fetching, _schemes=("http",)))
    command = ["data", "download", "--track", "cifar10", "--data-dir", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "CIFAR10 was fetched into" in said and "CIFAR100 was fetched into" in said
    assert "is there already" not in said and "gtsrb_test1000_32.npz cannot be fetched: put it into" in said
    assert sorted(path for path, _ in server.asked) == ["/other.tar.gz", "/small.tar.gz"]
    again = CliRunner().invoke(app, command)
    assert "CIFAR10 is there already." in again.output and len(server.asked) == 2


def test_an_archive_that_could_not_be_had_is_asked_for_once(server: Served, tmp_path: Path) -> None:
    server.files["small.tar.gz"] = SMALL_CIFAR.archive[:-1] + b"?"
    said = []
    fetching = Fetching(_schemes=("http",))
    for spec in (CIFAR, CIFAR_TEST):
        with pytest.raises(DataError) as error:
            fetch(spec, tmp_path, fetching)
        said.append(str(error.value))
    assert "nothing of it is kept" in said[0] and said[1] == "small.tar.gz could not be had, as said above."
    assert len(server.asked) == 1 and list(tmp_path.iterdir()) == []


def test_an_interrupted_command_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "fetch", interrupted)
    done = CliRunner().invoke(app, ["data", "download", "--track", "mnist", "--data-dir", str(tmp_path)])
    assert done.exit_code == 130
    assert "goes on from there" in done.output and "cells" not in done.output


def test_all_that_is_published_lies_behind_https_and_has_a_sha256() -> None:
    files = [file for halves in published.IDX.values() for half in halves.values() for file in half]
    files += [batches.archive for batches in published.BATCHES.values()]
    assert len(files) == 14
    for file in files:
        assert all(url.startswith("https://") and url.endswith(f"/{file.name}") for url in file.urls)
        assert file.digest[0] == "sha256"
    assert len({file.digest for file in files}) == 14


# --------------------------------------------------------------------------- archives


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"wanted": link("wanted", tarfile.SYMTYPE, "../secret")}, "'wanted' in it is no plain file"),
        ({"a": b"1", "wanted": link("wanted", tarfile.LNKTYPE, "a")}, "'wanted' in it is no plain file"),
        ({"wanted": link("wanted", tarfile.FIFOTYPE, "")}, "'wanted' in it is no plain file"),
        ({"wanted": b"0" * 1_001}, "holds more than was published"),
        ({"../above": b"0" * 5_000_000, "wanted": b"1"}, "holds more than was published"),
        ({"wanted": b"0" * 600, "more": b"0" * 600}, "unpack to more than 1,000 bytes"),
        ({"other": b"1"}, "it has no wanted"),
        ({str(k): b"" for k in range(1_001)}, "holds more than was published"),
    ],
)
def test_a_hostile_archive_is_refused_and_writes_nothing(
    tmp_path: Path, members: dict[str, bytes | tarfile.TarInfo], said: str
) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive(members))
    names = ("wanted", "more") if "more" in members else ("wanted",)
    with pytest.raises(DataError, match=said):
        read_members(path, names, 1_000)
    assert list(tmp_path.iterdir()) == [path]


def test_members_are_read_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive({"b": b"2", "../x": b"?", "a": b"1"}))
    assert read_members(path, ("a", "b"), 10) == [b"1", b"2"]


@pytest.mark.parametrize("cut", [0, 1, 20, 60])
def test_a_damaged_archive_is_a_sentence(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive({"wanted": RNG.bytes(100)})[:cut])
    with pytest.raises(DataError, match=r"is damaged .*: remove it and run the command again"):
        read_members(path, ("wanted",), 200)


@pytest.mark.parametrize(("size", "said"), [(999, "more than 999"), (1_001, "fewer than 1,001")])
def test_a_packed_file_of_another_size_gets_no_name(tmp_path: Path, size: int, said: str) -> None:
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(bytes(1_000)))
    with pytest.raises(DataError, match=said):
        unpack_gzip(packed, tmp_path / "a", size)
    assert list(tmp_path.iterdir()) == [packed]


def test_a_packed_file_of_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    import tracemalloc

    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="more than 1,000"):
        unpack_gzip(packed, tmp_path / "a", 1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
