"""Which code a cell's key covers: all of the user's own that is imported, however it is imported."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.cards.code import source_hash as source_hash_module
from bench.cards.code.imports import imported_names
from bench.cards.code.source_hash import followed, source_hash

OTHER = "value = 2222"


def write(root: Path, files: dict[str, str]) -> list[Path]:
    """Modules in a folder that is searched after all that is installed."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return [root]


@pytest.mark.parametrize(
    ("statement", "edited"),
    [
        ("import aid", "aid.py"),
        ("import aid as other", "aid.py"),
        ("from aid import value", "aid.py"),
        ("from aid import *", "aid.py"),
        ("def score(x):\n    from aid import value", "aid.py"),
        ("try:\n    import absent\nexcept ImportError:\n    import aid", "aid.py"),
        ("if False:\n    import aid", "aid.py"),
        ("import importlib\naid = importlib.import_module('aid')", "aid.py"),
        ("from importlib import import_module as load\naid = load('aid')", "aid.py"),
        ("aid = __import__('aid')", "aid.py"),
        ("import parts.deep.inner as inner", "parts/deep/inner.py"),
        ("import parts.deep.inner", "parts/__init__.py"),
        ("from parts.deep import inner", "parts/deep/inner.py"),
        ("from parts.deep.inner import value", "parts/deep/__init__.py"),
        ("from parts import *", "parts/listed.py"),
        ("from parts import through", "parts/sibling.py"),
        ("from parts import through", "parts/deep/inner.py"),
        ("from parts import through", "parts/late.py"),
        ("import space.inside", "space/inside.py"),
        ("from space import inside", "space/inside.py"),
        ("import first", "second.py"),
    ],
)
def test_an_edited_module_of_ones_own_changes_the_hash(statement, edited, tmp_path):
    search = write(
        tmp_path,
        {
            "rooted.py": statement,
            "aid.py": "value = 1",
            "first.py": "import second",
            "second.py": "import first",
            "parts/__init__.py": "__all__ = ['listed']",
            "parts/listed.py": "value = 1",
            "parts/sibling.py": "value = 1",
            "parts/late.py": "value = 1",
            "parts/through.py": "from . import sibling\nfrom .deep.inner import value\n"
            "import importlib\nlate = importlib.import_module('.late', __package__)",
            "parts/deep/__init__.py": "",
            "parts/deep/inner.py": "value = 1",
            "space/inside.py": "value = 1",
            "unused.py": "value = 1",
        },
    )
    before = source_hash(["rooted"], search)
    (tmp_path / "unused.py").write_text(OTHER)
    assert source_hash(["rooted"], search) == before
    (tmp_path / edited).write_text(OTHER)
    assert source_hash(["rooted"], search) != before


def test_a_namespace_may_lie_in_two_folders(tmp_path, monkeypatch):
    write(tmp_path / "on_path", {"spread/near.py": "value = 1"})
    search = write(tmp_path / "beside", {"spread/far.py": "value = 1", "rooted.py": "import spread.near, spread.far"})
    monkeypatch.syspath_prepend(tmp_path / "on_path")
    assert set(followed(["rooted"], search)) == {"rooted", "spread.near", "spread.far"}


def test_a_module_that_is_new_counts_from_then_on(tmp_path):
    search = write(tmp_path, {"rooted.py": "try:\n    import later\nexcept ImportError:\n    later = None"})
    before = source_hash(["rooted"], search)
    write(tmp_path, {"later.py": ""})
    assert source_hash(["rooted"], search) != before


def test_line_ends_are_no_edit(tmp_path):
    search = write(tmp_path, {"rooted.py": "import aid", "aid.py": "a = 1\nb = 2\n"})
    before = source_hash(["rooted"], search)
    (tmp_path / "aid.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    assert source_hash(["rooted"], search) == before


def test_an_edit_that_keeps_size_and_time_counts(tmp_path):
    search = write(tmp_path, {"rooted.py": "import aid", "aid.py": "value = 1"})
    before, status = source_hash(["rooted"], search), (tmp_path / "aid.py").stat()
    (tmp_path / "aid.py").write_text("value = 2")
    os.utime(tmp_path / "aid.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source_hash(["rooted"], search) != before


def test_a_module_in_an_archive_counts(tmp_path, monkeypatch):
    def archive(text: str) -> None:
        with zipfile.ZipFile(tmp_path / "code.zip", "w") as file:
            file.writestr("zipped_aid.py", text)

    archive("value = 1")
    monkeypatch.syspath_prepend(tmp_path / "code.zip")
    search = write(tmp_path, {"rooted.py": "import zipped_aid"})
    before = source_hash(["rooted"], search)
    assert "zipped_aid" in followed(["rooted"], search)
    archive("value = 2")
    assert source_hash(["rooted"], search) != before


def test_what_is_installed_counts_by_name_and_version_and_the_standard_library_not_at_all(tmp_path):
    search = write(tmp_path, {"rooted.py": "import json, yaml, sklearn.metrics, torch, numpy"})
    names = set(followed(["rooted"], search)) - {"rooted"}
    assert {name.partition(" ")[0].lower() for name in names} == {"pyyaml", "scikit-learn"}


def test_a_package_that_is_installed_in_place_is_followed(tmp_path):
    """As setuptools does it: a file in site-packages whose finder maps the name to a folder elsewhere."""
    write(tmp_path / "project", {"inplace/__init__.py": "", "inplace/core.py": "value = 1"})
    search = write(tmp_path / "workspace", {"rooted.py": "from inplace import core"})
    code = f"""
import sys, importlib.machinery, importlib.util
from pathlib import Path
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "inplace":
            file = {str(tmp_path / "project/inplace/__init__.py")!r}
            return importlib.util.spec_from_file_location(name, file)
sys.meta_path.append(Finder)
from bench.cards.code.source_hash import followed
print(sorted(followed(["rooted"], [Path({str(search[0])!r})])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['inplace', 'inplace.core', 'rooted']"


@pytest.mark.parametrize("text", ["def broken(:", "\0", "(" * 400 + ")" * 400])
def test_a_source_that_cannot_be_read_still_counts(text, tmp_path):
    search = write(tmp_path, {"rooted.py": "import aid", "aid.py": text})
    before = source_hash(["rooted"], search)
    (tmp_path / "aid.py").write_text(text + " ")
    assert source_hash(["rooted"], search) != before


TRICKY = """
if a:
    import one
elif b:
    import two
else:
    for x in y:
        from three import four
    else:
        import five
try:
    with z:
        import six
except E:
    import seven
else:
    import eight
finally:
    import nine
while q:
    match r:
        case 1:
            import ten
async def f():
    class C:
        import eleven
        g = lambda: [h for h in i]
    async with j:
        async for k in l:
            import twelve
try:
    pass
except* E:
    import thirteen
"""


@pytest.mark.parametrize("more", ["", "# \u00e4", "import_module = 1"])
def test_every_import_is_found_wherever_a_statement_may_stand(more):
    names = imported_names(f"{TRICKY}\n{more}\n".encode(), "")
    assert names == {
        "one", "two", "three", "three.four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen",
    }  # fmt: skip


def test_the_short_way_through_a_source_finds_what_the_long_one_does():
    files = sorted(Path(source_hash_module.__file__).parents[2].rglob("*.py"))
    assert len(files) > 100
    for file in files:
        source = file.read_bytes()
        assert imported_names(source, "bench.x") == imported_names(source + "\n# \u00e4".encode(), "bench.x"), file


def test_an_import_beyond_the_top_is_none():
    assert imported_names(b"from ... import far", "near.by") == frozenset()


def test_what_counts_in_no_key_is_there_under_its_name():
    for name in source_hash_module._COVERED:
        assert importlib.util.find_spec(name) is not None, f"{name} was renamed: rename it in _COVERED too"


def test_cards_and_words_of_errors_count_in_no_key_and_all_that_computes_does():
    names = set(followed(["bench.evaluation.cell", "bench.detectors.loading", "bench.threat_models.pgd"]))
    assert {"bench.metrics.roc", "bench.randomness", "bench.detectors.base", "bench.threat_models.base"} <= names
    silent = {name for name in names if name.split(".")[:2] in (["bench", "cards"], ["bench", "errors"], ["bench"])}
    assert silent == set()
