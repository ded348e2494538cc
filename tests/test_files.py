"""Files written for a user: what is there is written into or refused, and never replaced by something else."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.errors import UsageError, WeightsError
from bench.files import put_file, read_file, write_file


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
