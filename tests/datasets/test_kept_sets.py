"""Decoded sets on disk: the same bits as in memory, nothing of a wrong or half file, and never a failed run."""

import hashlib
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cards.track import TrackCard
from bench.datasets import kept
from bench.datasets.base import ImageSet
from bench.datasets.track import Track

IMAGES = np.random.default_rng(0).integers(256, size=(40, 4, 6, 3), dtype=np.uint8)
NAME = "ab" * 32
SETS = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "robustood" / kept.FOLDER


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "toy.npz", images=IMAGES, labels=np.arange(40) % 5)
    return folder


def card(**changes: Any) -> TrackCard:
    part = {"source": "npz", "args": {"file": "toy.npz"}, **changes}
    shape = part.pop("track_shape", (3, 4, 6))
    sets: dict[str, Any] = {"train": part, "calibration": part, "test": part, "ood": {"other": part}}
    return TrackCard.model_validate({"name": "toy", "summary": "", "shape": shape, "classes": 5, **sets})


def same(first: ImageSet, second: ImageSet) -> bool:
    tensors = all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("images", "labels", "ids"))
    words = ("name", "digest", "skipped", "notes", "available", "form")
    return tensors and all(getattr(first, name) == getattr(second, name) for name in words)


def in_memory(track: TrackCard, data_dir: Path, name: str) -> ImageSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.datasets.decoding.dependence", lambda *given: None)
        found = Track(track, data_dir).set(name)
    assert found.pages is None
    return found


def forbid_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*given: object) -> None:
        raise AssertionError("it was decoded again")

    monkeypatch.setattr("bench.datasets.decoding.load_source", read)


@pytest.mark.parametrize("changes", [{}, {"start": 3, "stop": 31, "exclude_labels": [2]}, {"stop": 99}])
def test_a_kept_set_is_bit_for_bit_the_set_in_memory_and_is_not_decoded_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    track = card(**changes)
    expected = in_memory(track, data_dir, "train")
    first = Track(track, data_dir).set("train")
    forbid_sources(monkeypatch)
    again = Track(track, data_dir).set("train")
    assert first.pages is not None
    assert again.pages is not None
    assert same(first, expected)
    assert same(again, expected)
    rows = torch.tensor([0, 5, 17])
    assert torch.equal(again.pixels(rows), expected.pixels(rows))
    assert again.pixels().stride() == expected.pixels().stride()


def test_a_changed_file_is_decoded_anew_whatever_its_time_says(data_dir: Path) -> None:
    path = data_dir / "toy.npz"
    before, times = Track(card(), data_dir).set("test"), path.stat()
    np.savez(path, images=255 - IMAGES, labels=np.arange(40) % 5)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert torch.equal(Track(card(), data_dir).set("test").images, 255 - before.images)


def test_a_changed_part_of_the_card_is_another_set(data_dir: Path) -> None:
    Track(card(), data_dir).set("test")
    grey = Track(card(grey=True, crop=4, track_shape=(1, 4, 4)), data_dir).set("test")
    assert same(grey, in_memory(card(grey=True, crop=4, track_shape=(1, 4, 4)), data_dir, "test"))


def test_a_file_that_comes_into_a_folder_is_seen(data_dir: Path) -> None:
    (data_dir / "pictures").mkdir()
    for number in range(3):
        Image.fromarray(IMAGES[number]).save(data_dir / "pictures" / f"{number}.png")
    (data_dir / "pictures" / "note.txt").write_text("")
    track = card(source="folder:pictures", args={"shape": [3, 4, 6]})
    assert len(Track(track, data_dir).set("test")) == 3
    assert Track(track, data_dir).set("test").pages is not None
    Image.fromarray(IMAGES[7]).save(data_dir / "pictures" / "7.png")
    found = Track(track, data_dir).set("test")
    assert len(found) == 4
    assert same(found, in_memory(track, data_dir, "test"))
    (data_dir / "pictures" / "note.txt").rename(data_dir / "pictures" / "other.txt")
    assert "other.txt" in Track(track, data_dir).set("test").skipped[0]


def test_changed_code_decodes_anew(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Track(card(), data_dir).set("test")
    monkeypatch.setattr("bench.datasets.sources._depends.source_hash", lambda modules: "another")
    forbid_sources(monkeypatch)
    with pytest.raises(AssertionError, match="decoded again"):
        Track(card(), data_dir).set("test")


def test_a_source_of_the_users_own_is_never_kept(data_dir: Path) -> None:
    from bench.datasets.sources._depends import dependence

    own = card(source="somebody.module:images", args={})
    assert dependence(own.test, own.test.forms[0], data_dir) is None


def _spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "a bit":
        content[-1] ^= 1
    path.unlink()
    if how == "a bit":
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a folder":
        path.mkdir()


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("how", ["a bit", "cut", "empty", "gone", "a folder"])
def test_a_damaged_file_is_never_read_as_images(data_dir: Path, cache: Path, suffix: str, how: str) -> None:
    expected = Track(card(), data_dir).set("test").images.clone()
    file = next(cache.glob(f"*{suffix}"))
    _spoil(file, how)
    assert torch.equal(Track(card(), data_dir).set("test").images, expected)


def test_files_of_another_set_under_this_name_are_not_read(cache: Path) -> None:
    kept.keep(NAME, SETS, {})
    other = "cd" * 32
    for suffix in (".npy", ".json"):
        (cache / f"{NAME}{suffix}").rename(cache / f"{other}{suffix}")
    assert kept.recall(other) is None


def test_pickled_objects_are_never_loaded(cache: Path) -> None:
    kept.keep(NAME, SETS, {})
    np.save(cache / f"{NAME}.npy", np.array([object()], dtype=object), allow_pickle=True)
    about = cache / f"{NAME}.json"
    digest = hashlib.sha256((cache / f"{NAME}.npy").read_bytes()).hexdigest()
    about.write_bytes(kept.sealed_json({"name": NAME, "sha256": digest, "about": {}}))
    assert kept.recall(NAME) is None


@pytest.mark.parametrize("step", range(16))
def test_a_writer_that_dies_anywhere_leaves_a_whole_set_or_none(cache: Path, step: int) -> None:
    """The writer ends at its step-th call of the operating system that opens, renames or removes a file."""
    process = multiprocessing.get_context("fork").Process(target=_dying_writer, args=(step,))
    process.start()
    process.join()
    found = kept.recall(NAME)
    assert found is None or np.array_equal(found.images, SETS)
    if step > 13:
        assert process.exitcode == 0
    assert np.array_equal(kept.keep(NAME, SETS, {}).images, SETS)


def _dying_writer(step: int) -> None:
    calls = 0

    def dies(event: str, given: tuple[object, ...]) -> None:
        nonlocal calls
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and "robustood" in str(given[0]):
            calls += 1
            if calls > step:
                os._exit(9)

    sys.addaudithook(dies)
    kept.keep(NAME, SETS, {})
    os._exit(0)


def test_two_writers_at_once_leave_a_whole_set() -> None:
    threads = [threading.Thread(target=kept.keep, args=(NAME, SETS, {})) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(kept.recall(NAME).images, SETS)


def test_a_cache_that_cannot_be_written_leaves_the_set_in_memory(data_dir: Path, cache: Path, caplog: Any) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in the place of the folder")
    found = Track(card(), data_dir).set("test")
    assert found.pages is None
    assert same(found, in_memory(card(), data_dir, "test"))
    assert not caplog.records


def test_a_full_disk_is_said_of_a_large_set_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.np, "save", full)
    monkeypatch.setattr(kept, "SAID_FROM", 1)
    assert kept.keep(NAME, SETS, {}) is None
    assert "stand in memory" in caplog.text
    assert "no space left" in caplog.text
    assert not list(cache.iterdir())


def test_what_is_written_into_the_tensor_does_not_reach_the_file(data_dir: Path) -> None:
    Track(card(), data_dir).set("test").images.fill_(7)
    assert same(Track(card(), data_dir).set("test"), in_memory(card(), data_dir, "test"))


def test_pages_are_given_back_after_some_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    advice: list[int] = []

    class Mapped:
        def madvise(self, option: int) -> None:
            advice.append(option)

    monkeypatch.setattr(kept, "RELEASED_AFTER", 100)
    pages = kept.Pages(Mapped())  # type: ignore[arg-type]
    for _ in range(5):
        pages.used(40)
    assert len(advice) == 1
    pages.used(40)
    assert len(advice) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what is in memory")
def test_a_set_that_is_read_batch_by_batch_does_not_stand_in_memory(tmp_path: Path) -> None:
    """96 MiB of a file, of which no more than is read between two returns of its pages stands in memory at once."""
    found = kept.keep(NAME, np.zeros((4096, 3, 64, 128), np.uint8), {})
    whole = ImageSet(
        "test", torch.from_numpy(found.images), torch.zeros(4096), torch.arange(4096), "", pages=found.pages
    )
    highest, before = 0, _from_files()
    for start in range(0, 4096, 128):
        whole.pixels(slice(start, start + 128))
        highest = max(highest, _from_files() - before)
    assert highest < 2 * kept.RELEASED_AFTER
    assert whole.images.numel() == 6 * kept.RELEASED_AFTER


def _from_files() -> int:
    """Bytes of files that this process has in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) * 1024
