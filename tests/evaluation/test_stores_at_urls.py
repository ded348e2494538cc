"""Cells published as objects: whole or not there, wherever a writer dies, whoever writes beside it."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from bench.cards.threat import Side
from bench.errors import UsageError
from bench.evaluation import object_files
from bench.evaluation.mirror import fetch, fetch_all, make_store, publish, publish_all, published, store_id
from bench.evaluation.object_files import RemoteObjects
from bench.evaluation.results import SAMPLE_COLUMNS, Cell, CellMeta
from bench.evaluation.store import Store
from bench.evaluation.store_errors import StoreError
from bench.evaluation.store_places import shown


class Died(BaseException):
    """The writer is gone."""


class Dying:
    """Objects whose user dies before one of the operations, or in the middle of a service's answer: after it."""

    def __init__(self, objects: RemoteObjects, last: int, *, after: bool = False) -> None:
        self._objects, self._left, self._after = objects, last, after

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Died

    def read(self, name: str, most: int) -> bytes:
        self._count()
        return self._objects.read(name, most)

    def names(self, below: str) -> list[str]:
        self._count()
        return self._objects.names(below)

    def put(self, name: str, content: bytes) -> None:
        if not self._after:
            self._count()
        self._objects.put(name, content)
        if self._after:
            self._count()


@pytest.fixture(params=["memory", "s3"])
def objects(request: pytest.FixtureRequest) -> RemoteObjects:
    """An empty prefix."""
    base = "memory://runs" if request.param == "memory" else request.getfixturevalue("s3")
    return RemoteObjects(f"{base}/{uuid4().hex}", wait=lambda seconds: None)


def a_cell(score: float = 0.5) -> Cell:
    """A cell, whose files differ with the score."""
    samples = pd.DataFrame({name: np.zeros(9, np.float32) for name in SAMPLE_COLUMNS} | {"score": np.full(9, score)})
    meta = CellMeta(
        key="ab" * 32, detector="d", detector_hash="0", weights_sha256=(), source_hash="0", threat="t", threat_hash="0",
        threat_params={}, norm=None, eps=None, side=Side.EVADE, track="k", track_hash="0", set_digests={}, limit=None,
        seed=0, micro_batch=8, early_stop=True, id_accuracy=None, iqr=1.0, stop_high=None, stop_low=None,
        thresholds={}, sets={}, mean=None, statuses={}, gradients=1, queries=2, seconds=0.5, device="cpu", versions={},
    )  # fmt: skip
    return Cell(meta, samples)


def stored(folder: Path, score: float = 0.5) -> tuple[Store, str]:
    """A store with one such cell."""
    store = Store(folder)
    return store, store.put(a_cell(score)).meta.key


def same_files(first: Store, second: Store, key: str) -> bool:
    one, other = ({path.name: path.read_bytes() for path in store.folder(key).iterdir()} for store in (first, second))
    return one == other


def test_a_published_cell_is_fetched_byte_for_byte(objects: RemoteObjects, tmp_path: Path) -> None:
    store, key = stored(tmp_path / "a")
    publish(store, key, objects)
    assert published(objects) == [key]
    other = Store(tmp_path / "b")
    assert fetch_all(other, published(objects), objects) == []
    assert same_files(store, other, key)


@pytest.mark.parametrize("after", [False, True])
def test_a_writer_that_dies_at_any_operation_leaves_nothing_or_the_whole_cell(
    objects: RemoteObjects, tmp_path: Path, *, after: bool
) -> None:
    store, key = stored(tmp_path / "a")
    for last in range(20):
        with suppress(Died):
            publish(store, key, Dying(objects, last, after=after))
            break
        reader = Store(tmp_path / f"reader{last}")
        assert fetch(reader, key, objects) is (published(objects) == [key])
        assert not reader.notices
        if published(objects):
            assert same_files(store, reader, key)
    assert 2 <= last < 19  # it died at each operation of at least two files and a manifest
    reader = Store(tmp_path / "last")
    assert fetch_all(reader, published(objects), objects) == []
    assert same_files(store, reader, key)


def test_of_two_writers_of_one_cell_the_last_manifest_counts_whole(objects: RemoteObjects, tmp_path: Path) -> None:
    """One dies before its manifest while the other publishes: its files lie at a place of their own."""
    first, key = stored(tmp_path / "a", 0.25)
    second, again = stored(tmp_path / "b", 0.75)
    assert key == again
    assert not same_files(first, second, key)
    publish(first, key, objects)
    with suppress(Died):
        publish(second, key, Dying(objects, 3))
    reader = Store(tmp_path / "reader")
    assert fetch(reader, key, objects)
    assert same_files(first, reader, key)
    publish(second, key, objects)
    later = Store(tmp_path / "later")
    assert fetch(later, key, objects)
    assert same_files(second, later, key)


def test_a_changed_or_lost_file_is_no_cell(objects: RemoteObjects, tmp_path: Path) -> None:
    store, key = stored(tmp_path / "a")
    publish(store, key, objects)
    name = next(one for one in objects.names("cells") if one.endswith("samples.parquet"))
    objects.put(name, b"something else")
    reader = Store(tmp_path / "reader")
    assert fetch_all(reader, published(objects), objects) == [key]
    assert not reader.keys()


def test_a_strangers_manifest_reaches_no_other_name(objects: RemoteObjects, tmp_path: Path) -> None:
    from bench.seals import sealed_json

    key = "ab" * 32
    digest = "0" * 64
    manifest = {"format": 1, "key": key, "files": {"cell.json": digest, "../../../secret": digest}}
    objects.put(f"manifests/ab/{key}.json", sealed_json(manifest))
    assert not fetch(Store(tmp_path), key, objects)
    for name in ("../x", "a/../b", "/x", "a//b", ""):
        with pytest.raises(ValueError, match="no name"):
            objects.read(name, 1)


class Failing:
    """A service that fails some times before it answers."""

    def __init__(self, times: int, error: Callable[[], Exception]) -> None:
        self.times, self.error, self.calls = times, error, 0

    def pipe_file(self, path: str, content: bytes) -> None:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error()


@pytest.mark.parametrize(("times", "given_up"), [(0, False), (4, False), (5, True)])
def test_a_failing_network_is_tried_again_with_growing_pauses(times: int, *, given_up: bool) -> None:
    waits: list[float] = []
    objects = RemoteObjects("memory://x", wait=waits.append)
    objects._files = Failing(times, lambda: ConnectionError("http://user:a-secret-word@host failed"))
    if given_up:
        with pytest.raises(StoreError, match=r"cannot write the store 'memory://x' \(ConnectionError\)") as error:
            objects.put("a", b"")
        assert "secret" not in str(error.value)
    else:
        objects.put("a", b"")
    assert len(waits) == min(times, object_files.ATTEMPTS - 1)
    assert all(0.5 * 2**k <= wait <= 2**k for k, wait in enumerate(waits))


def test_a_refused_permission_is_not_tried_again() -> None:
    objects = RemoteObjects("memory://x", wait=lambda seconds: pytest.fail("it waits"))
    objects._files = Failing(9, lambda: PermissionError("no"))
    with pytest.raises(StoreError, match="permission is denied"):
        objects.put("a", b"")


@pytest.mark.parametrize(
    "url", ["s3://user:a-secret-word@bucket/x", "memory://x?token=a-secret-word", "http://host/x", "nothing://x",
            "simplecache::memory://a-secret-word"]
)  # fmt: skip
def test_a_url_that_cannot_hold_a_store_is_refused_in_one_sentence_without_its_secrets(url: str) -> None:
    with pytest.raises(UsageError) as error:
        RemoteObjects(url)
    assert str(error.value).count("\n") == 0
    assert "user" not in shown(url)
    assert "://" not in url.split("://", maxsplit=1)[0]
    if "simplecache" not in url:
        assert "secret" not in str(error.value)


def test_a_bucket_that_is_not_there_is_one_sentence(s3: str, tmp_path: Path) -> None:
    store, key = stored(tmp_path / "a")
    objects = RemoteObjects("s3://no-such-bucket/x", wait=lambda seconds: None)
    with pytest.raises(StoreError, match="s3://no-such-bucket/x"):
        publish(store, key, objects)
    assert store.meta(key) is not None


def test_what_is_no_whole_cell_is_not_published(objects: RemoteObjects, tmp_path: Path) -> None:
    store, key = stored(tmp_path)
    (store.folder(key) / "samples.parquet").write_bytes(b"damaged")
    assert publish_all(store, [key], objects) == []
    assert not published(objects)


def test_a_store_is_there_once_it_was_made_and_another_one_after_it_was_removed(objects: RemoteObjects) -> None:
    assert store_id(objects) is None
    first = make_store(objects)
    assert store_id(objects) == first == make_store(objects, first)
    objects.put("robustood-store.json", b"damaged")
    assert store_id(objects) is None
    assert make_store(objects) != first


def test_absent_credentials_are_told_at_once() -> None:
    class NoCredentialsError(Exception):
        pass

    objects = RemoteObjects("memory://x", wait=lambda seconds: pytest.fail("it waits"))
    objects._files = Failing(9, lambda: NoCredentialsError("Unable to locate"))
    with pytest.raises(StoreError, match="no credentials are found"):
        objects.put("a", b"")


def test_where_a_listing_finds_no_folder_there_are_no_objects(monkeypatch) -> None:
    objects = RemoteObjects(f"memory://{uuid4().hex}", wait=lambda seconds: None)

    def find(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(objects._files, "find", find)
    assert objects.names("manifests") == []
