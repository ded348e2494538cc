"""Whole outputs, kept in files beside the tests: a change of one word, figure or order of them is seen.

Where a change is meant, run the tests once with `ROBUSTOOD_WRITE_GOLDENS=1`, and read the difference like any other.
"""

import os
import re
from pathlib import Path

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
