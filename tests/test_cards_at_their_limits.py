"""Documents, folders, hashes and named code at exactly their limits."""

import hashlib
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from bench.cards import documents
from bench.cards.base import Name, Paper, RelativeFile, content_hash
from bench.cards.code import source_hash as hashing
from bench.cards.code import static_code
from bench.cards.code.static_code import find_module, lies_below, look_up
from bench.cards.documents import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, parse_document, read_document
from bench.cards.folders import card_files, entries, is_folder, is_workspace, looks_like_a_card
from bench.errors import CardError

HERE = Path("card.yaml")


def value(text):
    return parse_document(f"a: {text}\n", HERE).content["a"]


def refused(text):
    with pytest.raises(CardError) as error:
        parse_document(text, HERE)
    return str(error.value)


# --------------------------------------------------------------------------- documents


def test_a_file_of_just_the_most_bytes_is_read(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1 #".ljust(MAX_BYTES - 1, "x") + "\n")
    assert read_document(file).content == {"a": 1}
    file.write_text("a: 1 #".ljust(MAX_BYTES, "x") + "\n")
    with pytest.raises(CardError, match="holds more than 1,000,000 bytes, the most that is read; make it shorter"):
        read_document(file)


def test_nesting_counts_what_is_open_at_a_time():
    assert (MAX_DEPTH, MAX_DIGITS) == (20, 30)
    parse_document("a: " + "[" * 19 + "]" * 19, HERE)
    assert refused("a: " + "[" * 20 + "]" * 20).startswith("card.yaml:1: is nested more than 20 deep")
    parse_document("".join(f"a{number}: [[1]]\n" for number in range(40)), HERE)


def test_thirty_digits_are_a_number_and_more_are_text():
    assert value("1" * 30) == int("1" * 30)
    assert value("1" * 31) == "1" * 31
    assert value("-" + "1" * 31) == -int("1" * 31)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", 0), ("-0", 0), ("+7", 7), ("10", 10), ("True", True), ("FALSE", False), ("'true'", "true"),
        ("NULL", None),
        ("1e3", 1000.0), ("1.e3", 1000.0), ("+.5e-1", 0.05), ("-3.25", -3.25), ("1:30x", "1:30x"), ("yes", "yes"),
    ],
)  # fmt: skip
def test_plain_values_are_read_as_what_they_are(text, found):
    assert value(text) == found
    assert type(value(text)) is type(found)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999"])
def test_numbers_that_are_not_finite_are_refused(text):
    said = refused(f"b: 1\na: {text}\n")
    assert said == f"card.yaml:2: given '{text}', allowed are finite decimal numbers; correct it."


@pytest.mark.parametrize(
    "text",
    ["010", "08", "-09", "+00", "0_1", "0x10", "0X1f", "-0xA", "0o7", "0O17", "+0o1_0", "0b1", "0B0", "1_000", "1:30"],
)
def test_numbers_of_another_base_are_refused(text):
    assert refused(f"a: {text}\n") == f"card.yaml:1: given '{text}', allowed are decimal integers; correct or quote it."
    assert value(f"'{text}'") == text


@pytest.mark.parametrize("text", ["0o8", "0b2", "0xg", "0o", "x0x1", "0x1 0", "0o7-net", "0a", "00" * 16])
def test_texts_that_only_begin_like_such_a_number_are_texts(text):
    assert value(text) == text


@pytest.mark.parametrize(
    "sign", ["\x00", "\x08", "\x0b", "\x1f", "\x7f", "\x9f", "\u202a", "\u202e", "\u2066", "\u2069"]
)
def test_both_ends_of_what_a_terminal_would_obey_are_refused(sign):
    escaped = f"\\u{ord(sign):04x}"
    assert "control character" in refused(f'b: 1\na: "x{escaped}"\n')
    assert refused(f'b: 1\na: "x{escaped}"\n').startswith("card.yaml:2:")


@pytest.mark.parametrize("sign", ["\t", "\n", " ", "~", "\u00a0", "\u2029", "\u202f", "\u2065", "\u206a"])
def test_their_neighbours_are_text(sign):
    assert value(f'"x\\u{ord(sign):04x}y"') == f"x{sign}y"


def test_lines_are_those_of_keys_and_items():
    document = parse_document("a:\n  - 1\n  - b:\n      c: 2\nd: 3\n", HERE)
    assert document.lines == {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, "b"): 3, ("a", 1, "b", "c"): 4, ("d",): 5}
    assert document.known(("a", 1, "x", "y")) == ("a", 1)
    assert (document.line(("a", 1, "b", "z")), document.line(("e",)), document.line()) == (3, 1, 1)
    assert document.place(("d",)) == "card.yaml:5"


def test_a_field_that_is_given_twice_names_both_lines():
    said = refused("a: 1\nb: 2\na: 3\n")
    assert said == "card.yaml:3: field 'a' is given twice, first in line 1; remove one of them."
    assert "c" in parse_document("a: {c: 1}\nb: {c: 1}\n", HERE).content["b"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: &x 1\n", 1, "anchor"),
        ("b: 1\na: *x\n", 2, "alias"),
        ("b: 1\na: !!str 1\n", 2, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("b: 1\n? [1]\n: 2\n", 2, "field's name"),
        ("- 1\n", 1, "no mapping"),
        ("a: 1\nb: [\n", 3, "is not YAML"),
        ("", 1, "no mapping"),
    ],
)
def test_what_no_card_needs_is_told_with_its_line(text, line, words):
    said = refused(text)
    assert said.startswith(f"card.yaml:{line}: ") and words in said


# --------------------------------------------------------------------------- names and hashes


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 64])
def test_names_at_their_limits_are_allowed(name):
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a" * 65, "a.b", "a\n"])
def test_names_beyond_their_limits_are_refused(name):
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize("file", ["a", "a/b.c", "_a/B-1", "a" * 200])
def test_files_inside_a_folder_are_allowed(file):
    assert TypeAdapter(RelativeFile).validate_python(file) == file


@pytest.mark.parametrize("file", ["", "/a", "a//b", "../a", "a/..", ".a", "-a", "a b", "a\\b", "a" * 201, "a/"])
def test_files_that_leave_it_are_refused(file):
    with pytest.raises(ValidationError):
        TypeAdapter(RelativeFile).validate_python(file)


def test_a_hash_is_of_the_sorted_content_without_spaces():
    assert content_hash({"b": [1, "ä"], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,"\\u00e4"]}').hexdigest()
    with pytest.raises(ValueError, match="Out of range"):
        content_hash([float("nan")])
    for year, fine in ((1900, True), (2100, True), (1899, False), (2101, False)):
        try:
            assert Paper(title="", authors="", year=year).url is None and fine
        except ValidationError:
            assert not fine


# --------------------------------------------------------------------------- folders


def test_cards_are_files_of_two_suffixes_sorted_by_name(tmp_path):
    for name in ("b.yaml", "a.yml", "a.yaml", "c.yml", "d.json", "e.YAML", "f.txt", ".g.yaml.swp", "h.yaml.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "i.yaml").mkdir()
    assert [path.name for path in card_files(tmp_path)] == ["a.yaml", "b.yaml", "c.yml"]
    assert [path.name for path in entries(tmp_path) if looks_like_a_card(path)] == ["d.json", "e.YAML", "h.yaml.txt"]
    assert entries(tmp_path / "nowhere") == []
    assert not is_folder(tmp_path / ("n" * 300)) and not is_folder(Path("a\0b")) and is_folder(tmp_path)
    assert not is_workspace(tmp_path)
    (tmp_path / "robustood.toml").write_text("")
    assert is_workspace(tmp_path)


# --------------------------------------------------------------------------- named code


def test_a_re_export_and_a_base_are_followed_from_module_to_module(tmp_path):
    (tmp_path / "first_limit.py").write_text(
        "from second_limit import Thing as Other\nimport os.path as where\nx = y, z = 1, 2\n"
    )
    (tmp_path / "second_limit.py").write_text(
        "if True:\n    from bench.detectors.base import Detector\n\nclass Thing(Detector):\n    pass\n\n"
        "def make():\n    pass\n"
    )
    (tmp_path / "third_limit.py").write_text("def alone():\n    pass\n\nclass Bare:\n    pass\n")
    found = look_up("first_limit", "Other", tmp_path)
    assert (found.kind, found.file, found.knows_bench) == ("class", tmp_path / "second_limit.py", True)
    assert look_up("second_limit", "make", tmp_path).kind == "function"
    bare = look_up("third_limit", "Bare", tmp_path)
    assert (bare.kind, bare.knows_bench) == ("class", False)
    assert [look_up("first_limit", name, tmp_path).kind for name in ("x", "y", "z", "where")] == ["value"] * 4
    with pytest.raises(CardError) as error:
        look_up("third_limit", "alones", tmp_path)
    assert str(error.value).endswith("module 'third_limit' has no 'alones'; did you mean alone?")
    with pytest.raises(CardError, match="give the name of a class or function in it"):
        look_up("third_limit", "quite_another", tmp_path)


def test_a_chain_of_re_exports_is_followed_eight_steps(tmp_path):
    (tmp_path / "chain_0.py").write_text("import bench.errors\n\nclass End:\n    pass\n")
    for number in range(1, 9):
        (tmp_path / f"chain_{number}.py").write_text(f"from chain_{number - 1} import End\n")
    assert look_up("chain_7", "End", tmp_path).kind == "class"
    assert look_up("chain_8", "End", tmp_path).kind == "value"


def test_relative_imports_are_made_absolute(tmp_path):
    package = tmp_path / "pack_limit"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from .thing import Thing\n")
    (package / "thing.py").write_text("class Thing:\n    pass\n")
    (package / "inner" / "__init__.py").write_text("from ..thing import Thing\n")
    (package / "inner" / "leaf.py").write_text("from ..thing import Thing\nfrom . import leaf2\n")
    (package / "inner" / "leaf2.py").write_text("")
    for module in ("pack_limit", "pack_limit.inner", "pack_limit.inner.leaf"):
        assert look_up(module, "Thing", tmp_path).file == package / "thing.py"
    assert find_module("pack_limit.inner.leaf2", tmp_path) == package / "inner" / "leaf2.py"
    assert find_module("pack_limit.thing.deeper", tmp_path) is None
    assert find_module("pack_limit.nowhere", tmp_path) is None
    assert find_module("no_such_module_at_all", tmp_path) is None


def test_a_source_of_just_the_most_bytes_is_read(tmp_path, monkeypatch):
    file = tmp_path / "sized_limit.py"
    file.write_text("class A:\n    pass\n")
    monkeypatch.setattr(static_code, "MAX_SOURCE_BYTES", file.stat().st_size)
    assert look_up("sized_limit", "A", tmp_path).kind == "class"
    monkeypatch.setattr(static_code, "MAX_SOURCE_BYTES", file.stat().st_size - 1)
    with pytest.raises(CardError, match="is larger than"):
        look_up("sized_limit", "A", tmp_path)


def test_what_lies_below_a_folder_is_told_with_links_resolved(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert lies_below(tmp_path / "link" / "a.py", tmp_path / "real")
    assert not lies_below(tmp_path / "a.py", tmp_path / "real")
    assert not lies_below(None, tmp_path) and not lies_below(tmp_path, None)


# --------------------------------------------------------------------------- code that counts


def test_what_counts_is_named_with_the_hash_of_its_file(tmp_path):
    (tmp_path / "counts_a.py").write_bytes(b"import counts_b\r\nimport json, numpy\n")
    (tmp_path / "counts_b.py").write_bytes(b"x = 1\n")
    found = hashing.followed(["counts_a", "counts_nowhere"], [tmp_path])
    assert found == {
        "counts_a": hashlib.sha256(b"import counts_b\nimport json, numpy\n").hexdigest(),
        "counts_b": hashlib.sha256(b"x = 1\n").hexdigest(),
        "counts_nowhere": "",
    }
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(found.items()))
    whole = hashing.source_hash(["counts_nowhere", "counts_a"], [tmp_path])
    assert whole == hashlib.sha256(lines.encode()).hexdigest()
    assert list(hashing.own_modules("counts_a", [tmp_path])) == ["counts_a", "counts_b"]
    assert hashing.own_modules("numpy") == {}


def test_modules_that_live_in_memory_alone_are_told_from_files_and_from_python_s_own(monkeypatch):
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "cells_of_a_notebook", ModuleType("cells_of_a_notebook"))
    assert hashing.lives_in_memory_alone("cells_of_a_notebook")
    assert not hashing.lives_in_memory_alone("never_imported")
    assert not hashing.lives_in_memory_alone("sys") and not hashing.lives_in_memory_alone("json")
    assert not hashing.is_own("cells_of_a_notebook") and not hashing.is_own("json") and not hashing.is_own("bench")
    assert hashing.is_own(__name__) and not hashing.is_own("numpy") and not hashing.is_own("never_imported")
    assert documents.MAX_BYTES == 1_000_000
