"""Answers of earlier runs, kept in one file of lines that is only appended to.

A killed mutant stays killed as long as its source file is the same; one that survived is asked again when any test
changed, since a new test may notice it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from .making import Mutant


class Answers:
    """What became of mutants in earlier runs.

    Args:
        file: Where answers are kept; it need not be there yet.
        root: The repository.
        test_files: The test files that are asked.
    """

    def __init__(self, file: Path, root: Path, test_files: list[str]) -> None:
        self.file = file
        self.root = root
        self.tests = _digest(*((root / name).read_bytes() for name in sorted(test_files)))
        lines = file.read_text().splitlines() if file.is_file() else []
        self.known: dict[str, dict[str, Any]] = {entry["key"]: entry for entry in map(json.loads, lines)}

    def find(self, mutant: Mutant) -> dict[str, Any] | None:
        """`outcome`, `seconds` and `count` of tests, where they still hold."""
        entry = self.known.get(self._key(mutant))
        if entry is None or (entry["outcome"] == "killed" or entry["tests"] == self.tests):
            return entry
        return None

    def keep(self, mutant: Mutant, outcome: str, seconds: float, count: int) -> None:
        """Add one answer."""
        entry = {"key": self._key(mutant), "tests": self.tests, "outcome": outcome, "seconds": seconds, "count": count}
        with self.file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _key(self, mutant: Mutant) -> str:
        return f"{mutant.key}|{_digest((self.root / mutant.file).read_bytes())}"


def _digest(*contents: bytes) -> str:
    total = hashlib.sha256()
    for content in contents:
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:16]
