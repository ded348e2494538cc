"""Whole outputs, kept in files beside the tests: a change of one word, figure or order of them is seen.

Where a change is meant, run the tests once with `ROBUSTOOD_WRITE_GOLDENS=1`, and read the difference like any other.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WRITE = "ROBUSTOOD_WRITE_GOLDENS"
"""Environment variable: write what comes out in place of comparing it."""


def assert_golden(file: Path, text: str) -> None:
    """Hold a text to what is kept in a file."""
    if os.environ.get(WRITE):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    kept = file.read_text(encoding="utf-8")
    if text != kept:  # outside the assertion, whose comparison of long texts takes seconds
        pairs = zip(text.splitlines(), kept.splitlines(), strict=False)
        first = next((pair for pair in pairs if pair[0] != pair[1]), (f"{len(text)} letters", f"{len(kept)} letters"))
        pytest.fail(f"{file.name} differs first where it is\n  {first[0]}\nand was\n  {first[1]}", pytrace=False)


def without_images(html: str) -> str:
    """A page without its drawn content, which depends on the versions of those that draw it."""
    return re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "data:image", html)


def assert_golden_numbers(file: Path, content: Any, *, near: float) -> None:
    """Hold names and numbers to what is kept in a JSON file: whole numbers and words exactly, others within `near`.

    Libraries and processors round sums in their own order; what is a mistake is far larger.
    """
    found = json.loads(json.dumps(content, default=float))
    if os.environ.get(WRITE):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_written(found) + "\n", encoding="utf-8")
    other = next(_differing(found, json.loads(file.read_text(encoding="utf-8")), near, ""), None)
    if other is not None:
        pytest.fail(f"{file.name}{other}", pytrace=False)


def _written(content: Any) -> str:
    """JSON with one line for each list of numbers, in as many digits as count."""
    if isinstance(content, dict):
        inside = ",\n".join(f"{json.dumps(key)}: {_written(value)}" for key, value in content.items())
        return f"{{\n{inside}\n}}"
    return json.dumps(_short(content))


def _short(content: Any) -> Any:
    if isinstance(content, list):
        return [_short(value) for value in content]
    return float(f"{content:.6g}") if isinstance(content, float) else content


def _differing(found: Any, kept: Any, near: float, place: str) -> Iterator[str]:
    """Where the two differ, and how."""
    if isinstance(found, dict) and isinstance(kept, dict) and list(found) == list(kept):
        for key in found:
            yield from _differing(found[key], kept[key], near, f"{place}: {key}")
    elif isinstance(found, list) and isinstance(kept, list) and len(found) == len(kept):
        for number, pair in enumerate(zip(found, kept, strict=True)):
            yield from _differing(*pair, near, f"{place}[{number}]")
    elif isinstance(found, float) and isinstance(kept, float):
        same = found == kept or (math.isnan(found) and math.isnan(kept))
        if not same and not abs(found - kept) <= near * max(1.0, abs(kept)):
            yield f"{place} is {found}, and was {kept}"
    elif found != kept or type(found) is not type(kept):
        yield f"{place} is {str(found)[:200]}, and was {str(kept)[:200]}"
