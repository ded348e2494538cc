"""Nothing is lost: the short form of `benchmarks/durability.py`."""

import multiprocessing
import os
import resource
import shutil
import signal
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from test_store_of_cells import make_cell

from bench.evaluation import cell_files
from bench.evaluation.leftovers import FOLDER
from bench.evaluation.store import Store, StoreError

FORK = multiprocessing.get_context("fork")


def write_until_killed(root: Path) -> None:
    for number in range(10_000):
        Store(root).put(make_cell(number))


def test_a_copy_of_a_store_that_is_being_written_holds_whole_cells_and_can_be_gone_on_in(tmp_path):
    writer = FORK.Process(target=write_until_killed, args=(tmp_path / "store",))
    writer.start()
    copies = []
    while len(copies) < 5:
        copies.append(tmp_path / f"copy-{len(copies)}")
        with suppress(shutil.Error, FileNotFoundError):  # files vanish while they are copied
            shutil.copytree(tmp_path / "store", copies[-1])
    writer.kill()
    writer.join()
    for copy in copies:
        store = Store(copy)
        store.check_writable()
        assert len(store.cells()) == len(store.keys())
        assert store.notices == []
        store.put(make_cell(99_999))
        assert store.get(make_cell(99_999).meta.key) is not None


def put_into_a_small_disk(root: Path, told: "multiprocessing.Queue[str]") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))
    try:
        Store(root).put(make_cell(2, samples=5_000))
    except StoreError as error:
        told.put(str(error))
    else:
        told.put("it was stored")


def test_a_file_that_may_not_grow_is_one_sentence_and_leaves_nothing_half_written(tmp_path):
    store, told = Store(tmp_path), FORK.Queue()
    store.put(make_cell(1))
    writer = FORK.Process(target=put_into_a_small_disk, args=(tmp_path, told))
    writer.start()
    assert "are kept" in told.get(timeout=60)
    writer.join()
    assert [meta.key for meta in store.metas()] == [make_cell(1).meta.key]
    assert list((tmp_path / FOLDER).iterdir()) == []
    assert store.put(make_cell(2, samples=5_000)) is not None


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_write_the_same_cells_at_once_end_with_each_of_them_once(tmp_path, processes):
    def work(first: int) -> None:
        store = Store(tmp_path)
        for number in range(8):
            store.check_writable()
            store.put(make_cell((number + first) % 8))

    workers = [FORK.Process(target=work, args=(first,)) for first in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * processes
    store = Store(tmp_path)
    assert len(store.cells()) == 8
    assert store.notices == []
    assert not (tmp_path / "broken").exists()


def test_every_file_of_a_cell_is_on_the_disk_as_a_whole_before_the_cell_has_its_name(tmp_path, monkeypatch):
    """What the system was asked to write down is what the files hold, and the name comes after it."""
    cell, synced, named = make_cell(1), [], []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            synced.append(status.st_size)
        real_sync(descriptor)

    def rename(path, target):
        named.append(len(synced))
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    Store(tmp_path).put(cell)
    (folder,) = [path.parent for path in tmp_path.rglob("*") if path.name == cell_files.NAMES[0]]
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert all(size in synced for size in sizes) and len(synced) == len(sizes)
    assert named[-1:] == [len(sizes)]
