import time
from pathlib import Path

import pytest
import yaml

from bench.cards import documents
from bench.cards.documents import parse_document, read_document
from bench.errors import CardError, shorten

HERE = Path("card.yaml")


@pytest.fixture(params=["the C loader", "the Python loader"])
def _either_loader(request, monkeypatch):
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if "C" in request.param else yaml.SafeLoader
    monkeypatch.setattr(documents, "_Loader", loader)


@pytest.mark.usefixtures("_either_loader")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("1e-3", 0.001),
        ("2.5", 2.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.5E+2", 150.0),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("8/255", "8/255"),
        ("2020-01-01", "2020-01-01"),
        ("'1'", "1"),
        ('"1e-3"', "1e-3"),
        ("'true'", "true"),
        ("''", ""),
        ("0" * 64, "0" * 64),
        ("1" * 64, "1" * 64),
        ("1e" + "1" * 62, "1e" + "1" * 62),
        ("[1, [2, x]]", [1, [2, "x"]]),
        ("{b: 1.0}", {"b": 1.0}),
    ],
)
def test_a_value_is_read_as_yaml_1_2_reads_it(text, value):
    read = parse_document(f"a: {text}\n", HERE).content["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.usefixtures("_either_loader")
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "field 'a' is given twice, first in line 1; remove one"),
        ("a:\n  b: 1\n  b: 1", 3, "field 'b' is given twice, first in line 2"),
        ("1: a\n'1': b", 2, "given twice"),
        ("a: &x [1]\nb: *x", 1, "holds an anchor (&name)"),
        ("b: *x", 1, "holds an alias (*name)"),
        ("a: !!python/object/apply:os.system ['true']", 1, "python/object/apply:os.system'; allowed are plain values"),
        ("a: !!python/name:os.system", 1, "remove the tag"),
        ("a:\n  - !secret x", 2, "holds the tag '!secret'"),
        ("!!map {a: 1}", 1, "holds the tag"),
        ("a: .nan", 1, "given '.nan', allowed are finite decimal numbers"),
        ("a: -.inf", 1, "given '-.inf', allowed are finite"),
        ("a: 1e999", 1, "allowed are finite"),
        ("a: 0x10", 1, "given '0x10', allowed are decimal integers"),
        ("a: 1:30", 1, "given '1:30', allowed are decimal integers"),
        ("a: 010", 1, "given '010', allowed are decimal integers"),
        ("- 1", 1, "is no mapping"),
        ("", 1, "is no mapping"),
        ("word", 1, "is no mapping"),
        ("a: 1\n---\nb: 1", 2, "a second document starts"),
        ("? [1]\n: 2", 1, "used as a field's name"),
        ("a: 1\nb: ]", 2, "is not YAML"),
        ("a: 'x", 1, "is not YAML"),
    ],
)
def test_what_no_card_needs_is_refused_with_file_and_line(text, line, words):
    with pytest.raises(CardError) as caught:
        parse_document(text, HERE)
    assert str(caught.value).startswith(f"card.yaml:{line}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_either_loader")
def test_control_characters_are_refused():
    with pytest.raises(CardError, match="is not YAML"):
        parse_document("a: \x00", HERE)


@pytest.mark.usefixtures("_either_loader")
@pytest.mark.parametrize("text", ['a: "\\e[31m"', '"\\a": 1', "a: '\u202e'"])
def test_characters_that_a_terminal_would_obey_are_refused_however_they_are_written(text):
    with pytest.raises(CardError, match="control character"):
        parse_document(text, HERE)


@pytest.mark.usefixtures("_either_loader")
@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_before_anything_is_built(opening):
    with pytest.raises(CardError, match="nested more than 20 deep"):
        parse_document("a:\n  " + opening * 20_000, HERE)


def test_nesting_up_to_the_limit_is_read():
    inner = parse_document("a: " + "[" * 19 + "]" * 19, HERE).content["a"]
    for _ in range(18):
        (inner,) = inner
    assert inner == []


def test_a_bomb_of_aliases_is_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    start = time.perf_counter()
    with pytest.raises(CardError, match="anchor"):
        parse_document("\n".join(lines), HERE)
    assert time.perf_counter() - start < 1.0  # expanded it would be 10^12 values


def test_a_file_that_is_too_large_is_refused_without_reading_it_all(tmp_path):
    large = tmp_path / "large.yaml"
    large.write_text("a: " + "x" * 10_000_000)
    with pytest.raises(CardError, match="more than 1,000,000 bytes"):
        read_document(large)


@pytest.mark.parametrize("path", ["nothing.yaml", "."])
def test_what_is_no_file_is_refused(tmp_path, path):
    with pytest.raises(CardError, match="is not a file"):
        read_document(tmp_path / path)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(CardError, match=r"latin\.yaml:2: holds bytes that are not UTF-8"):
        read_document(tmp_path / "latin.yaml")


def test_every_key_and_item_knows_its_line():
    document = parse_document("a: 1\nb:\n  c:\n    - 1\n    - d: 2\n", HERE)
    assert document.lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 4,
        ("b", "c", 1): 5,
        ("b", "c", 1, "d"): 5,
    }
    assert document.place(("b", "c", 0)) == "card.yaml:4"


def test_a_location_that_is_not_in_the_file_has_the_line_of_what_is_around_it():
    document = parse_document("a: 1\nb:\n  c: 1\n", HERE)
    assert document.place(("b", "nothing", 3)) == "card.yaml:2"
    assert document.place(("nothing",)) == "card.yaml:1"


def test_quoted_values_are_short_printable_and_on_one_line():
    assert len(shorten("x" * 10_000_000)) == 80
    assert shorten("a\x1b[31m\nb") == r"'a\x1b[31m\nb'"
    assert shorten(3) == "3"
