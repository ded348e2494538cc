"""JSON from strangers: read within bounds, and written so that equal content gives equal bytes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bench.errors import UsageError, reading, shorten
from bench.seals import Seal, seal_of

MAX_TEXT = 4000
"""The most characters of one text."""

MAX_DEPTH = 20
MAX_DIGITS = 30


def read_json(path: Path, *, what: str, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file.

    Refused are duplicate keys, NaN and infinities, texts that are long or hold control characters, deep nesting, and
    files larger than `max_bytes`.

    Args:
        path: The file.
        what: What it should be, for errors: "row", "baseline".
        max_bytes: Larger files are not read.

    Raises:
        UsageError: In one sentence, why the file cannot be used.
    """
    with reading(f"{what} {shorten(path)}"):
        return parse_json(read_bytes(path, what=what, max_bytes=max_bytes), path, what=what)


def read_sealed(path: Path, *, what: str, max_bytes: int) -> tuple[dict[str, Any], Seal]:
    """`read_json` of a file that should have a seal: its content without the seal, and what the seal says.

    Raises:
        UsageError: As `read_json`.
    """
    with reading(f"{what} {shorten(path)}"):
        text = read_bytes(path, what=what, max_bytes=max_bytes)
        content = parse_json(text, path, what=what)
        content.pop("seal", None)
        return content, seal_of(text)


def parse_json(text: bytes, path: Path, *, what: str) -> dict[str, Any]:
    """`read_json` for a content that was read, or is about to be written; `path` only names it in errors.

    Raises:
        UsageError: As `read_json`.
    """
    try:
        content = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_int=_integer
        )
        _check(content, depth=0)
    except UnicodeDecodeError:
        raise UsageError(f"{what} '{path}' is not UTF-8 text; write it as JSON.") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{what} '{path}' is not JSON (line {error.lineno}: {error.msg}); write it again.") from None
    except RecursionError:
        raise UsageError(f"{what} '{path}' is nested more than {MAX_DEPTH} deep, the most allowed.") from None
    except ValueError as error:
        raise UsageError(f"{what} '{path}' {error}; correct the file.") from None
    if not isinstance(content, dict):
        raise UsageError(f"{what} '{path}' is no JSON object; its outermost value must be {{...}}.")
    return content


def read_bytes(path: Path, *, what: str, max_bytes: int) -> bytes:
    """A file's content, if it is a file of at most `max_bytes`.

    Raises:
        UsageError: It is not there, no file, unreadable, or larger.
    """
    try:
        if not path.is_file():
            raise UsageError(f"{what} '{path}' is not a file; give the path of one.")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{what} '{path}' cannot be read: {error.strerror}; check that it is readable.") from error
    if len(content) > max_bytes:
        raise UsageError(f"{what} '{path}' is larger than {max_bytes:,} bytes, the most that is read.")
    return content


def json_bytes(content: Any) -> bytes:
    """JSON text with the keys in their own order, one a line, ending in a new line.

    Raises:
        ValueError: A number is not finite.
    """
    return (json.dumps(content, indent=1, allow_nan=False, ensure_ascii=True) + "\n").encode()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"has the field {shorten(twice)} twice")
    return content


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"holds an integer of {len(text):,} digits; allowed are {MAX_DIGITS}")
    return int(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"holds {name}, and allowed are finite numbers")


def _check(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep, the most allowed")
    if isinstance(value, float) and value - value != 0.0:  # 1e999 is read as infinity
        raise ValueError("holds a number that is not finite")
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ValueError(f"holds a text of {len(value):,} characters; allowed are {MAX_TEXT}")
        if not value.replace("\n", "").isprintable():
            raise ValueError(f"holds a control or invisible character in {shorten(value)}; allowed is printable text")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check(name, depth=depth)
            _check(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth=depth + 1)
