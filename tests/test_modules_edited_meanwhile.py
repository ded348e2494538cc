"""What a card names is computed from its file as the file is now, in a process that imported it before too."""

import sys
import time
import types
from pathlib import Path

import pytest
import torch

from bench.cards.code.methods import import_method
from bench.cards.code.own_modules import _process_start
from bench.errors import CardError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules of one's own into a workspace; they are forgotten after the test."""
    before = set(sys.modules)

    def writer(**modules: str):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        return tmp_path

    yield writer
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_an_edited_module_is_imported_again(write):
    workspace = write(edited_a="value = 1")
    assert import_method("edited_a:value", workspace) == 1
    write(edited_a="value = 2")  # the same size, and within the second that bytecode tells files apart by
    assert import_method("edited_a:value", workspace) == 2


def test_what_it_imports_is_imported_again_too(write):
    workspace = write(edited_b="from aid_b import value", aid_b="value = 1")
    assert import_method("edited_b:value", workspace) == 1
    write(aid_b="value = 2")
    assert import_method("edited_b:value", workspace) == 2


def test_what_it_imports_late_is_imported_again_too(write, monkeypatch):
    workspace = write(edited_c="def value():\n    import aid_c\n    return aid_c.value", aid_c="value = 1")
    monkeypatch.syspath_prepend(workspace)
    assert import_method("edited_c:value", workspace)() == 1
    write(aid_c="value = 2")
    assert import_method("edited_c:value", workspace)() == 2


def test_a_module_of_an_edited_package_is_found_again(write):
    workspace = write()
    (workspace / "pack_d").mkdir()
    for name, text in {"__init__": "value = 1", "part": "value = 1", "other": "import pack_d.part"}.items():
        (workspace / f"pack_d/{name}.py").write_text(text)
    import_method("pack_d.other:pack_d", workspace)
    (workspace / "pack_d/__init__.py").write_text("value = 2")
    assert import_method("pack_d:value", workspace) == 2
    assert import_method("pack_d.other:pack_d", workspace).part.value == 1


def test_one_that_has_not_changed_stays_the_same_object(write):
    workspace = write(same_e="import aid_e\nclass Thing: pass", aid_e="")
    first = import_method("same_e:Thing", workspace)
    assert import_method("same_e:Thing", workspace) is first


def test_one_that_was_imported_by_others_before_its_edit_is_imported_again(write, monkeypatch):
    workspace = write(before_f="value = 1")
    monkeypatch.syspath_prepend(workspace)
    __import__("before_f")
    write(before_f="value = 2")
    assert import_method("before_f:value", workspace) == 2


def test_two_workspaces_with_a_module_of_one_name_do_not_mix(write, tmp_path_factory):
    first = write(shared_g="from aid_g import value", aid_g="value = 1")
    second = tmp_path_factory.mktemp("second")
    (second / "shared_g.py").write_text("from aid_g import value")
    (second / "aid_g.py").write_text("value = 2")
    assert import_method("shared_g:value", first) == 1
    assert import_method("shared_g:value", second) == 2
    assert import_method("shared_g:value", first) == 1


def test_a_module_that_lives_in_memory_alone_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cells_h", types.ModuleType("cells_h"))
    with pytest.raises(CardError, match=r"has no file.*hand the object itself to bench\.evaluate"):
        import_method("cells_h:score")


def test_an_installed_library_is_never_imported_twice(monkeypatch):
    monkeypatch.setattr("bench.cards.code.own_modules._process_start", lambda: 0.0)  # a system that does not tell it
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torch"}
    assert import_method("torch.nn:Identity") is torch.nn.Identity
    assert {name: sys.modules.get(name) for name in before} == before


def test_an_own_module_beside_a_library_in_one_namespace_leaves_the_library_alone(write, monkeypatch):
    workspace = write()
    installed, own = workspace / "site-packages" / "shared_n", workspace / "own" / "shared_n"
    for folder, text in ((installed, "value = 1"), (own, "from shared_n import library\nvalue = library")):
        folder.mkdir(parents=True)
        (folder / ("library.py" if folder is installed else "mine.py")).write_text(text)
        monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr("bench.cards.code.own_modules._process_start", lambda: 0.0)
    library = import_method("shared_n.mine:value")
    (own / "mine.py").write_text("from shared_n import library\nvalue = library  # edited")
    import_method("shared_n.mine:value")
    assert sys.modules["shared_n.library"] is library


@pytest.mark.parametrize("uptime", ["5.0 9.0", "", "soon"])
def test_a_start_that_cannot_be_told_counts_as_the_earliest(monkeypatch, uptime):
    texts = {"/proc/uptime": uptime, "/proc/self/stat": "1 (a) b) S " + " ".join(["0"] * 18) + " 900000000 0"}
    monkeypatch.setattr(Path, "read_text", lambda path: texts[str(path)])
    assert _process_start.__wrapped__() == 0.0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell when a process began")
def test_the_start_of_this_process_lies_before_its_first_import():
    now = time.time()
    assert now - 86400 < _process_start() < now
