"""Files written for a user: what is there is written into or refused, and never replaced by something else."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.errors import UsageError, WeightsError
from bench.files import FileTooLargeError, put_file, read_file, why, write_file


def test_a_new_file_and_the_folders_to_it_are_made_whole(tmp_path):
    put_file(tmp_path / "a/b/c.txt", b"content")
    assert (tmp_path / "a/b/c.txt").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.txt"]


def test_a_regular_file_keeps_its_mode_and_is_replaced_as_a_whole(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("old")
    file.chmod(0o640)
    put_file(file, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o640)


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target.name)
    put_file(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


def test_a_link_to_nothing_makes_what_it_leads_to(tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to("later.txt")
    put_file(link, b"new")
    assert link.is_symlink() and (tmp_path / "later.txt").read_bytes() == b"new"


def test_under_a_name_that_the_program_chose_a_link_is_refused(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(UsageError, match="link"):
        write_file(link, b"new", through_links=False)
    assert target.read_text() == "old"


def test_a_pipe_is_written_into(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    put_file(pipe, b"x" * 200_000)
    reader.join()
    assert heard == [b"x" * 200_000] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.files.READER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="nobody reads"):
        write_file(tmp_path / "pipe", b"new")


def test_a_device_is_written_into_and_stays_one():
    put_file(Path("/dev/null"), b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_socket_and_a_folder_are_refused(tmp_path):
    there = socket.socket(socket.AF_UNIX)
    os.chdir(tmp_path)
    there.bind("s")
    for name in ("s", "."):
        with pytest.raises(WeightsError, match="cannot write"):
            write_file(tmp_path / name, b"new", error=WeightsError)
    there.close()


@pytest.mark.parametrize("append", [False, True])
def test_standard_output_stays_what_it_is_and_keeps_what_was_printed(tmp_path, append):
    code = (
        "from pathlib import Path; from bench.files import put_file; print('before'); "
        "put_file(Path('/dev/stdout'), b'in\\n'); print('after')"
    )
    with (tmp_path / "out.txt").open("a" if append else "w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, env={**os.environ})
    assert (tmp_path / "out.txt").read_text() == "before\nin\nafter\n"


def test_reading_waits_for_nothing_and_reads_no_more_than_allowed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="regular"):
        read_file(tmp_path / "pipe", 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="larger"):
        read_file(tmp_path / "large", 10)


def test_a_file_of_just_the_allowed_size_is_read_whole(tmp_path):
    (tmp_path / "full").write_bytes(b"x" * 10)
    assert read_file(tmp_path / "full", 10) == b"x" * 10
    with pytest.raises(FileTooLargeError) as error:
        read_file(tmp_path / "full", 9)
    assert (error.value.errno, error.value.strerror) == (errno.EFBIG, "it is larger than 9 bytes")
    assert error.value.filename == str(tmp_path / "full")


def test_a_read_only_file_stays_what_it_is(tmp_path, monkeypatch):
    file = tmp_path / "page.html"
    file.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # a root user may write anything
    with pytest.raises(UsageError) as error:
        write_file(file, b"new", remedy="take another one")
    assert str(error.value) == f"cannot write '{file}': it is read-only; take another one."
    assert file.read_text() == "old"


def test_bits_of_a_mode_beyond_read_write_and_execute_are_not_taken_over(tmp_path):
    file = tmp_path / "run.sh"
    file.write_text("old")
    file.chmod(0o4751)
    put_file(file, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o751


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EROFS", "EBUSY", "EXDEV"])
def test_where_no_file_can_stand_beside_it_a_file_is_written_in_place(tmp_path, monkeypatch, code):
    file = tmp_path / "mounted"
    file.write_text("a longer text")

    def refuse(self, target):
        raise OSError(getattr(errno, code), "no")

    monkeypatch.setattr(Path, "replace", refuse)
    put_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["mounted"]


def test_other_failures_leave_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    (tmp_path / "kept").write_text("old")
    for name in ("kept", "fresh"):
        with pytest.raises(UsageError, match="no space left on device; choose another place for it"):
            write_file(tmp_path / name, b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("kept", "old")]


def test_a_new_file_that_cannot_stand_is_not_written_in_place_of_nothing(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UsageError, match="permission denied"):
        write_file(tmp_path / "fresh", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_this_process_has_open_for_writing_is_written_into_and_what_it_reads_is_replaced(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text("")
    with file.open("a") as opened:
        print("before", file=opened, flush=True)
        put_file(file, b"in\n")
        print("after", file=opened, flush=True)
        assert file.read_text() == "before\nin\nafter\n"
    with file.open() as reading:
        put_file(file, b"new")
        assert reading.read() == "before\nin\nafter\n"
    assert file.read_text() == "new"


def test_the_reason_of_an_error_begins_small_and_has_words_even_without_any():
    assert why(OSError(errno.ENOENT, "No such file or directory")) == "no such file or directory"
    assert why(OSError("Just words")) == "just words"


def test_folders_and_links_are_told_in_these_words(tmp_path):
    with pytest.raises(UsageError) as error:
        write_file(tmp_path, b"")
    assert str(error.value) == f"cannot write '{tmp_path}': it is a folder; choose another place for it."
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OSError, match="it is a link, and nothing is written through a link here") as refused:
        put_file(tmp_path / "link", b"", through_links=False)
    assert refused.value.errno == errno.ELOOP


def test_a_pipe_may_find_its_reader_late(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Timer(0.1, lambda: heard.append(pipe.read_bytes()))
    reader.start()
    put_file(pipe, b"late")
    reader.join()
    assert heard == [b"late"]
