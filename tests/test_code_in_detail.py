"""What a name in a card leads to and which code counts: each step that could be left out without an error."""

import hashlib
import importlib.util
import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bench.cards.code import own_modules, source_hash
from bench.cards.code.methods import import_method
from bench.cards.code.source_hash import followed
from bench.cards.code.static_code import Named, _follow, find_module, look_up
from bench.errors import CardError


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed modules."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


# --------------------------------------------------------------------------- what source text says


@pytest.mark.parametrize(
    ("text", "knows"),
    [
        ("import bench", True),
        ("import os, bench.errors", True),
        ("from bench.detectors.base import Detector", True),
        ("from bench import metrics", True),
        ("import benchmark", False),
        ("from . import bench", False),
        ("from os import path", False),
    ],
)
def test_a_module_knows_bench_where_it_imports_it_by_any_statement(site, text, knows):
    (site / "plugged.py").write_text(f"{text}\nclass Own: pass\n")
    assert look_up("plugged", "Own") == Named("class", site / "plugged.py", knows)


def test_modules_of_bench_know_it_whatever_they_import(tmp_path):
    assert look_up("bench.cards.base", "Card").knows_bench  # which imports nothing of bench
    assert _follow("bench.absent", "X", None, 8) == Named("value", None, True)
    assert _follow("bench.cards.base", "Card", None, 0) == Named("value", None, True)
    assert _follow("absent.bench", "X", tmp_path, 8) == Named("value", None, False)


def test_what_cannot_be_read_on_the_way_is_a_value_that_knows_nothing(site):
    (site / "broken.py").write_text("class")
    (site / "giving.py").write_text("from broken import Own\n")
    assert look_up("giving", "Own") == Named("value", site / "broken.py", False)


def test_a_star_import_or_getattr_may_bring_any_name(site):
    (site / "stars.py").write_text("from os.path import *\n")
    (site / "lazy.py").write_text("def __getattr__(name): return name\n")
    (site / "plain.py").write_text("def other(): pass\n")
    assert look_up("stars", "Own") == Named("value", site / "stars.py", False)
    assert look_up("lazy", "Own") == Named("value", site / "lazy.py", False)
    with pytest.raises(CardError, match="module 'plain' has no 'Own'"):
        look_up("plain", "Own")


def test_classes_that_are_each_others_bases_end(site):
    (site / "ring.py").write_text("class A(B): pass\nclass B(A): pass\n")
    assert look_up("ring", "A") == Named("class", site / "ring.py", False)


def test_a_fault_without_a_line_is_placed_in_the_first(site):
    (site / "nulls.py").write_bytes(b"a = 1\n\x00\n")
    with pytest.raises(CardError, match=r"nulls\.py:\d+ with"):
        look_up("nulls", "Own")


def test_three_near_names_are_proposed(tmp_path):
    (tmp_path / "shapes_near.py").write_text("ring_a = ring_b = ring_c = ring_d = None\n")
    with pytest.raises(CardError, match=r"has no 'ring_e'; did you mean ring_\w or ring_\w or ring_\w\?$"):
        import_method("shapes_near:ring_e", tmp_path)


def test_a_failing_import_is_placed_where_it_failed(tmp_path):
    (tmp_path / "outer_failing.py").write_text("import inner_failing\n")
    (tmp_path / "inner_failing.py").write_text("def run():\n    return {}['x']\n\n\nrun()\n")
    with pytest.raises(CardError, match=r"failed in .*/inner_failing\.py:2 with KeyError: .*; correct that module\.$"):
        import_method("outer_failing:Own", tmp_path)


def test_a_module_in_a_folder_without_init_is_found(site, tmp_path):
    (site / "spaced").mkdir()
    (site / "spaced" / "inside.py").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "inside.py").write_text("")
    assert find_module("spaced.inside") == site / "spaced" / "inside.py"
    assert find_module("spaced.absent") is find_module("spaced") is find_module("spaced.inside.more") is None
    assert find_module("mine.inside", tmp_path) == tmp_path / "mine" / "inside.py"
    assert find_module("mine.inside") is None


# --------------------------------------------------------------------------- which code counts


def test_a_module_is_found_though_its_folder_was_listed_before_it_was_written(tmp_path):
    (tmp_path / "early_one.py").write_text("a = 1")
    assert followed(["early_one"], [tmp_path]) == {"early_one": sha("a = 1")}
    times = tmp_path.stat()
    (tmp_path / "late_one.py").write_text("a = 2")
    os.utime(tmp_path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as on a file system with coarse times
    assert followed(["late_one"], [tmp_path]) == {"late_one": sha("a = 2")}


def test_a_module_that_an_import_names_by_an_attribute_counts(tmp_path):
    (tmp_path / "rooted.py").write_text("import holder.inside")
    (tmp_path / "holder.py").write_text("inside = 1")
    assert followed(["rooted"], [tmp_path]) == {"rooted": sha("import holder.inside"), "holder": sha("inside = 1")}


def test_a_root_that_is_installed_counts_by_its_source_and_others_by_their_version(site):
    (site / "rooted.py").write_text("import yaml")
    found = followed(["rooted.one", "rooted"])
    assert found["rooted"] == sha("import yaml")
    assert [name for name, digest in found.items() if not digest] == ["rooted.one"] + [
        name for name in found if name.lower().startswith("pyyaml ")
    ]


def test_what_is_built_in_counts_by_its_name_where_it_is_asked_for_and_else_not_at_all(tmp_path):
    (tmp_path / "rooted.py").write_text("import sys, builtins")
    assert followed(["sys"]) == {"sys": ""}
    assert followed(["rooted"], [tmp_path]) == {"rooted": sha("import sys, builtins")}


@pytest.mark.parametrize("spec", ["of a finder that is gone", "none", "of a loader without data"])
def test_a_module_that_no_finder_knows_and_this_process_has_counts_by_its_file(tmp_path, monkeypatch, spec):
    file = tmp_path / "hidden" / "started_here.py"
    file.parent.mkdir()
    file.write_text("a = 3")
    module = types.ModuleType("started_here")
    module.__file__ = str(file)
    if spec == "of a finder that is gone":
        module.__spec__ = importlib.util.spec_from_file_location("started_here", file)
    elif spec == "of a loader without data":
        module.__spec__ = ModuleSpec("started_here", None, origin=str(file))
        module.__spec__.has_location = True
    monkeypatch.setitem(sys.modules, "started_here", module)
    assert followed(["started_here"]) == {"started_here": sha("a = 3")}
    assert followed(["started_here.inside"]) == {"started_here.inside": ""}
    file.unlink()
    assert followed(["started_here"]) == {"started_here": sha("")}


def test_pythons_own_library_is_known_through_links_too(tmp_path):
    linked = tmp_path / "linked.py"
    linked.symlink_to(os.__file__)
    assert source_hash._is_standard(os.__file__) and source_hash._is_standard(str(linked))
    (tmp_path / "own.py").write_text("")
    assert not source_hash._is_standard(str(tmp_path / "own.py"))


# --------------------------------------------------------------------------- what this process has of it


def test_the_start_of_a_process_is_told_by_its_ticks_and_the_time_since_boot(monkeypatch):
    told = {
        "/proc/self/stat": "7 (a (b) c) " + " ".join(["R", *map(str, range(4, 22)), "12345", *map(str, range(23, 53))]),
        "/proc/uptime": "1000.5 77777.0",
    }
    monkeypatch.setattr(Path, "read_text", lambda path: told[str(path)])
    monkeypatch.setattr(own_modules.os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    monkeypatch.setattr(own_modules.time, "time", lambda: 50_000.0)
    assert own_modules._process_start.__wrapped__() == pytest.approx(50_000.0 - (1000.5 - 123.45) - 0.1, abs=1e-6)


def test_a_module_whose_file_is_gone_is_not_current(tmp_path, monkeypatch):
    module = types.ModuleType("gone_by_now")
    module.__file__ = str(tmp_path / "gone_by_now.py")
    monkeypatch.setitem(sys.modules, "gone_by_now", module)
    assert not own_modules._is_current("gone_by_now", sha(""))
    module.__file__ = None
    assert not own_modules._is_current("gone_by_now", sha(""))
    old = tmp_path / "old.py"
    old.write_text("")
    module.__file__ = str(old)
    monkeypatch.setattr(own_modules, "_process_start", lambda: old.stat().st_ctime + 1.0)
    assert own_modules._is_current("gone_by_now", sha(""))
    monkeypatch.setattr(own_modules, "_process_start", lambda: old.stat().st_ctime)
    assert not own_modules._is_current("gone_by_now", sha(""))
