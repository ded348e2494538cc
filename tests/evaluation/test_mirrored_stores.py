"""A folder and a URL are kept alike while a command works; what cannot be published is kept and published later."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from test_store_of_cells import make_cell
from test_stores_at_urls import a_cell, same_files, stored

from bench.errors import UsageError
from bench.evaluation import mirroring, remote_store
from bench.evaluation.mirror import fetch_all, published
from bench.evaluation.mirroring import Mirror
from bench.evaluation.object_files import RemoteObjects
from bench.evaluation.remote_runs import PublishedRuns, remote_runs
from bench.evaluation.remote_store import read_store, worker_store, written_store
from bench.evaluation.run_records import BEAT_SECONDS, SILENT_SECONDS, CellRecord, Place, RunRecord
from bench.evaluation.store import Store
from bench.evaluation.store_errors import StoreError
from bench.evaluation.store_places import StorePlace, store_place


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StorePlace:
    """A URL, and a machine with a cache of its own; threads that do not wait long."""
    on_machine(monkeypatch, tmp_path / "first")
    monkeypatch.setattr(mirroring, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(mirroring, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(mirroring, "BRING_SECONDS", 0.02)
    return store_place(f"memory://{uuid4().hex}")


def on_machine(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(remote_store, "user_cache", lambda: cache)


def objects_of(place: StorePlace) -> RemoteObjects:
    return RemoteObjects(str(place.url), wait=lambda seconds: None)


def put_cell(store: Store) -> str:
    return store.put(a_cell()).meta.key


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def silent(sentence: str) -> None:
    pytest.fail(sentence)


class Gone:
    """Objects of a service that cannot be written, or not even be read, as long as it is down."""

    def __init__(self, objects: RemoteObjects) -> None:
        self._objects, self.down, self.given_up = objects, True, threading.Event()

    def read(self, name: str, most: int) -> bytes:
        return self._objects.read(name, most)

    def names(self, below: str) -> list[str]:
        return self._objects.names(below)

    def put(self, name: str, content: bytes) -> None:
        if self.down:
            raise StoreError("cannot write the store 'x' (ConnectionError).")
        self._objects.put(name, content)


def test_a_cell_is_published_while_the_command_goes_on_and_others_are_fetched(place, tmp_path, monkeypatch):
    with written_store(place, said=silent) as store:
        key = put_cell(store)
        until(lambda: published(objects_of(place)) == [key])
        on_machine(monkeypatch, tmp_path / "second")
        with written_store(place, said=silent) as other:
            assert same_files(store, other, key)
            assert other.root != store.root


def test_a_cell_that_another_machine_publishes_meanwhile_is_seen(place, tmp_path, monkeypatch):
    with written_store(place, said=silent) as store:
        on_machine(monkeypatch, tmp_path / "second")
        with written_store(place, said=silent) as other:
            key = put_cell(other)
        until(lambda: store.meta(key) is not None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_computed_before_an_interruption_is_published(place, tmp_path, error, monkeypatch):
    monkeypatch.setattr(mirroring, "LOOK_SECONDS", 60.0)
    with suppress(error), written_store(place, said=silent) as store:
        time.sleep(0.1)
        key = put_cell(store)
        raise error
    assert published(objects_of(place)) == [key]


def test_where_nothing_can_be_published_that_is_said_once_and_at_the_end_and_the_next_command_publishes(
    place, tmp_path, monkeypatch
):
    gone: list[Gone] = []
    said: list[str] = []

    def opened(url: str) -> Gone:
        gone.append(Gone(objects_of(place)))
        gone[-1].down = False
        return gone[-1]

    with monkeypatch.context() as patch:
        patch.setattr(remote_store, "RemoteObjects", opened)
        expected = pytest.raises(StoreError, match=r"1 cell is not at 'memory://\w+' yet, and kept in '.*'")
        with expected as error, written_store(place, said=said.append) as store:
            gone[-1].down = True
            key = put_cell(store)
            until(lambda: said)
            time.sleep(0.1)
    assert len(said) == 1
    assert "The command goes on" in said[0]
    assert str(store.root) in str(error.value)
    assert not published(objects_of(place))
    assert read_store(place, said=silent).meta(key) is not None
    assert published(objects_of(place)) == [key]


def test_a_store_that_may_only_be_read_is_read_and_says_what_is_kept(place, tmp_path, monkeypatch):
    with written_store(place, said=silent) as store:
        pass
    key = put_cell(store)
    monkeypatch.setattr(remote_store, "RemoteObjects", lambda url: Gone(objects_of(place)))
    said: list[str] = []
    assert read_store(place, said=said.append).meta(key) is not None
    assert len(said) == 1
    assert "1 cell is not at" in said[0]


def test_nothing_is_computed_for_a_store_that_cannot_be_written(place, tmp_path, monkeypatch):
    with written_store(place, said=silent):
        pass
    monkeypatch.setattr(remote_store, "RemoteObjects", lambda url: Gone(objects_of(place)))
    refused = pytest.raises(StoreError, match="cannot write")
    with suppress(StoreError), written_store(place, said=lambda sentence: None) as store, refused:
        store.check_writable()


def test_a_store_that_was_removed_and_made_again_gets_none_of_the_former_cells(place, tmp_path):
    with written_store(place, said=silent) as first:
        put_cell(first)
    files = objects_of(place)._files
    files.rm(str(place.url).replace("memory://", "/"), recursive=True)
    with pytest.raises(UsageError, match="there is no store at 'memory://"):
        read_store(place, said=silent)
    with written_store(place, said=silent) as second:
        assert second.root != first.root
        assert not second.keys()
    assert not published(objects_of(place))


def test_a_damaged_cell_is_told_and_computed_anew(place, tmp_path, monkeypatch):
    with written_store(place, said=silent) as store:
        key = put_cell(store)
    objects = objects_of(place)
    name = next(one for one in objects.names("cells") if one.endswith("samples.parquet"))
    objects.put(name, b"damaged")
    on_machine(monkeypatch, tmp_path / "second")
    said: list[str] = []
    with written_store(place, said=said.append) as other:
        assert other.meta(key) is None
        put_cell(other)
    assert [f"the cell {key[:12]}" in sentence for sentence in said] == [True]
    assert fetch_all(Store(tmp_path / "third"), [key], objects) == []


def test_a_store_without_a_cache_on_this_machine_is_refused(place, monkeypatch):
    monkeypatch.setattr(remote_store, "user_cache", lambda: None)
    with pytest.raises(UsageError, match="XDG_CACHE_HOME"), written_store(place, said=silent):
        pass


def test_a_store_that_may_be_absent_is_empty_and_is_not_made(place):
    assert not read_store(place, said=silent, absent=True).keys()
    assert not objects_of(place).names("cells")
    with pytest.raises(UsageError, match="there is no store"):
        read_store(place, said=silent)


def test_workers_of_other_machines_publish_at_once_and_find_what_others_published(place, tmp_path, monkeypatch):
    with written_store(place, said=silent) as store:
        known = store.id
    on_machine(monkeypatch, tmp_path / "second")
    worker = worker_store(tmp_path, str(place.url), known)
    assert worker.meta("ab" * 32) is None
    key = put_cell(worker)
    assert published(objects_of(place)) == [key]
    on_machine(monkeypatch, tmp_path / "third")
    assert worker_store(tmp_path, str(place.url), known).meta(key) is not None
    kept = worker.put(make_cell(1))
    found = worker_store(tmp_path, str(place.url), known).get(kept.meta.key)
    assert found is not None and found.meta == kept.meta
    assert type(worker_store(tmp_path, None, None)) is Store


def leave(root: Path, **over: object) -> tuple[Place, RunRecord]:
    root.mkdir(parents=True, exist_ok=True)
    record = RunRecord.new([CellRecord(key="ab" * 32, label="a cell")], 2).model_copy(update=over)
    place = Place(root)
    place.write(record)
    return place, record


def test_a_run_is_told_at_the_url_as_long_as_it_gives_word(place, tmp_path):
    objects = objects_of(place)
    here, record = leave(tmp_path)
    runs = PublishedRuns(tmp_path, objects)
    runs.publish()
    assert [(run.record, run.alive) for run in remote_runs(objects)] == [(record, True)]
    here.write(record.model_copy(update={"written": record.written + 1}))
    runs.publish()  # not so soon again
    assert remote_runs(objects)[0].record == record
    here.write(ended := record.model_copy(update={"ended": record.written + 1}))
    runs.publish()
    assert [(run.record, run.alive) for run in remote_runs(objects)] == [(ended, False)]


@pytest.mark.parametrize(("silence", "alive"), [(SILENT_SECONDS - 5, True), (SILENT_SECONDS + 5, False)])
def test_a_run_that_gives_no_word_for_long_counts_as_dead(place, tmp_path, silence, alive):
    objects = objects_of(place)
    leave(tmp_path, written=time.time() - silence)
    PublishedRuns(tmp_path, objects).publish()
    objects.put(f"runs/{'0' * 15}-{'0' * 32}.json", b"no record")
    assert [run.alive for run in remote_runs(objects)] == [alive]


def test_a_living_run_is_put_anew_after_a_while(place, tmp_path, monkeypatch):
    objects = objects_of(place)
    here, record = leave(tmp_path)
    runs = PublishedRuns(tmp_path, objects)
    runs.publish()
    later = record.model_copy(update={"written": record.written + BEAT_SECONDS})
    here.write(later)
    monkeypatch.setattr("bench.evaluation.remote_runs.BEAT_SECONDS", 0.0)
    runs.publish()
    assert remote_runs(objects)[0].record == later


def test_records_of_runs_that_were_over_before_are_not_put(place, tmp_path):
    here, _ = leave(tmp_path, ended=5.0)
    os.utime(here._file, (5.0, 5.0))
    PublishedRuns(tmp_path, objects_of(place)).publish()
    assert not remote_runs(objects_of(place))


def test_a_mirror_passes_over_what_is_no_cell_of_this_version(place, tmp_path):
    store, key = stored(tmp_path / "a")
    (store.folder(key) / "cell.json").write_text('{"format": 0}')
    objects = objects_of(place)
    mirror = Mirror(store.root, objects, "x", (), silent)
    mirror.publish()
    assert not mirror.waiting()
    assert not published(objects)
