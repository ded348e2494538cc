"""What every shipped detector declares of itself, on which checks and suites go by; it does not change unnoticed.

`python tests/detectors/test_declared_info.py` writes `declared.json` anew after a change that is meant.
"""

import importlib
import json
import pkgutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import bench.detectors
from bench.detectors.base import Detector

FILE = Path(__file__).with_name("declared.json")
SENTENCES = ("approximate_gradient", "jumps", "roundings")
"""Of these it counts whether there is one; how it is worded is free."""


def declared() -> dict[str, dict[str, Any]]:
    """Class -> what it declares that is not the default."""
    for found in pkgutil.walk_packages(bench.detectors.__path__, "bench.detectors."):
        if ".adapters" not in found.name:
            importlib.import_module(found.name)
    waiting, seen = [Detector], {}
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if (
            kind.__module__.startswith("bench.detectors.")
            and ".adapters" not in kind.__module__
            and "info" in vars(kind)
        ):
            given = {each.name: (getattr(kind.info, each.name), each.default) for each in fields(kind.info)}
            own = {name: value for name, (value, usual) in given.items() if value != usual}
            seen[f"{kind.__module__}:{kind.__qualname__}"] = {
                name: bool(value) if name in SENTENCES else list(value) if isinstance(value, tuple) else value
                for name, value in sorted(own.items())
            }
    return dict(sorted(seen.items()))


def test_no_detector_declares_another_thing_than_it_did():
    assert declared() == json.loads(FILE.read_text())


if __name__ == "__main__":
    FILE.write_text(json.dumps(declared(), indent=1) + "\n")
