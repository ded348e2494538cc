"""JSON of strangers just at each of its limits, which is read, and just beyond it, which is one sentence."""

import json

import pytest

from bench.errors import UsageError
from bench.leaderboards.json_files import MAX_DEPTH, MAX_DIGITS, MAX_TEXT, json_bytes, parse_json, read_bytes, read_json


def refused(text, path="row.json"):
    with pytest.raises(UsageError) as error:
        parse_json(text.encode(), path, what="row")
    return str(error.value)


def nested(kinds, value):
    """A value in so many containers, of these kinds in turn from the outermost on."""
    for kind in reversed(kinds):
        value = {"in": value} if kind is dict else [value]
    return value


TWENTY = {
    "objects": [dict] * MAX_DEPTH,
    "lists": [dict] + [list] * (MAX_DEPTH - 1),
    "both in turn": [dict, list] * (MAX_DEPTH // 2),
}


@pytest.mark.parametrize("kind", TWENTY)
def test_values_may_lie_in_twenty_containers_of_any_kind_and_not_in_one_more(kind):
    content = nested(TWENTY[kind], 1)
    assert parse_json(json.dumps(content).encode(), "row.json", what="row") == content
    for more in (dict, list):
        deeper = json.dumps(nested([*TWENTY[kind], more], 1))
        assert refused(deeper) == "row 'row.json' is nested more than 20 deep, the most allowed; correct the file."


@pytest.mark.parametrize("place", ["value", "name", "item"])
def test_a_text_may_have_so_many_characters_wherever_it_stands(place):
    def content(text):
        return {"value": {"a": text}, "name": {text: 1}, "item": {"a": [1, text]}}[place]

    longest = content("x" * MAX_TEXT)
    assert parse_json(json.dumps(longest).encode(), "row.json", what="row") == longest
    assert "holds a text of 4,001 characters; allowed are 4000" in refused(json.dumps(content("x" * (MAX_TEXT + 1))))
    assert "a control or invisible character in 'a\\tb'" in refused(json.dumps(content("a\tb")))
    assert parse_json(json.dumps(content("a\nb")).encode(), "row.json", what="row") == content("a\nb")


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_may_have_so_many_digits(sign):
    longest = sign + "9" * (MAX_DIGITS - len(sign))
    assert parse_json(f'{{"a": {longest}}}'.encode(), "row.json", what="row") == {"a": int(longest)}
    assert "holds an integer of 31 digits; allowed are 30" in refused(f'{{"a": {longest}9}}')


def test_a_field_twice_is_named_and_so_is_what_json_does_not_have():
    assert "has the field 'b' twice" in refused('{"a": 1, "b": 1, "b": 2}')
    assert "holds -Infinity, and allowed are finite numbers" in refused('{"a": -Infinity}')
    assert "holds a number that is not finite" in refused('{"a": [1, -1e999]}')
    assert refused('"a"') == "row 'row.json' is no JSON object; its outermost value must be {...}."
    assert refused('{"a":\n1,}').startswith("row 'row.json' is not JSON (line 2: ")


def test_a_file_may_have_so_many_bytes(tmp_path):
    path = tmp_path / "row.json"
    path.write_bytes(json_bytes({"a": 1}))
    size = path.stat().st_size
    assert read_json(path, what="row", max_bytes=size) == {"a": 1}
    assert read_bytes(path, what="row", max_bytes=size) == path.read_bytes()
    with pytest.raises(UsageError, match=f"is larger than {size - 1} bytes, the most that is read"):
        read_json(path, what="row", max_bytes=size - 1)
    with pytest.raises(UsageError, match="is not a file; give the path of one"):
        read_json(tmp_path, what="row", max_bytes=size)


def test_json_is_written_with_one_key_a_line_in_the_order_that_is_given():
    assert json_bytes({"b": 1, "a": ["\u00e4"]}) == b'{\n "b": 1,\n "a": [\n  "\\u00e4"\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"a": float("nan")})
