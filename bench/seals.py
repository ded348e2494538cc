"""JSON files that carry a seal: the sha256 of all their other bytes, so that no changed figure is read as it stands."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

_MARK = b',\n "seal": "'
_END = b'"\n}\n'


class Seal(StrEnum):
    """What a seal says of a file."""

    HOLDS = "holds"
    ABSENT = "absent"  # written by a version that sealed no such files, or by somebody else
    BROKEN = "broken"


class SealError(ValueError):
    """A file is not what was written under its seal."""


class NoSealError(SealError):
    """A JSON object without a seal: nothing tells whether it is what was written."""


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """A JSON object with its seal as the last field.

    Args:
        content: The object: not empty, and without a field `seal`.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(dict(content), indent=1, allow_nan=False, default=str).encode()
    body = text.removesuffix(b"\n}")
    return body + _MARK + _digest(body) + _END


def unsealed_json(text: bytes) -> dict[str, Any]:
    """The object of `sealed_json`, without the seal.

    Every byte counts, so that one which changes no figure (such as a space) is noticed too. The seal is no signature:
    it finds damage and edits, and not somebody who computes it anew.

    Raises:
        NoSealError: It is a JSON object that never had a seal.
        SealError: It is no JSON object, or another one than was sealed.
    """
    body, mark, end = text.rpartition(_MARK)
    if mark and end == _digest(body) + _END:
        content = _parsed(body + b"\n}")
        if content is not None:
            return content
    elif (content := _parsed(text)) is not None and "seal" not in content:
        raise NoSealError("it has no seal")
    raise SealError("it differs from its seal")


def seal_of(text: bytes) -> Seal:
    """What the seal of a JSON file says, for a reader that has parsed the file by rules of its own."""
    try:
        unsealed_json(text)
    except NoSealError:
        return Seal.ABSENT
    except SealError:
        return Seal.BROKEN
    return Seal.HOLDS


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
