"""Files under names of our own replace nothing but files of ours."""

import os
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.own_files import REMARK, write_own

OURS = {
    "report.html": b'<!doctype html>\n<html>\n<head>\n<meta name="generator" content="robustood">\n',
    "auroc.svg": f"<svg></svg><!-- {REMARK} -->\n".encode(),
    "table.md": f"**a table**\n\n<!-- {REMARK} -->\n".encode(),
    "table.tex": f"% {REMARK}\n\\begin{{table}}".encode(),
    "auroc.png": b"\x89PNG\r\n\x1a\n....tEXtSoftware\x00robustood....",
    "cells.csv": b"track,detector,threat,norm,eps,side,limit,seed,sound\n",
    "baseline.json": b'{\n "format": 1,\n "bench": "0.1.0",\n',
}
MINE = {
    "report.html": b"<!doctype html>\n<title>notes on robustood</title>\n",
    "auroc.svg": b"<svg></svg>",
    "table.md": b"# made by robustood\nnotes\n",
    "table.tex": b"\\documentclass{article} % made by robustood\n",
    "auroc.png": b"\x89PNG\r\n\x1a\n....tEXtSoftware\x00Matplotlib....",
    "cells.csv": b"name,track,detector,threat,norm,eps,side,limit,seed,\n",
    "baseline.json": b'{"name": "package", "format": 1, "bench": "0.1.0"}',
}


@pytest.mark.parametrize("name", OURS)
def test_a_file_of_ours_is_written_anew(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_own({path: OURS[name]}, "name another file")
    write_own({path: OURS[name] * 2}, "name another file")
    assert path.read_bytes() == OURS[name] * 2


@pytest.mark.parametrize("content", ["mine", "empty"])
@pytest.mark.parametrize("name", MINE)
def test_a_file_of_somebody_else_stays(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(MINE[name] if content == "mine" else b"")
    before = path.read_bytes()
    with pytest.raises(UsageError) as error:
        write_own({path: OURS[name]}, "name another file (--out)")
    assert str(error.value) == (
        f"'{path}' is there, and nothing in it tells that this program wrote it: name another file (--out), or move it "
        "away."
    )
    assert path.read_bytes() == before


def test_of_several_files_none_is_written_where_one_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "table.md").write_bytes(MINE["table.md"])
    with pytest.raises(UsageError):
        write_own({tmp_path / name: OURS[name] for name in ("report.html", "table.md")}, "choose another folder")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_is_no_file_stays_and_nothing_waits_for_it(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "report.html", tmp_path / "other.html"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_bytes(OURS["report.html"])
    with pytest.raises(UsageError):
        write_own({path: b"new"}, "name another file (--out)")
    assert not other.exists() or other.read_bytes() == OURS["report.html"]


def test_a_mark_far_inside_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b" " * 10_000 + OURS["report.html"] + b" " * 10_000)
    with pytest.raises(UsageError):
        write_own({path: b"new"}, "name another file (--out)")


def test_the_two_ends_of_a_short_file_make_no_mark_together(tmp_path: Path) -> None:
    path, mark = tmp_path / "auroc.png", b"tEXtSoftware\x00robustood"
    path.write_bytes(mark[12:] + b"...." + mark[:12])
    with pytest.raises(UsageError):
        write_own({path: OURS["auroc.png"]}, "name another file (--out)")
