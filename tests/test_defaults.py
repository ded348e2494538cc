"""Every setting of a method counts in published numbers, so none of its defaults changes unnoticed.

The defaults in force stand in `defaults.json`. After a change that is meant, `python tests/test_defaults.py` writes
them anew, and the difference is read like any other.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import bench.datasets.sources
import bench.detectors
import bench.threat_models
import bench.training
from bench.datasets.sources._args import SourceArgs
from bench.detectors.base import DetectorParams
from bench.threat_models.base import ThreatParams
from bench.training.base import RecipeArgs

FILE = Path(__file__).with_name("defaults.json")
ROOMS = (bench.detectors, bench.threat_models, bench.training, bench.datasets.sources)
OF_OTHERS = {"external", "adapters"}
"""Rooms around libraries that may be absent, whose settings are those of the libraries."""


def defaults() -> dict[str, dict[str, Any]]:
    """Class -> field -> default; a field without one must be given."""
    for room in ROOMS:
        for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not OF_OTHERS & set(found.name.split(".")):
                importlib.import_module(found.name)
    waiting: list[Any] = [DetectorParams, ThreatParams, RecipeArgs, SourceArgs]
    seen: dict[str, dict[str, Any]] = {}
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model.__module__.startswith("bench.") and not OF_OTHERS & set(model.__module__.split(".")):
            fields = {
                name: "must be given" if field.is_required() else field.get_default(call_default_factory=True)
                for name, field in model.model_fields.items()
            }
            seen[f"{model.__module__}:{model.__qualname__}"] = json.loads(json.dumps(fields, default=str))
    return dict(sorted(seen.items()))


def test_no_default_of_a_method_changes_unnoticed():
    assert defaults() == json.loads(FILE.read_text()), "meant? then run: python tests/test_defaults.py"


if __name__ == "__main__":
    FILE.write_text(json.dumps(defaults(), indent=1, sort_keys=True) + "\n")
