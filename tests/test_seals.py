import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.seals import NoSealError, Seal, SealError, seal_of, sealed_json, unsealed_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text().filter(lambda name: name != "seal"), VALUES, min_size=1, max_size=4)


@given(OBJECTS)
def test_what_was_sealed_comes_back_and_reads_as_json(content):
    text = sealed_json(content)
    assert unsealed_json(text) == content
    assert {name: value for name, value in json.loads(text).items() if name != "seal"} == content


@given(OBJECTS, st.data())
def test_no_flipped_bit_goes_unseen(content, data):
    text = bytearray(sealed_json(content))
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    text[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        unsealed_json(bytes(text))


@given(st.binary(max_size=60))
def test_other_bytes_are_no_sealed_json(text):
    with pytest.raises(SealError):
        unsealed_json(text)


def test_a_figure_that_holds_the_mark_of_a_seal_is_no_seal():
    content = {"note": ',\n "seal": "' + "0" * 64}
    assert unsealed_json(sealed_json(content)) == content


def test_json_that_never_had_a_seal_is_told_from_a_broken_one():
    with pytest.raises(NoSealError):
        unsealed_json(b'{"auroc": 0.5}')
    with pytest.raises(SealError, match="differs"):
        unsealed_json(b'{"auroc": 0.5, "seal": "0"}')


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_deep_nesting_is_an_error_like_any_other(deep):
    with pytest.raises(SealError):
        unsealed_json(deep)


def test_a_sealed_file_has_these_bytes():
    body = b'{\n "auroc": 0.5,\n "name": "a"'
    digest = hashlib.sha256(body).hexdigest().encode()
    assert sealed_json({"auroc": 0.5, "name": "a"}) == body + b',\n "seal": "' + digest + b'"\n}\n'
    assert sealed_json({"where": Path("a/b")}).startswith(b'{\n "where": "a/b"')
    with pytest.raises(ValueError, match="Out of range"):
        sealed_json({"auroc": float("nan")})


def test_what_a_seal_says_of_a_file():
    text = sealed_json({"auroc": 0.5})
    assert seal_of(text) is Seal.HOLDS
    assert seal_of(text.replace(b"0.5", b"0.6")) is Seal.BROKEN
    assert seal_of(text + b" ") is Seal.BROKEN
    assert seal_of(b'{"auroc": 0.5}') is Seal.ABSENT
    assert seal_of(b'{"auroc": 0.5, "seal": "x"}') is seal_of(b"[1]") is seal_of(b"") is Seal.BROKEN


def test_a_seal_around_no_json_is_broken():
    for body in (b'{\n "auroc": ', b'[\n "auroc"'):
        digest = hashlib.sha256(body).hexdigest().encode()
        with pytest.raises(SealError, match="it differs from its seal"):
            unsealed_json(body + b',\n "seal": "' + digest + b'"\n}\n')
