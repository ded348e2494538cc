"""Examples in docstrings give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import bench

PACKAGE = Path(bench.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_give_what_they_show(name):
    found = doctest.testmod(importlib.import_module(name), report=True)
    assert found.attempted and not found.failed


def test_the_figures_that_users_import_have_examples():
    assert {"bench.metrics.roc", "bench.metrics.thresholds", "bench.metrics.precision_recall"} <= set(MODULES)
