"""Which tests run which functions: a pytest plugin that writes it down, and the map that is read back.

Each test file is run once, under coverage.py with the test's name as context, and what was seen is kept until the
file's content changes. The map names functions, not lines, so it survives changes elsewhere in a source file.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUTPUT = "MUTANTS_RECORD"
"""Environment variable: the file that the plugin writes."""

MODULE = "<module>"

DECLARED = "tests/test_declared_values.py"
"""The tests of what modules declare outside functions; they import every module, and run nothing of most."""


class Recorder:
    """The plugin: functions of `bench/` that each passed test ran, and its seconds."""

    def __init__(self, root: Path) -> None:
        import coverage

        self.root = root
        self.coverage = coverage.Coverage(data_file=None, source=[str(root / "bench")], config_file=False)
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Lines that run from here on belong to this test, its fixtures included."""
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note time and outcome."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write the map of this session."""
        self.coverage.stop()
        data = self.coverage.get_data()
        functions: dict[str, list[str]] = {}
        for file in data.measured_files():
            names = functions_by_line(Path(file).read_bytes())
            relative = str(Path(file).relative_to(self.root))
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    if test in self.seconds and test not in self.failed:
                        functions.setdefault(f"{relative}::{names.get(line, MODULE)}", []).append(test)
        record = {
            "seconds": {test: time for test, time in self.seconds.items() if test not in self.failed},
            "functions": {name: sorted(set(tests)) for name, tests in functions.items()},
        }
        Path(os.environ[OUTPUT]).write_text(json.dumps(record))


def functions_by_line(source: bytes) -> dict[int, str]:
    """For each line inside a function, the innermost function's dotted name."""
    names: dict[int, str] = {}

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{prefix}{child.name}."
                if not isinstance(child, ast.ClassDef):
                    body = range(child.body[0].lineno, (child.end_lineno or child.lineno) + 1)
                    names.update(dict.fromkeys(body, inner[:-1]))
            walk(child, inner)

    walk(ast.parse(source), "")
    return names


@dataclass
class TestMap:
    """Functions -> tests, and how long each test takes.

    Attributes:
        seconds: Every known test that passes on the unchanged code.
        functions: `FILE::FUNCTION` -> tests that run it.
    """

    __test__ = False

    seconds: dict[str, float] = field(default_factory=dict)
    functions: dict[str, set[str]] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """Take in the record of one test file."""
        self.seconds.update(record["seconds"])
        for name, tests in record["functions"].items():
            self.functions.setdefault(name, set()).update(tests)

    def tests(self, root: Path, file: str, line: int, limit: float) -> list[str]:
        """The tests for one line: those that run its function, those of the mirrored folder and the fastest first.

        A line outside functions is run at import, so every test that runs anything of the file is asked, those of
        `DECLARED` first. So it is, without those, where no test is known to run the function, which may be newer than
        the records. Tests are added until they take `limit` seconds together; there is always one where any is known.
        """
        function = functions_by_line((root / file).read_bytes()).get(line, MODULE)
        found = set() if function == MODULE else self.functions.get(f"{file}::{function}", set())
        if not found:
            found = {test for name, tests in self.functions.items() if name.startswith(f"{file}::") for test in tests}
        mirrored = "tests/" + "/".join(Path(file).parts[1:-1])
        declared = {test for test in self.seconds if test.startswith(DECLARED)} if function == MODULE else set()
        ordered = sorted(
            found | declared,
            key=lambda test: (test not in declared, not test.startswith(mirrored), self.seconds[test], test),
        )
        chosen: list[str] = []
        spent = 0.0
        for test in ordered:
            spent += self.seconds[test]
            if chosen and spent > limit:
                break
            chosen.append(test)
        return chosen


def record_path(cache: Path, root: Path, test_file: str) -> Path:
    """Where the record of a test file is kept; another content has another place."""
    digest = hashlib.sha256((root / test_file).read_bytes()).hexdigest()[:16]
    return cache / f"{test_file.replace('/', '.')}.{digest}.json"


def read_map(cache: Path, root: Path, test_files: Iterable[str]) -> tuple[TestMap, list[str]]:
    """The map as far as it is recorded, and the test files that are not."""
    known, missing = TestMap(), []
    for test_file in test_files:
        path = record_path(cache, root, test_file)
        if path.is_file():
            known.add(json.loads(path.read_text()))
        else:
            missing.append(test_file)
    return known, missing
