"""What a store removes, and what it must leave alone: everything that somebody else made."""

import fcntl
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from test_store_of_cells import make_cell

from bench.errors import UsageError
from bench.evaluation import leftovers
from bench.evaluation.leftovers import FOLDER, STALE_SECONDS, clear_leftovers, written_aside
from bench.evaluation.store import Store

DAY = 24 * 3600


def everything(root: Path) -> dict[str, bytes | str | None]:
    """Every path below a folder with its content, or where it leads to."""
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(root.rglob("*"))
    }


def make_old(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (time.time() - 9 * DAY,) * 2, follow_symlinks=False)


def leave_behind(root: Path) -> Path:
    """What a writer leaves that is killed while it writes; its lock file."""
    place = root / FOLDER
    with written_aside(root) as aside:
        (aside / "samples.parquet").write_bytes(b"half")
        lock = aside.with_name(f"{aside.name}.lock")
        text = lock.read_bytes()
        lock.rename(place / "kept")  # so that the end of the block does not find it
    (place / "kept").rename(lock)
    aside.mkdir()
    (aside / "samples.parquet").write_bytes(b"half")
    assert lock.read_bytes() == text
    return lock


def test_what_a_dead_writer_left_is_removed(tmp_path):
    leave_behind(tmp_path)
    Store(tmp_path).check_writable()
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize("name", ["writing", "broken", "cells", "verdicts", FOLDER])
def test_folders_of_a_user_are_left_as_they_are_however_old(tmp_path, name):
    (tmp_path / name / "chapter1").mkdir(parents=True)
    (tmp_path / name / "chapter1" / "text.tex").write_text("my thesis")
    (tmp_path / name / ("0" * 32)).mkdir()
    (tmp_path / name / ("0" * 32) / "cell.json").write_text("mine")
    (tmp_path / name / f"{'1' * 32}.lock").write_text("a lock of another program")
    (tmp_path / name / "ab" / ("ab" * 32)).mkdir(parents=True)
    (tmp_path / name / "ab" / ("ab" * 32) / "data.bin").write_text("mine too")
    make_old(tmp_path)
    before = everything(tmp_path)
    store = Store(tmp_path)
    store.check_writable()
    store.put(make_cell(1))
    assert len(store.metas()) == 1
    after = everything(tmp_path)
    assert {path: after.get(path, "gone") for path in before} == before


@pytest.mark.parametrize("name", [FOLDER, "cells", "cells/00"])
def test_nothing_is_written_or_removed_through_a_link_inside_the_store(tmp_path, name):
    victim, root = tmp_path / "victim", tmp_path / "store"
    leave_behind(victim)
    (victim / "old_project").mkdir()
    (victim / "old_project" / "thesis.tex").write_text("precious")
    make_old(victim)
    before = everything(victim)
    link = root / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim / FOLDER if name == FOLDER else victim)
    store = Store(root)
    with pytest.raises(UsageError, match="a link is in the way"):
        store.put(make_cell(1))
    clear_leftovers(root, time.time() + 9 * DAY)
    assert everything(victim) == before


def test_entries_that_are_links_lead_to_no_removal(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "cell.json").write_text("precious")
    lock = leave_behind(tmp_path / "store")
    aside = lock.with_suffix("")
    (aside / "samples.parquet").unlink()
    aside.rmdir()
    aside.symlink_to(victim)
    (lock.parent / f"{'2' * 32}.lock").symlink_to(victim / "cell.json")
    Store(tmp_path / "store").check_writable()
    assert (victim / "cell.json").read_text() == "precious"


def test_a_file_that_no_writer_makes_stays_with_its_folder(tmp_path):
    lock = leave_behind(tmp_path)
    (lock.with_suffix("") / "notes.txt").write_text("mine")
    Store(tmp_path).check_writable()
    assert (lock.with_suffix("") / "notes.txt").read_text() == "mine"


def test_a_damaged_cell_behind_a_link_is_not_moved(tmp_path):
    theirs, mine = Store(tmp_path / "theirs"), Store(tmp_path / "mine")
    theirs.put(make_cell(1))
    key = make_cell(1).meta.key
    (theirs.root / "cells" / "00" / key / "samples.parquet").write_bytes(b"short")
    before = everything(theirs.root)
    mine.root.mkdir()
    (mine.root / "cells").symlink_to(theirs.root / "cells")
    assert mine.meta(key) is None
    assert "is a link" in mine.notices[0]
    assert everything(theirs.root) == before


def test_no_damaged_cell_is_moved_into_what_a_link_leads_to(tmp_path):
    store, elsewhere = Store(tmp_path / "store"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    store.put(make_cell(1))
    key = make_cell(1).meta.key
    (store.root / "broken").symlink_to(elsewhere)
    (store.root / "cells" / "00" / key / "samples.parquet").write_bytes(b"short")
    assert store.meta(key) is None
    assert "cannot be moved aside" in store.notices[0]
    assert list(elsewhere.iterdir()) == []


def test_what_a_living_writer_is_writing_is_left_alone(tmp_path):
    with written_aside(tmp_path) as aside:
        (aside / "samples.parquet").write_bytes(b"half")
        os.utime(aside.with_name(f"{aside.name}.lock"), (1, 1))
        Store(tmp_path).check_writable()
        assert (aside / "samples.parquet").read_bytes() == b"half"
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    ("kernel", "age", "stays"),
    [("another kernel", 0, True), ("another kernel", 2 * STALE_SECONDS, False), (None, 0, False)],
)
def test_what_another_machine_may_be_writing_is_left_for_a_day(tmp_path, kernel, age, stays):
    lock = leave_behind(tmp_path)
    if kernel is not None:
        lock.write_text("\n".join([*lock.read_text().splitlines()[:2], kernel]) + "\n")
    clear_leftovers(tmp_path, time.time() + age)
    assert lock.exists() is lock.with_suffix("").exists() is stays


def test_where_nobody_can_lock_age_alone_decides(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = leave_behind(tmp_path)
    clear_leftovers(tmp_path, time.time())
    assert lock.exists()
    clear_leftovers(tmp_path, time.time() + 2 * STALE_SECONDS)
    assert not lock.exists()


def test_a_writer_whose_empty_lock_was_taken_away_makes_another(tmp_path, monkeypatch):
    hold, taken = leftovers.hold, []

    def take_the_first(descriptor, *, wait):
        if wait and not taken:
            taken.extend((tmp_path / FOLDER).glob("*.lock"))
            clear_leftovers(tmp_path, time.time())
        return hold(descriptor, wait=wait)

    monkeypatch.setattr(leftovers, "hold", take_the_first)
    with written_aside(tmp_path) as aside:
        assert not taken[0].exists()
        assert aside.with_name(f"{aside.name}.lock").exists()


def write_and_clear(root: Path, first: int, said: "multiprocessing.Queue[str]") -> None:
    """As in a container of its own: nobody else's process can be seen."""
    os.kill = lambda process, signal: (_ for _ in ()).throw(ProcessLookupError)
    try:
        for number in range(first, first + 12):
            store = Store(root)
            store.check_writable()
            store.put(make_cell(number))
        said.put("")
    except Exception as error:
        said.put(repr(error))


def test_containers_that_share_a_host_name_and_a_store_do_not_delete_each_others_writes(tmp_path):
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    workers = [context.Process(target=write_and_clear, args=(tmp_path, 100 * n, said)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [said.get() for _ in workers] == [""] * 4
    store = Store(tmp_path)
    assert len(store.cells()) == 48
    assert store.notices == []
    assert list((tmp_path / FOLDER).iterdir()) == []


IN_ITS_OWN_CONTAINER = """
    import os, socket, sys
    sys.path.insert(0, {tests!r})
    socket.sethostname("the-same")
    from pathlib import Path
    from test_store_of_cells import make_cell, Store
    for number in range({first}, {first} + 8):
        store = Store(Path({root!r}))
        store.check_writable()
        store.put(make_cell(number))
    print("done as process", os.getpid())
"""


def test_namespaces_with_equal_host_name_and_process_number_share_a_store(tmp_path):
    unshare = ["unshare", "--pid", "--fork", "--uts"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make namespaces")
    scripts = [
        textwrap.dedent(IN_ITS_OWN_CONTAINER).format(tests=str(Path(__file__).parent), root=str(tmp_path), first=first)
        for first in (0, 100)
    ]
    running = [
        subprocess.Popen([*unshare, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for script in scripts
    ]
    assert [process.communicate()[0] for process in running] == ["done as process 1\n"] * 2
    assert len(Store(tmp_path).cells()) == 16
