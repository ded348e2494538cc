"""What a decoded set depends on, file by file, and what fetching leaves behind, waits for and tells."""

import gzip
import hashlib
import logging
import os
import stat
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from bench.cards.track import OodSpec, SetSpec
from bench.datasets import download as downloads
from bench.datasets import transfer
from bench.datasets.download import Fetching, fetch
from bench.datasets.published import BATCHES, PublishedFile
from bench.datasets.sources import _cifar, _depends
from bench.datasets.sources._depends import dependence
from bench.datasets.transfer import fetch_file
from bench.errors import DataError
from tests.datasets.serving import CONTENT, Served, fetched


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(folder: Path, **files: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


# --------------------------------------------------------------------------- what a set depends on


def of_args(data_dir: Path, source: str = "npz", **args: object) -> str | None:
    spec = SetSpec(source=source, args=args)
    return dependence(spec, spec.forms[0], data_dir)


def test_the_files_of_a_source_are_named_with_their_content(tmp_path: Path) -> None:
    put(tmp_path, one=b"1")
    assert _depends._files("npz", {"file": "one"}, tmp_path) == [["", sha(b"1")]]
    assert _depends._files("uniform", {"file": "one"}, tmp_path) == []
    put(tmp_path / "MNIST" / "raw", b=b"2", a=b"3", **{"c.gz": b"4"})
    (tmp_path / "MNIST" / "raw" / "folder").mkdir()
    assert _depends._files("torchvision", {"dataset": "MNIST"}, tmp_path) == [["a", sha(b"3")], ["b", sha(b"2")]]


def test_cifars_folder_counts_where_it_is_whole_and_else_its_archive(tmp_path: Path) -> None:
    batches = BATCHES["CIFAR10"]
    put(tmp_path, **{batches.archive.name: b"archive"})
    test, train = ({"dataset": "CIFAR10", "train": half} for half in (False, True))
    packed = [[batches.archive.name, sha(b"archive")]]
    assert _depends._files("torchvision", test, tmp_path) == packed
    names = list(batches.files["test"])
    put(tmp_path / batches.folder, **dict.fromkeys(names, b"batch"))
    assert _depends._files("torchvision", test, tmp_path) == [[name, sha(b"batch")] for name in names]
    assert _depends._files("torchvision", {"dataset": "CIFAR10"}, tmp_path) == [[name, sha(b"batch")] for name in names]
    put(tmp_path / batches.folder, **dict.fromkeys(list(batches.files["train"])[:-1], b"batch"))
    assert _depends._files("torchvision", train, tmp_path) == packed


def test_a_folders_images_and_what_was_passed_over_count(tmp_path: Path) -> None:
    for name in ("x/1.png", "y/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "photos" / name)
    put(tmp_path / "photos", **{"note.txt": b""})
    found = _depends._files("folder", {"path": "photos"}, tmp_path)
    png = sha((tmp_path / "photos" / "x/1.png").read_bytes())
    assert sorted(found[:2]) == [["x/1.png", png], ["y/2.png", png]]
    assert len(found) == 4 and "note.txt" in found[2][0] and found[3] == ["x", "y"]
    assert of_args(tmp_path, "folder:photos") == of_args(tmp_path, "folder", path="photos")


def test_a_pipe_is_no_file_to_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is no regular file"):
        _depends._digest(tmp_path / "pipe")


def test_the_part_that_is_taken_counts_and_what_is_said_of_it_does_not(tmp_path: Path) -> None:
    put(tmp_path, one=b"1", two=b"2")
    plain = OodSpec(source="npz", args={"file": "one"})

    def of(**change: object) -> str | None:
        spec = plain.model_copy(update=change)
        return dependence(spec, spec.forms[0], tmp_path)

    parts = {"start": 1, "stop": 5, "exclude_labels": (1,), "crop": 2, "pad": 1, "grey": True}
    others = {of(**{name: value}) for name, value in parts.items()} | {of(args={"file": "two"}), of(source="uniform")}
    assert len(others) == 8 and of() not in others
    assert of(note="x", digest="0" * 64, in_mean=False, same_source=True) == of()
    assert of_args(tmp_path, "own.module:images", file="one") is None
    (tmp_path / "one").write_bytes(b"3")
    assert of() not in others
    with pytest.raises(OSError):
        of(args={"file": "absent"})


def test_libraries_count_by_their_version_and_missing_ones_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = _depends._versions.__wrapped__
    assert [line.split()[0] for line in versions()] == [
        "fonttools", "matplotlib", "numpy", "pillow", "scikit-image", "scikit-learn", "torchvision",
    ]  # fmt: skip
    monkeypatch.setattr(_depends, "LIBRARIES", ("no-such-library", "numpy"))
    assert versions() == ["no-such-library ", f"numpy {metadata.version('numpy')}"]


# --------------------------------------------------------------------------- fetching


def test_a_part_that_the_server_does_not_know_is_gone_at_once(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1_000])
    server.status = 416
    with pytest.raises(DataError, match="knows no such part of the file"):
        fetched(server.published("set.gz", CONTENT), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_first_answer_of_that_kind_is_an_error_like_another(server: Served, tmp_path: Path) -> None:
    server.status = 416
    with pytest.raises(DataError, match="answered 416"):
        fetched(server.published("set.gz", CONTENT), tmp_path)


def test_a_file_that_came_can_be_read_as_any_new_file(server: Served, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        path = fetched(server.published("set.gz", CONTENT), tmp_path / "new" / "folder")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert path.read_bytes() == CONTENT


def test_a_server_is_waited_for_only_so_long_and_asked_for_bytes_as_they_are(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    get = requests.Session.get

    def noted(session: requests.Session, url: str, **options: object) -> requests.Response:
        asked.append(options)
        return get(session, url, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.Session, "get", noted)
    fetched(server.published("set.gz", CONTENT), tmp_path)
    headers = {"Accept-Encoding": "identity"}
    assert asked == [{"headers": headers, "stream": True, "allow_redirects": False, "timeout": (20, 60)}]


def test_the_library_below_says_nothing_of_its_own(
    server: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import pooch

    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        fetched(server.published("set.gz", CONTENT), tmp_path)
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


def test_what_is_there_is_given_by_its_path_and_not_fetched(server: Served, tmp_path: Path) -> None:
    (tmp_path / "set.gz").write_bytes(CONTENT)
    assert fetched(server.published("set.gz", CONTENT), tmp_path) == tmp_path / "set.gz" and server.asked == []


def test_a_file_as_large_as_its_images_allow_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    put(tmp_path, file=b"12345")
    assert _cifar._bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(DataError, match="has more than 4 bytes: remove it and fetch it again"):
        _cifar._bounded(tmp_path / "file", 4)


def test_the_innermost_reason_is_told_in_short() -> None:
    inner = OSError("the  line\nis dead")
    outer = RuntimeError(RuntimeError(inner))
    assert transfer._short(outer) == "the line is dead"
    named = RuntimeError("around it")
    named.reason = inner  # type: ignore[attr-defined]
    assert transfer._short(named) == "the line is dead"
    assert transfer._short(OSError("where: it was: refused")) == "refused"
    assert transfer._short(OSError("x" * 300)) == "x" * 200
    assert transfer._short(TimeoutError()) == "TimeoutError"


def test_the_same_file_has_its_size_and_digest_and_is_a_file(server: Served, tmp_path: Path) -> None:
    file = server.published("set.gz", CONTENT)
    put(tmp_path, same=CONTENT, other=CONTENT[:-1] + b"?", longer=CONTENT + b"?")
    (tmp_path / "folder").mkdir()
    found = {path.name: transfer._same(path, file) for path in [*sorted(tmp_path.iterdir()), tmp_path / "absent"]}
    assert found == {"folder": False, "longer": False, "other": False, "same": True, "absent": False}


def test_files_that_came_and_cannot_be_read_are_told_as_such(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves: dict[str, list[PublishedFile]] = {}
    for half in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{half}-{kind}-ubyte.gz"
            server.files[name] = gzip.compress(b"no idx file")
            halves.setdefault(half, []).append(server.published(name, server.files[name], unpacked=11))
    monkeypatch.setattr(downloads, "IDX", {"MNIST": halves})
    spec = SetSpec(source="torchvision", args={"dataset": "MNIST", "train": True})
    with pytest.raises(DataError):
        fetch(spec, tmp_path, Fetching(_schemes=("http",)))
    assert (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()


def test_progress_is_told_by_name_and_bytes(server: Served, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    small = server.files["set.gz"] = CONTENT[:3_000]
    fetch_file(server.published("set.gz", small), tmp_path, told=lambda *how: heard.append(how), _schemes=("http",))
    assert heard == [("set.gz", 3_000, 3_000)]
